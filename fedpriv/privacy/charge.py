"""What is written into the ledger before noise is released: the mechanism, and whom it was run on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from fedpriv.privacy.example_set import ExampleSet
from fedpriv.privacy.plan import SamplePlan
from fedpriv.privacy.sum_plan import SumPlan

Unit: TypeAlias = Literal["sample", "client"]
"""Whom a guarantee protects: one example, or everything that one client holds."""

LONGEST_NAME = 200
"""Characters of a name that are kept."""
_LONGEST_RUN = 64
_GREATEST = 1e100


@dataclass(frozen=True)
class SampledGaussian:
    """Steps of DP-SGD on a share: each example drawn with ``sample_rate``, clipped, Gaussian noise added.

    Attributes:
        noise_multiplier: standard deviation over clipping norm; 0 protects nobody.
        sample_rate: in (0, 1].
        steps: noisy steps, at least 1.

    Raises:
        ValueError: when a value is out of range.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    kind: ClassVar[str] = "sampled_gaussian"
    unit: ClassVar[Unit] = "sample"

    def __post_init__(self) -> None:
        """Check the values."""
        _check_number("noise_multiplier", self.noise_multiplier, 0.0, _GREATEST)
        _check_number("sample_rate", self.sample_rate, 0.0, math.nextafter(1.0, 2.0))
        if self.sample_rate == 0.0:
            raise ValueError("sample_rate=0.0 must be positive")
        if type(self.steps) is not int or not 0 < self.steps < 2**53:
            raise ValueError(f"steps={self.steps!r} must be a positive whole number")

    @classmethod
    def of_round(cls, plan: SamplePlan) -> "SampledGaussian":
        """Return one round of ``plan``."""
        return cls(plan.noise_multiplier, plan.sample_rate, plan.steps_per_round)


@dataclass(frozen=True)
class Concentrated:
    """One release that is rho-zero-concentrated private for one client added or removed.

    Attributes:
        rho: concentrated loss; infinite for a release without noise.
        distance: statistical distance of the noise drawn from the law that rho was derived for.

    Raises:
        ValueError: when a value is out of range.
    """

    rho: float
    distance: float = 0.0
    kind: ClassVar[str] = "concentrated"
    unit: ClassVar[Unit] = "client"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.rho != math.inf:
            _check_number("rho", self.rho, 0.0, _GREATEST)
        _check_number("distance", self.distance, 0.0, _GREATEST)

    @staticmethod
    def of_release(plan: SumPlan, count: int) -> "Concentrated":
        """Return what one sum of ``plan`` with ``count`` noisy contributions costs who takes part in it."""
        made = Concentrated if plan.matrix.bands == 1 else Correlated
        return made(plan.rho(count), plan.distance(count))


@dataclass(frozen=True)
class Correlated(Concentrated):
    """One participation in a run whose noise is correlated over rounds: the loss of all that it reaches.

    Participations of one client add up. Those of clients that hold the same data may reach the same rounds,
    whichever rounds they took part in: all of a run are one release.
    """

    kind: ClassVar[str] = "correlated"


class ConcentratedSample(Concentrated):
    """One release that is rho-zero-concentrated private for one example (a table's row) added or removed."""

    kind: ClassVar[str] = "concentrated_sample"
    unit: ClassVar[Unit] = "sample"


Mechanism: TypeAlias = SampledGaussian | Concentrated
_KINDS: dict[str, type[SampledGaussian] | type[Concentrated]] = {
    each.kind: each for each in (SampledGaussian, Concentrated, Correlated, ConcentratedSample)
}


@dataclass(frozen=True)
class Charge:
    """One mechanism run on one share in one round.

    Guarantee:
        - An entry keeps every bit of what a loss is computed from.

    Edge cases:
        - An infinite loss is written as null, for JSON knows no infinity.
        - A long name is cut; nothing is looked up by it.

    Attributes:
        share: the examples it was run on; with client-level privacy, all that the client holds.
        mechanism: what was run, with all that is needed to compute its loss by any accountant.
        run: identifier of the run, at most 64 characters. Charges of one run and round to
            different shares are taken for contributions to one release.
        round: of the run.
        delta: that the run reports its epsilon at; for the record.
        name: what the data is called, for people; nothing is looked up by it.
        party: which of the run's parties held the share, from 0. Two of them that hold the same examples
            contribute to one release; two charges of one party are two releases.
        seeded: whether the noise was, and so protects nobody; its loss is counted as if it did.
        by_server: whether the server drew the noise, which then protects nobody from it.
        resumed_as: what the run is called since it was last resumed; empty before, and for a round that a
            crash cut off.

    Raises:
        ValueError: when a value is out of range or the share is empty.
    """

    share: ExampleSet
    mechanism: Mechanism
    run: str
    round: int
    delta: float
    name: str = ""
    party: int = 0
    seeded: bool = False
    by_server: bool = False
    resumed_as: str = ""

    def __post_init__(self) -> None:
        """Check the values."""
        if not len(self.share):
            raise ValueError("share: has no examples, so that nothing would ever be charged for it")
        _check_run(self.run, self.round, self.delta)
        _check_party(self.party)


@dataclass(frozen=True)
class Record:
    """A charge as it stands in a ledger: the share by its identity."""

    share: str
    mechanism: Mechanism
    run: str
    round: int
    name: str
    time: str
    party: int = 0
    seeded: bool = False
    by_server: bool = False
    resumed_as: str = ""


class UnknownKind(Exception):
    """A charge of a kind that this version cannot compute; its one argument names the kind."""


def to_entry(charge: Charge) -> dict[str, Any]:
    """Return the charge as JSON."""
    parameters = asdict(charge.mechanism)
    # JSON knows no infinity
    parameters = {name: None if value == math.inf else value for name, value in parameters.items()}
    return {
        "event": "charge",
        "share": charge.share.identity,
        "run": charge.run,
        "round": charge.round,
        "unit": charge.mechanism.unit,
        "kind": charge.mechanism.kind,
        "parameters": parameters,
        "delta": charge.delta,
        "name": charge.name[:LONGEST_NAME],
        "party": charge.party,
        "seeded": charge.seeded,
        "by_server": charge.by_server,
        "resumed_as": charge.resumed_as,
    }


def from_entry(entry: Mapping[str, Any]) -> Record:
    """Read what :func:`to_entry` wrote.

    Raises:
        UnknownKind: for a kind of mechanism written by a later version.
        ValueError, TypeError, KeyError: for anything else that is no charge.
    """
    if entry["kind"] not in _KINDS:
        raise UnknownKind(str(entry["kind"]))
    kind = _KINDS[entry["kind"]]
    if not isinstance(entry["parameters"], dict):
        raise TypeError("parameters must be an object")
    parameters: dict[str, Any] = {
        name: math.inf if name == "rho" and value is None else value
        for name, value in entry["parameters"].items()
    }
    mechanism = kind(**parameters)
    if entry["unit"] != mechanism.unit:
        raise ValueError(f"unit={entry['unit']!r} does not belong to {mechanism.kind}")
    _check_run(entry["run"], entry["round"], entry["delta"])
    # entries of earlier versions do not say all of it, here and below
    texts = [entry[field] for field in ("share", "name", "time")] + [entry.get("resumed_as", "")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("share, name, time and resumed_as must be text")
    party = entry.get("party", 0)
    _check_party(party)
    flags = [entry.get(field, False) for field in ("seeded", "by_server")]
    if not all(isinstance(flag, bool) for flag in flags):
        raise TypeError("seeded and by_server must be true or false")
    share, name, time, resumed_as = texts
    seeded, by_server = flags
    run, number = entry["run"], entry["round"]
    return Record(share, mechanism, run, number, name, time, party, seeded, by_server, resumed_as)


def _check_number(name: str, value: float, least: float, below: float) -> None:
    if type(value) not in (int, float) or not least <= value < below:
        raise ValueError(f"{name}={value!r} must be a number of at least {least} and below {below}")


def _check_party(party: object) -> None:
    if type(party) is not int or party < 0:
        raise ValueError(f"party={party!r} must be a whole number")


def _check_run(run: object, number: object, delta: float) -> None:
    if not isinstance(run, str) or not 0 < len(run) <= _LONGEST_RUN:
        raise ValueError(f"run={run!r} must be a text of 1 to {_LONGEST_RUN} characters")
    if type(number) is not int or number < 0:
        raise ValueError(f"round={number!r} must be a whole number")
    _check_number("delta", delta, 0.0, 1.0)
