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
            in any round, whether or not its update could be used; with client-level privacy that of all
            opened sums together, as the server accounts it; None without differential privacy.
        delta: the delta that ``epsilon`` is stated at.
        bytes_up: bytes of all updates received, envelopes included.
        bytes_down: bytes of all global models sent, with the public key where there is one.
        bytes_keyholders: bytes to and from all key holders, whole: what opening the sum took and, in
            the first round after a start, what making the key took; 0 where there are none.
        update_bytes: bytes of one client's sealed update (median of those received).
        seconds: wall seconds per phase on the server's clock, keys ``train``, ``encrypt``,
            ``aggregate``, ``decrypt``, ``evaluate``. ``train`` is the whole wait for the clients;
            ``encrypt`` is the clients' own time in it, their mean; ``decrypt`` is the whole opening
            of the sum, the wait for the key holders included.
        local_seconds: the clients' own training time, their sum (they may train side by side).
        asked: clients asked to train.
        replied: clients whose update was summed.
        failures: clients that cost the round their update, counted by cause, e.g.
            ``{"non_finite": 1, "no_reply": 1}``.
        clipped_fraction: share of coordinates outside the quantiser's range (encrypted runs), else 0.
        clear_fraction: under selective encryption the share of an update's coordinates that travelled in
            clear, else 0 (also where nothing is encrypted).
    """

    number: int
    metrics: Metrics
    train_loss: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    bytes_keyholders: int = 0
    update_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    local_seconds: float = 0.0
    asked: int = 0
    replied: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    clipped_fraction: float = 0.0
    clear_fraction: float = 0.0
