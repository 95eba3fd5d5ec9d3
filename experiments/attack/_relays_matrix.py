"""All that ``fedpriv attack relays`` found, as JSON and as a table."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from fedpriv.attacks.relays.learned import Learned
from fedpriv.attacks.relays.matrix import Row, accepted_means, totals
from fedpriv.attacks.relays.original_attacks import NOT_APPLICABLE, Outcome

_PIPE_WIDTH = 150
_HIDDEN = ("sealed", "opened")
"""What must tell no more than chance; the other measures are the original's, and controls."""


@dataclass(frozen=True)
class Matrix:
    """All that was found.

    Attributes:
        rows: one per attack.
        original: the same attacks against the original's design, where they have a meaning.
        controls: the same attacks without the defence that they test; empty without ``--controls``.
        learned: what relays learn of images; empty when only some attacks were run.
        seconds: that it took.
    """

    rows: Sequence[Row]
    original: Mapping[str, Outcome]
    controls: Mapping[str, Row]
    learned: Mapping[str, Learned]
    seconds: float

    @property
    def held(self) -> bool:
        """Whether nothing was accepted, lost or learned, and every control was broken as it must be."""
        return (
            not any(totals(self.rows).values())
            and not any(self.learned[name].better_than_chance for name in _HIDDEN if name in self.learned)
            and all(row.accepted >= least(name) for name, row in self.controls.items())
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        attacks = []
        for row in self.rows:
            original, control = self.original.get(row.name), self.controls.get(row.name)
            attacks.append(
                {
                    **row.as_json(),
                    "original": None if original is None else dict(vars(original)),
                    "control": None
                    if control is None
                    else {
                        "attempted": control.attempted,
                        "accepted": control.accepted,
                        "least": least(row.name),
                        "without": without(row.name),
                    },
                    "accepted_means": accepted_means(row.name),
                }
            )
        return {
            "attacks": attacks,
            **totals(self.rows),
            "learned": {name: each.as_json() for name, each in self.learned.items()},
            "seconds": round(self.seconds, 1),
        }


def show(found: Matrix) -> None:
    """Print the table, what is counted in it, and what is learned."""
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    table = Table("attack", "attempted", "accepted", "refused as", "honest\nsent / lost / retries")
    table.add_column("original's design\naccepted")
    if found.controls:
        table.add_column("without the defence\naccepted")
    for row in found.rows:
        original, control = found.original.get(row.name), found.controls.get(row.name)
        cells = [
            row.name,
            str(row.attempted),
            _marked(row.accepted),
            ", ".join(f"{cause} {count}" for cause, count in row.refused_as.most_common()),
            f"{row.honest_sent} / {_marked(row.honest_lost)} / {row.honest_retries}",
            _of(original) if original else "-",
        ]
        table.add_row(*cells, *([_of(control)] if control else []))
    console.print(table)
    _print_legend(console, found)
    sums = totals(found.rows)
    console.print(
        f"\naccepted {sums['accepted_total']}, honest images lost {sums['honest_lost_total']}, "
        f"{found.seconds:.0f} s"
    )


def _print_legend(console: Console, found: Matrix) -> None:
    console.print("\nWhat is counted as accepted:", highlight=False)
    for row in found.rows:
        console.print(f"  {row.name}: {accepted_means(row.name)}", highlight=False, markup=False)
    console.print(
        "  and, for all: what the model server's own counters show beyond honest images, at least."
        " An idempotent retry brings the same sealed bytes and is no acceptance.",
        highlight=False,
    )
    missing = [row.name for row in found.rows if row.name in NOT_APPLICABLE]
    if missing:
        console.print("\nWithout a meaning for the original's design:", highlight=False)
        for name in missing:
            console.print(f"  {name}: {NOT_APPLICABLE[name]}", highlight=False, markup=False)
    if found.controls:
        console.print("\nThe defence that was taken away:", highlight=False)
        for name in found.controls:
            console.print(f"  {name}: {without(name)}{_rest(name)}", highlight=False, markup=False)
    if found.learned:
        console.print("\nWhat is learned of an image (value, and the same with images shuffled):")
        for each in found.learned.values():
            bits, likeness = each.information, each.likeness
            console.print(
                f"  {each.what:33} {bits.value:.4f} bits, chance {bits.null_mean:.4f};"
                f" SSIM {likeness.value:.3f}, chance {likeness.null_mean:.3f}:"
                f" {'better than' if each.better_than_chance else 'no better than'} chance",
                highlight=False,
            )


def without(name: str) -> str:
    """Return what the control of an attack takes away."""
    from fedpriv.attacks.relays.controls import WITHOUT  # needs all services: only where there are controls

    return WITHOUT[name].what


def least(name: str) -> int:
    """Return how many attempts the control of an attack must accept."""
    from fedpriv.attacks.relays.controls import WITHOUT

    return WITHOUT[name].least


def _rest(name: str) -> str:
    from fedpriv.attacks.relays.controls import WITHOUT

    others = WITHOUT[name].others
    return f"; at least {least(name)} accepted, for {others}" if others else ""


def _marked(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "0"


def _of(found: Outcome | Row) -> str:
    return f"{found.accepted} of {found.attempted}"
