"""What the shares that hold an example, or overlap a client, have been exposed to together."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from fedpriv.privacy.charge import (
    Charge,
    Concentrated,
    ConcentratedSample,
    Correlated,
    Record,
    SampledGaussian,
    Unit,
)
from fedpriv.privacy.composition import Loss
from fedpriv.privacy.example_set import ExampleSet
from fedpriv.privacy.use import Tally


@dataclass
class Exposure:
    """All charges to one share.

    Guarantee:
        - A charge in thought (:meth:`with_charge`) leaves what was written as it is.

    Edge cases:
        - A clock that goes backwards changes no loss: ``first`` and ``last`` follow the ledger's order.

    Attributes:
        share: its examples.
        names: what runs called the data, in order.
        runs: their identifiers, in order.
        units: whom they protected, in order.
        steps: of each sampled Gaussian (noise multiplier, sample rate).
        releases: concentrated ones of each run and round; more than one where a round was repeated. Those
            of a run with correlated noise are one, under round 0: it is what they cost together.
        rounds: number of charges of each run and round.
        charges: number of them.
        first: time of the first.
        last: time of the last.
        uses: what each run made of it, by run and unit, in order.
    """

    share: ExampleSet
    names: dict[str, None] = field(default_factory=dict)
    runs: dict[str, None] = field(default_factory=dict)
    units: dict[Unit, None] = field(default_factory=dict)
    steps: Counter[tuple[float, float]] = field(default_factory=Counter)
    releases: dict[tuple[str, int], list[Concentrated]] = field(default_factory=dict)
    rounds: Counter[tuple[str, int]] = field(default_factory=Counter)
    charges: int = 0
    first: str = ""
    last: str = ""
    uses: dict[tuple[str, Unit], Tally] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Count a charge that was written."""
        self.names[record.name] = self.runs[record.run] = self.units[record.mechanism.unit] = None
        self.rounds[record.run, record.round] += 1
        self.charges += 1
        self.first, self.last = self.first or record.time, record.time
        self.uses.setdefault((record.run, record.mechanism.unit), Tally()).add(record)
        self._count(record.mechanism, (record.run, record.round))

    def with_charge(self, charge: Charge) -> "Exposure":
        """Return what has been spent here once ``charge`` is made too; no names, runs, times and uses."""
        changed = Exposure(
            self.share,
            steps=self.steps.copy(),
            releases={release: list(made) for release, made in self.releases.items()},
        )
        changed._count(charge.mechanism, (charge.run, charge.round))
        return changed

    def _count(self, mechanism: SampledGaussian | Concentrated, release: tuple[str, int]) -> None:
        if isinstance(mechanism, SampledGaussian):
            self.steps[mechanism.noise_multiplier, mechanism.sample_rate] += mechanism.steps
        elif isinstance(mechanism, Correlated):
            whole = release[0], 0
            before = self.releases.get(whole, [Correlated(0.0)])[0]
            rho, distance = before.rho + mechanism.rho, before.distance + mechanism.distance
            self.releases[whole] = [Correlated(rho, distance)]
        else:
            self.releases.setdefault(release, []).append(mechanism)


def loss_of(parts: Sequence[tuple[Exposure, float]], unit: Unit) -> Loss:
    """Compose what shares were exposed to that hold data of one unit.

    For releases of one run and round with losses rho_i, of which the unit moves contribution i by f_i
    times what its removal would, rho is (sum_i f_i sqrt(rho_i))^2: group privacy of zCDP (Bun and
    Steinke 2016, arXiv 1605.02065, Proposition 27; with unequal losses by the same weak triangle
    inequality at its best order, Mironov 2017, arXiv 1702.07476, Proposition 11).

    Of a run with correlated noise rho_i is all that contribution i cost, in whatever rounds: the rounds that
    it reaches and those that another one reaches may be the same, and the movements of all rounds together
    are vectors, whose norms add up at most (the triangle inequality in L2).

    A round that was repeated is several releases, and nobody knows which contributions met in one: the
    greatest of each share are taken together, the dearest way there is (rearrangement inequality).

    Guarantee:
        - The loss does not depend on the order of shares or charges, and never falls when one is added.

    Edge cases:
        - No shares have lost nothing.
        - A release for examples added or removed is moved by one just so: its factor is 1.
        - One infinite loss among them makes the whole infinite.

    Args:
        parts: shares that hold data of the unit, each with its factor f.
        unit: an example, or a client, whom a mechanism for examples does not protect: rho infinite.
    """
    steps: Counter[tuple[float, float]] = Counter()
    releases: defaultdict[tuple[str, int], list[list[float]]] = defaultdict(list)
    distances = []
    for exposure, factor in parts:
        steps.update(exposure.steps)
        for release, made in exposure.releases.items():
            if unit == "client" and any(isinstance(each, ConcentratedSample) for each in made):
                return Loss(rho=math.inf)
            roots = sorted((_moved(each, factor) * math.sqrt(each.rho) for each in made), reverse=True)
            releases[release].append(roots)
            distances += [each.distance for each in made]
    rho = math.fsum(
        math.fsum(met) ** 2 for each in releases.values() for met in zip_longest(*each, fillvalue=0.0)
    )
    if unit == "client" and steps:
        return Loss(rho=math.inf)
    history = tuple((noise, rate, count) for (noise, rate), count in sorted(steps.items()))
    return Loss(history, rho, math.fsum(distances))


def _moved(release: Concentrated, factor: float) -> float:
    return 1.0 if isinstance(release, ConcentratedSample) else factor
