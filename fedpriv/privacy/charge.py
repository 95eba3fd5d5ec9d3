"""What is written into the ledger before noise is released: the mechanism, and whom it was run on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from fedpriv.privacy.discrete_gaussian import DISTANCE
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

    @classmethod
    def of_release(cls, plan: SumPlan, count: int) -> "Concentrated":
        """Return one sum of ``plan`` with ``count`` noisy contributions."""
        draws = 1 if plan.where == "server" else count
        return cls(plan.rho(count), draws * plan.dimension * DISTANCE)


Mechanism: TypeAlias = SampledGaussian | Concentrated
_KINDS: dict[str, type[SampledGaussian] | type[Concentrated]] = {
    each.kind: each for each in (SampledGaussian, Concentrated)
}


@dataclass(frozen=True)
class Charge:
    """One mechanism run on one share in one round.

    Attributes:
        share: the examples it was run on; with client-level privacy, all that the client holds.
        mechanism: what was run, with all that is needed to compute its loss by any accountant.
        run: identifier of the run, at most 64 characters. Charges of one run and round to
            different shares are taken for contributions to one release.
        round: of the run.
        delta: that the run reports its epsilon at; for the record.
        name: what the data is called, for people; nothing is looked up by it.

    Raises:
        ValueError: when a value is out of range or the share is empty.
    """

    share: ExampleSet
    mechanism: Mechanism
    run: str
    round: int
    delta: float
    name: str = ""

    def __post_init__(self) -> None:
        """Check the values."""
        if not len(self.share):
            raise ValueError("share: has no examples, so that nothing would ever be charged for it")
        _check_run(self.run, self.round, self.delta)


@dataclass(frozen=True)
class Record:
    """A charge as it stands in a ledger: the share by its identity."""

    share: str
    mechanism: Mechanism
    run: str
    round: int
    name: str
    time: str


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
    texts = [entry[field] for field in ("share", "name", "time")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("share, name and time must be text")
    return Record(texts[0], mechanism, entry["run"], entry["round"], texts[1], texts[2])


def _check_number(name: str, value: float, least: float, below: float) -> None:
    if type(value) not in (int, float) or not least <= value < below:
        raise ValueError(f"{name}={value!r} must be a number of at least {least} and below {below}")


def _check_run(run: object, number: object, delta: float) -> None:
    if not isinstance(run, str) or not 0 < len(run) <= _LONGEST_RUN:
        raise ValueError(f"run={run!r} must be a text of 1 to {_LONGEST_RUN} characters")
    if type(number) is not int or number < 0:
        raise ValueError(f"round={number!r} must be a whole number")
    _check_number("delta", delta, 0.0, 1.0)
