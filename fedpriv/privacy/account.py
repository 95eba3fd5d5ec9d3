"""What a ledger says of one share, safe to show."""

from dataclasses import dataclass

from fedpriv.privacy.charge import Unit
from fedpriv.privacy.example_set import ExampleSet
from fedpriv.privacy.exposure import Exposure

_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Account:
    """What a ledger says of one share.

    Guarantee:
        - No text in it makes a terminal do anything, whatever stands in the ledger.

    Edge cases:
        - Data without a name have none.
        - Times are those of the clock that wrote them: where it was put back, the last may lie before the
          first. No epsilon depends on them.

    Attributes:
        share: its examples.
        names: what runs called the data; made safe to show.
        runs: identifiers of the runs, in order.
        units: whom they protected.
        charges: number of entries.
        first: time of the first of them, ISO 8601 in UTC.
        last: time of the last.
    """

    share: ExampleSet
    names: tuple[str, ...]
    runs: tuple[str, ...]
    units: tuple[Unit, ...]
    charges: int
    first: str
    last: str


def account_of(exposure: Exposure) -> Account:
    """Return what there is to say of what a share was exposed to."""
    return Account(
        exposure.share,
        tuple(shown(name) for name in exposure.names if name),
        tuple(shown(run) for run in exposure.runs),
        tuple(exposure.units),
        exposure.charges,
        shown(exposure.first),
        shown(exposure.last),
    )


def shown(text: str) -> str:
    """Return untrusted text as one short line without anything that a terminal would act on."""
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return safe if len(safe) <= _LONGEST_SHOWN else safe[: _LONGEST_SHOWN - 1] + "…"
