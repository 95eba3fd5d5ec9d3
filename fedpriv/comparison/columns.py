"""Which settings tell runs apart, and what they are called for short."""

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedpriv.comparison.text import shown

Params = Mapping[str, str]

SEED = "seed"
NOT_COMPARED = frozenset(
    {
        SEED,
        "run_id",
        "first_run_id",
        "engine.workers",
        "engine.threads",
        "privacy.ledger",
        "secure.key_folder",
    }
)
"""Settings that say where, when or with which draws a run was made, not what it is."""
NOT_COMPARED_IN = ("tracking.", "hydra.", "paths.", "encryption.")
"""Groups of such settings; ``encryption.`` holds figures that follow from the others."""

_CHOICES = ("_target_", "scheme", "unit", "name")
"""Settings that a choice of a group is known by, e.g. ``secure=bfv`` by ``secure.scheme``."""
_TOGETHER = 2
"""Most columns of settings that change only together."""


@dataclass(frozen=True)
class Column:
    """A setting that differs, or a choice that stands for several.

    Attributes:
        name: dotted, as in the configuration; a group of the configuration, where it is a choice.
        short: its last part where no other column has that, for tables.
        values: that runs have; None of those that have none.
        is_choice: whether it is a choice, see :mod:`fedpriv.comparison.choices`.
    """

    name: str
    short: str
    values: tuple[str | None, ...] = ()
    is_choice: bool = False

    def text(self, value: str | None) -> str:
        """Write a value for people: a class by its name, a loader by its module, ``3.0`` as ``3``.

        Two values that would read the same are written as they are, and numbered if that is the same, too.
        """
        said = self._said(value)
        if sum(self._said(other) == said for other in self.values) < 2:
            return said
        if value is None:
            return "not set"
        same = [other for other in self.values if other is not None and shown(other) == shown(value)]
        return shown(value) if len(same) == 1 else f"{shown(value)} #{same.index(value) + 1}"

    def _said(self, value: str | None) -> str:
        if value is None:
            return "none"
        if self.is_choice:
            return shown(value)
        if self.name.endswith("_target_"):
            parts = value.removesuffix(".load").split(".")
            return shown(parts[-1] if parts[-1][:1].isupper() else ".".join(parts[-2:]).removeprefix("data."))
        number = _number(value)
        return shown(value) if number is None else f"{number:g}" if float(f"{number:g}") == number else value


def effective(params: Params) -> dict[str, str]:
    """Return the settings of a run that have an effect: what is null is not set, what is off is not there.

    So a run from before there was an option is like one that does not use it.
    """
    off = tuple(
        name.removesuffix("enabled")
        for name, value in params.items()
        if name.endswith(".enabled") and value == "false"
    )
    return {name: value for name, value in params.items() if value != "null" and not name.startswith(off)}


def differing(settings: Sequence[Params]) -> list[str]:
    """Return the names of settings that are not the same in all runs, in alphabetical order.

    A setting that some have and others have not differs. Left out are :data:`NOT_COMPARED`, and further seeds
    (``data.seed``) that are the run's seed in every run.
    """
    names = {
        name
        for each in settings
        for name in each
        if name not in NOT_COMPARED and not name.startswith(NOT_COMPARED_IN)
    }
    return sorted(
        name
        for name in names
        if len({each.get(name) for each in settings}) > 1
        and not (name.endswith(f".{SEED}") and all(each.get(name) == each.get(SEED, "") for each in settings))
    )


def columns_of(
    settings: Sequence[Params],
    names: Sequence[str],
    overrides: Iterable[str],
    choices: Collection[str] = (),
) -> list[Column]:
    """Return what tells groups apart, those named on command lines first, in their order.

    Two kinds of setting tell nothing beside another and are left out, unless they were asked for: one that
    comes with a choice and is the same in all runs that have it (the ``secure.bits`` of encrypted runs beside
    ``secure.scheme``), and the third and further ones of those that change only together, as those of two
    presets do.

    Args:
        settings: of all runs.
        names: of settings that differ.
        overrides: the command lines that made the runs, as they are quoted for a shell.
        choices: which of the names are choices that stand for several settings.
    """
    asked = _asked(overrides, names)
    rest = [name for name in names if name not in asked]
    # those with more values first, so that what only comes with them is seen as such
    rest.sort(key=lambda name: (-len({each.get(name) for each in settings}), not _is_choice(name), name))
    kept = list(asked)
    for name in rest:
        deciding = [other for other in kept if _decides(settings, other, name)]
        comes_with = _comes_with(settings, name) and any(_group(other) == _group(name) for other in deciding)
        together = [other for other in deciding if _decides(settings, name, other)]
        if not comes_with and len(together) < _TOGETHER:
            kept.append(name)
    kept = asked + sorted(set(kept) - set(asked))
    last = [_last(name) for name in kept]
    return [
        Column(
            name,
            short if last.count(short) == 1 else name,
            tuple(dict.fromkeys(each.get(name) for each in settings)),
            name in choices,
        )
        for name, short in zip(kept, last, strict=True)
    ]


def in_order(values: Iterable[str | None]) -> dict[str | None, int]:
    """Rank values: none first, then numbers from low to high (inf last), then others as they come first."""
    each = list(dict.fromkeys(values))
    numbers = {value: number for value in each if (number := _number(value)) is not None}
    ranked = [
        *(value for value in each if value is None),
        *sorted(numbers, key=lambda value: numbers[value]),
        *(value for value in each if value is not None and value not in numbers),
    ]
    return {value: rank for rank, value in enumerate(ranked)}


def same_value(ours: str | None, asked: str) -> bool:
    """Tell whether a value is the one that a user typed: ``3`` is ``3.0``, ``none`` is what is not set."""
    if ours is None:
        return asked in ("none", "null", "")
    first, second = _number(ours), _number(asked)
    return ours == asked or (first is not None and first == second)


def _asked(overrides: Iterable[str], names: Sequence[str]) -> list[str]:
    keys: dict[str, None] = {}
    for text in overrides:
        try:
            words = shlex.split(text)
        except ValueError:  # cut off in the middle of a quoted word
            words = text.split()
        keys |= dict.fromkeys(word.partition("=")[0].lstrip("+~") for word in words if "=" in word)
    wanted = [name for key in keys for name in (key, *(f"{key}.{choice}" for choice in _CHOICES))]
    return [name for name in dict.fromkeys(wanted) if name in names]


def _comes_with(settings: Sequence[Params], name: str) -> bool:
    return len({each[name] for each in settings if name in each}) <= 1


def _decides(settings: Sequence[Params], first: str, second: str) -> bool:
    """Tell whether runs that are alike in the first setting are alike in the second."""
    found: dict[str | None, str | None] = {}
    return all(found.setdefault(each.get(first), each.get(second)) == each.get(second) for each in settings)


def _is_choice(name: str) -> bool:
    return name.rpartition(".")[2] in _CHOICES


def _group(name: str) -> str:
    return name.partition(".")[0]


def _last(name: str) -> str:
    return name.removesuffix("._target_").removesuffix(".enabled").rpartition(".")[2]


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number
