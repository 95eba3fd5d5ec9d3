"""What a run made of images, as the ledger of their holder has it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedpriv.privacy.charge import Record, SampledGaussian, Unit


@dataclass
class Tally:
    """All charges of one run, at one unit, to one share.

    Attributes:
        rounds: in which.
        steps: of each sampled Gaussian (noise multiplier, sample rate).
        rho: of all concentrated releases, added up.
        seeded: whether the noise of any was seeded.
        by_server: whether the server drew the noise of any.
        first: time of the first.
        last: time of the last.
    """

    rounds: set[int] = field(default_factory=set)
    steps: Counter[tuple[float, float]] = field(default_factory=Counter)
    rho: float = 0.0
    seeded: bool = False
    by_server: bool = False
    first: str = ""
    last: str = ""

    def add(self, record: Record) -> None:
        """Count a charge that was written."""
        made = record.mechanism
        self.rounds.add(record.round)
        if isinstance(made, SampledGaussian):
            self.steps[made.noise_multiplier, made.sample_rate] += made.steps
        else:
            self.rho += made.rho
        self.seeded |= record.seeded
        self.by_server |= record.by_server
        self.first, self.last = self.first or record.time, record.time


@dataclass(frozen=True)
class Use:
    """What one run made of some shares, at one unit.

    Attributes:
        run: its identifier, as it stands in the ledger.
        unit: whom it protected.
        rounds: different ones that any of the shares was charged in.
        steps: what a share was charged with in whole, (noise multiplier, sample rate, steps); each once,
            in ascending order. Empty at the client level.
        rho: what a share was charged with in whole, zero-concentrated; each once, in ascending order. At the
            level of examples of releases alone, not of steps.
        seeded: whether any noise was seeded, and so protects nobody; False where the ledger does not say.
        by_server: whether the server drew any noise; False where the ledger does not say.
        first: time of the first charge, ISO 8601 in UTC, as it stands in the ledger.
        last: time of the last.
    """

    run: str
    unit: Unit
    rounds: int
    steps: tuple[tuple[float, float, int], ...]
    rho: tuple[float, ...]
    seeded: bool
    by_server: bool
    first: str
    last: str


def uses_of(shares: Sequence[Mapping[tuple[str, Unit], Tally]]) -> list[Use]:
    """Put together what each run made of several shares."""
    together: dict[tuple[str, Unit], list[Tally]] = {}
    for tallies in shares:
        for place, tally in tallies.items():
            together.setdefault(place, []).append(tally)
    return [
        Use(
            run=run,
            unit=unit,
            rounds=len(set().union(*(each.rounds for each in tallies))),
            steps=tuple(sorted({(*key, count) for each in tallies for key, count in each.steps.items()})),
            # at the level of examples most tallies are of steps alone
            rho=tuple(sorted({each.rho for each in tallies if unit == "client" or each.rho})),
            seeded=any(each.seeded for each in tallies),
            by_server=any(each.by_server for each in tallies),
            first=min(each.first for each in tallies),
            last=max(each.last for each in tallies),
        )
        for (run, unit), tallies in together.items()
    ]
