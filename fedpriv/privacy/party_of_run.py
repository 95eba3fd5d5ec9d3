"""What a ledger has charged one party of one run with: what its next release is judged by."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from fedpriv.privacy.accounting import History
from fedpriv.privacy.charge import Record, SampledGaussian


@dataclass
class PartyOfRun:
    """What one party of a run has been charged with in it, on whatever share.

    Attributes:
        steps: of each sampled Gaussian (noise multiplier, sample rate).
        last_rounds: the latest it was charged in, under each name that the run had, see
            :attr:`Charge.resumed_as`.
    """

    steps: Counter[tuple[float, float]] = field(default_factory=Counter)
    last_rounds: dict[str, int] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """The steps as an accountant takes them."""
        return tuple((noise, rate, count) for (noise, rate), count in self.steps.items())

    def add(self, record: Record) -> None:
        """Count a charge that was written."""
        made = record.mechanism
        if isinstance(made, SampledGaussian):
            self.steps[made.noise_multiplier, made.sample_rate] += made.steps
        last = self.last_rounds.get(record.resumed_as, 0)
        self.last_rounds[record.resumed_as] = max(last, record.round)


Judge: TypeAlias = Callable[[PartyOfRun], None]
"""Is shown what a run has charged its party with so far, and raises what refuses the next charge."""
