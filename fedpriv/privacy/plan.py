"""The plan: sampler, clipping, noise and accountant bound in one frozen object.

The training loop executes a :class:`SamplePlan` and the accountant reads the same object, so
that what is reported cannot drift from what is done.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from fedpriv.privacy import accounting
from fedpriv.privacy.accounting import History, Spent

WAYS = ("auto", "opacus")
"""How the gradients of single examples can be computed, see :mod:`fedpriv.privacy.per_example`."""

_RANGES = {"noise_multiplier": (1e-6, 1e6), "clipping_norm": (1e-12, 1e12)}
"""What float32 gradients can be scaled to and accountants can compose."""


@dataclass(frozen=True)
class PrivacySettings:
    """What a run asks for at the sample level.

    Attributes:
        epsilon: target for the whole run, per client; None when ``noise_multiplier`` is given.
        delta: probability of the bound failing.
        noise_multiplier: noise standard deviation over clipping norm; None when ``epsilon`` is given.
        clipping_norm: bound on the L2 norm of one example's gradient.
        noise: ``secure`` or ``fast``, see :mod:`fedpriv.privacy.noise`.
        gradients: one of :data:`WAYS`.

    Raises:
        ValueError: when not exactly one of epsilon and noise_multiplier is given, or a value is
            out of range.
    """

    epsilon: float | None
    delta: float
    noise_multiplier: float | None
    clipping_norm: float
    noise: str = "secure"
    gradients: str = "auto"

    def __post_init__(self) -> None:
        """Check the values."""
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("need exactly one of epsilon and noise_multiplier")
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon={self.epsilon} must be positive and finite")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name}={value}: choose {least:g} to {most:g}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta={self.delta} must lie between 0 and 1")
        if self.noise not in ("secure", "fast"):
            raise ValueError(f"noise={self.noise!r} must be secure or fast")
        if self.gradients not in WAYS:
            raise ValueError(f"gradients={self.gradients!r}: choose one of {', '.join(WAYS)}")


@dataclass(frozen=True)
class SamplePlan:
    """DP-SGD of one client (Abadi et al. 2016, arXiv 1607.00133, Algorithm 1).

    Each step draws every example independently with probability ``sample_rate``, clips each
    example's gradient to ``clipping_norm``, adds N(0, (noise_multiplier clipping_norm)^2 I) to
    the sum and divides by ``expected_batch``.

    Guarantee:
        - All steps in a client's history together are (epsilon, delta)-differentially private
          for one example of that client added or removed, with ``spent(history).epsilon``.
        - The sensitivity of the sum is ``clipping_norm`` whatever the batch holds and however it is
          augmented: what augmentation draws for an example is its own, and secret.
        - ``may_train`` is False before a round that would pass the target, never after it.

    Edge cases:
        - An empty Poisson sample still takes its noisy step and is accounted.
        - ``examples`` below the batch size: sample rate 1, no amplification is claimed.
        - A person with many images is protected image by image only.
        - A photograph that stands several times among the examples is that many examples, each protected by
          itself. All k copies together are protected as by steps of noise ``noise_multiplier`` / k and rate
          1 - (1 - sample_rate)^k, which is far less and is not what is reported.
        - Where a task knows people, who is among a client's is public, and the one image is of a person who
          is there with it and without it: see :meth:`fedpriv.tasks.face.FaceTask.build_head`.
        - A run that is resumed after a crash counts the round that was lost as well as the one in
          its place, see :func:`fedpriv.training.party.charge_lost_round`.

    Attributes:
        relation: between data sets that epsilon tells apart, for records and people.
    """

    relation: ClassVar[str] = "one image added or removed"

    examples: int
    sample_rate: float
    steps_per_round: int
    noise_multiplier: float
    clipping_norm: float
    delta: float
    target_epsilon: float | None

    @property
    def expected_batch(self) -> float:
        """Mean number of examples in a Poisson sample."""
        return self.sample_rate * self.examples

    def after_round(self, history: History) -> History:
        """Return the history once one more round is trained."""
        return accounting.extend(history, (self.noise_multiplier, self.sample_rate, self.steps_per_round))

    def spent(self, history: History) -> Spent:
        """Return the privacy spent by everything in ``history``."""
        return accounting.spent(history, self.delta)

    def spent_at_most(self, history: History, rounds: int) -> Spent:
        """Bound what is spent after ``history`` by who is asked for ``rounds`` more rounds.

        Rounds that would pass the target are not trained and cost nothing.
        """
        for trained in range(rounds, 0, -1):
            steps = trained * self.steps_per_round
            spent = self.spent(accounting.extend(history, (self.noise_multiplier, self.sample_rate, steps)))
            if self.target_epsilon is None or spent.epsilon <= self.target_epsilon:
                return spent
        return self.spent(history)

    def may_train(self, history: History) -> bool:
        """Tell whether one more round stays within the target (always, without a target)."""
        if self.target_epsilon is None:
            return True
        return self.spent(self.after_round(history)).epsilon <= self.target_epsilon


def plan_for_client(
    settings: PrivacySettings, examples: int, batch_size: int, local_epochs: float, rounds: int
) -> SamplePlan:
    """Plan one client's whole run before its first step.

    With a target epsilon the noise is solved for taking part in all ``rounds``, which is the
    most that a client can be asked for.

    Args:
        settings: what the run asks for.
        examples: size of the client's training set.
        batch_size: expected batch size.
        local_epochs: expected passes over the data per round.
        rounds: planned rounds of the run.

    Raises:
        ValueError: when the target epsilon is out of reach, or a count is not positive.
    """
    for name, value in (
        ("examples", examples),
        ("batch_size", batch_size),
        ("local_epochs", local_epochs),
        ("rounds", rounds),
    ):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be positive")
    sample_rate = min(1.0, batch_size / examples)
    steps = max(1, math.ceil(local_epochs / sample_rate))
    noise = settings.noise_multiplier
    if noise is None:
        assert settings.epsilon is not None  # noqa: S101 - narrowed by PrivacySettings
        noise = accounting.noise_for(settings.epsilon, settings.delta, sample_rate, steps * rounds)
    return SamplePlan(
        examples=examples,
        sample_rate=sample_rate,
        steps_per_round=steps,
        noise_multiplier=noise,
        clipping_norm=settings.clipping_norm,
        delta=settings.delta,
        target_epsilon=settings.epsilon,
    )
