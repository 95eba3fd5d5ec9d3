"""The space of a search: Hydra's sweep grammar as distributions of Optuna."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from fedpriv.errors import UserError

Value = str | int | float
Params = dict[str, Value]
_MOST_VALUES = 100_000


@dataclass(frozen=True)
class Space:
    """What a search varies, and what it does not.

    Attributes:
        fixed: overrides that every trial has.
        searched: distribution of each setting that is varied. Choices are values as they are written.
    """

    fixed: tuple[str, ...]
    searched: Mapping[str, BaseDistribution]

    def suggest(self, trial: optuna.Trial) -> Params:
        """Let a trial have a value for each setting; those that it has already stay."""
        return {name: _suggest(trial, name, each) for name, each in self.searched.items()}

    def overrides(self, params: Mapping[str, Value]) -> list[str]:
        """Return the command line of one trial."""
        return [*self.fixed, *self.settings(params)]

    def settings(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """Return what is special to one trial, as ``name=value``, every digit written."""
        return tuple(f"{name}={params[name]}" for name in self.searched)

    def corners(self) -> tuple[Params, Params]:
        """Return the two ends: all lowest values and first choices, all highest and last ones."""
        low: Params = {}
        high: Params = {}
        for name, each in self.searched.items():
            if isinstance(each, CategoricalDistribution):
                low[name], high[name] = str(each.choices[0]), str(each.choices[-1])
            elif isinstance(each, IntDistribution | FloatDistribution):
                low[name], high[name] = each.low, each.high
        return low, high


def read_space(params: Mapping[Any, Any], arguments: Sequence[str], loader: Any = None) -> Space:
    """Read the space from YAML and command line; where both have a setting, the command line's holds.

    - ``choice(a, b)``, ``a,b`` and ``glob(*)``: one of them, without order.
    - ``range(start, stop, step)``: as Hydra's sweeps have it, without ``stop``.
    - ``interval(low, high)``: any number between; ``int(interval(...))`` whole ones, both ends among them.
    - ``tag(log, ...)`` around range or interval: uniform on a log scale.
    - anything else is the same for every trial.

    Args:
        params: ``hydra.sweeper.params``.
        arguments: the command line without Hydra's own overrides.
        loader: of configurations, for ``glob``.

    Raises:
        HydraException: when one does not obey the grammar.
        UserError: when nothing is searched, or a setting cannot be.
    """
    lines = [f"{name}={_written(str(name), value)}" for name, value in params.items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*lines, *arguments])
    last = {(each.key_or_group, each.package): each for each in parsed}
    fixed, searched = [], {}
    for each in last.values():
        if each.is_hydra_override():
            raise UserError(
                f"{each.input_line}: is Hydra's own; set it on the command line, without a search"
            )
        if each.is_sweep_override():
            searched[each.get_key_element()] = _distribution(each)
        else:
            fixed.append(str(each.input_line))
    if not searched:
        raise UserError(
            "hydra.sweeper.params: nothing to search; give a setting a range of values, e.g. "
            "'training.learning_rate=tag(log,interval(1e-4,1e-1))'"
        )
    return Space(tuple(fixed), searched)


def _written(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        raise UserError(f"hydra.sweeper.params.{name}: is a group; write its settings as {name}.NAME: VALUES")
    return "null" if value is None else str(value)


def _distribution(override: Override) -> BaseDistribution:
    line, sweep = str(override.input_line), override.value()
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    if tags - {"log"}:
        raise UserError(f"{line}: tag {sorted(tags - {'log'})[0]} means nothing here; the only one is log")
    log = "log" in tags
    try:
        if isinstance(sweep, RangeSweep):
            return _of_range(line, sweep, log)
        if isinstance(sweep, IntervalSweep):
            return _of_interval(line, sweep, log)
    except ValueError as error:  # Optuna's, e.g. of a log scale that begins at 0
        raise UserError(f"{line}: {error}") from error
    if log:
        raise UserError(f"{line}: only range and interval have a log scale")
    choices = list(override.sweep_string_iterator())
    if not choices:
        raise UserError(f"{line}: has no values; name some")
    _require_different(line, choices)
    return CategoricalDistribution(choices)


def _require_different(line: str, choices: Sequence[str]) -> None:
    """Refuse a value that is there twice, if written in two ways: they would be trials of one run."""
    seen: dict[Value, str] = {}
    for choice in choices:  # as Hydra writes them: 1e-1 is 0.1 already, and 1.0 is not 1
        try:
            value: Value = float(choice)
        except ValueError:
            value = choice
        if value in seen:
            raise UserError(f"{line}: {seen[value]} and {choice} are the same; name each value once")
        seen[value] = choice


def _of_range(line: str, sweep: RangeSweep, log: bool) -> BaseDistribution:
    start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
    if not step or not all(map(math.isfinite, (start, stop, step))):
        raise UserError(f"{line}: needs finite numbers and a step other than 0")
    if abs(stop - start) / abs(step) > _MOST_VALUES:
        raise UserError(f"{line}: has more than {_MOST_VALUES} values; use interval, or a larger step")
    values = sorted(sweep.range())
    if not values:
        raise UserError(f"{line}: has no values; its end is not one of them")
    if log and step != 1:
        raise UserError(f"{line}: a log scale needs a step of 1; use interval")
    if isinstance(values[0], int):
        return IntDistribution(values[0], values[-1], log=log, step=abs(int(step)))
    if log:
        raise UserError(f"{line}: a log scale of floats needs interval")
    return FloatDistribution(values[0], values[-1], step=float(abs(step)))


def _of_interval(line: str, sweep: IntervalSweep, log: bool) -> BaseDistribution:
    low, high = sweep.start, sweep.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{line}: needs finite ends")
    if low > high:
        raise UserError(f"{line}: its low end is above its high end; exchange them")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _suggest(trial: optuna.Trial, name: str, each: BaseDistribution) -> Value:
    if isinstance(each, FloatDistribution):
        return trial.suggest_float(name, each.low, each.high, step=each.step, log=each.log)
    if isinstance(each, IntDistribution):
        return trial.suggest_int(name, each.low, each.high, step=each.step, log=each.log)
    if isinstance(each, CategoricalDistribution):
        return str(trial.suggest_categorical(name, each.choices))
    raise TypeError(type(each).__name__)
