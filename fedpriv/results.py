"""What a run measures, as plain records: a leaf that servers fill and trackers read."""

from dataclasses import dataclass, field

from fedpriv.types import Metrics


@dataclass(frozen=True)
class RoundResult:
    """One round of federated training.

    Attributes:
        number: the round, from 1; 0 is the evaluation before training.
        metrics: the task's metrics on unseen people, e.g. ``{"angular_error_deg": 9.1}``.
        train_loss: mean training loss over the clients that replied, weighted by examples.
        epsilon: largest cumulative (over all rounds so far) epsilon that any client has reported
            in any round, whether or not its update could be used, or may have spent by its plan in the rounds
            that it was asked for without an answer; with client-level privacy that of all
            opened sums together, as the server accounts it; None without differential privacy.
        epsilon_reported: the largest that clients have reported, at most ``epsilon``, which is more for those
            who did not answer; None where nobody has reported any.
        delta: the delta that ``epsilon`` is stated at.
        accountant: that ``epsilon`` was found by: ``prv``, ``rdp`` where the looser RDP bound is all there
            is, ``zcdp`` with client-level privacy, ``none`` where nothing bounds it; None where ``epsilon``
            is.
        bytes_up: bytes of all updates received, envelopes included.
        bytes_down: bytes of all global models sent, with the public key where there is one.
        bytes_keyholders: bytes to and from all key holders, whole: what opening the sum took and, in
            the first round after a start, what making the key took; 0 where there are none.
        bytes_keys: what of ``bytes_keyholders`` making the key took.
        update_bytes: bytes of one client's sealed update (median of those received).
        seconds: wall seconds per phase on the server's clock, keys ``train``, ``encrypt``,
            ``aggregate``, ``decrypt``, ``evaluate``, and ``keys`` where a committee made a key before the
            round. ``train`` is the whole wait for the clients;
            ``encrypt`` is the clients' own time in it, their mean; ``decrypt`` is the whole opening
            of the sum, the wait for the key holders included.
        local_seconds: the clients' own training time, their sum (they may train side by side).
        asked: clients asked to train.
        replied: clients whose update was summed.
        failures: clients that cost the round their update, counted by cause, e.g.
            ``{"non_finite": 1, "no_reply": 1}``.
        clipped_fraction: share of coordinates outside the quantiser's range (encrypted runs), else 0.
        coarse_fraction: share of the non-zero coordinates that lie within half a step of the quantiser from
            zero (bfv without client-level privacy), else 0.
        clipping_norm: what clients clipped to in this round, where that adapts (client-level privacy with
            ``clipping: adaptive``).
        within_norm: the noisy fraction of the clients whose update was no longer than that, as the opened
            sum told it; noise can take it out of [0, 1]. None also where no sum was opened.
        clear_fraction: under selective encryption the share of an update's coordinates that travelled in
            clear, else 0 (also where nothing is encrypted).
    """

    number: int
    metrics: Metrics
    train_loss: float | None = None
    epsilon: float | None = None
    epsilon_reported: float | None = None
    delta: float | None = None
    accountant: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    bytes_keyholders: int = 0
    bytes_keys: int = 0
    update_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    local_seconds: float = 0.0
    asked: int = 0
    replied: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    clipped_fraction: float = 0.0
    coarse_fraction: float = 0.0
    clipping_norm: float | None = None
    within_norm: float | None = None
    clear_fraction: float = 0.0
