"""Tables on a terminal: no word is broken; what has no place beside the rest follows below."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from fedpriv.comparison.tables import Table

_AROUND, _EDGE = 3, 1
"""Characters around each column (two spaces and a line), and of the last line."""
_SHORT = 12
"""Text of so many characters stays on one line."""


def laid_out(table: Table, width: int) -> list[RichTable]:
    """Return a table as one or more that are no wider than a terminal.

    Text goes on in the next line between words, numbers stay whole. Where not all columns fit, each part
    begins with the ones that say what a row is, those before the first number; where these leave no room for
    another, every row is written as lines of its own.

    Edge cases:
        A word that is longer than the terminal is broken all the same.
    """
    least = [_least(table, place) for place in range(len(table.heads))]
    keys = table.numeric.index(True) if True in table.numeric else 1
    widest = max(least[keys:], default=0)
    if _total([*least[:keys], widest]) > width:
        return [_records(table)]
    parts: list[list[int]] = [list(range(keys))]
    for place in range(keys, len(table.heads)):
        if _total([least[each] for each in (*parts[-1], place)]) <= width:
            parts[-1].append(place)
        else:
            parts.append([*range(keys), place])
    drawn = [_part(table, part, least, width) for part in parts]
    drawn[0].title = Text(table.title)
    return drawn


def _least(table: Table, place: int) -> int:
    """Return the width that a column needs at least."""
    cells = [row[place] for row in table.rows]
    words = [word for text in (table.heads[place], *cells) for word in text.split()]
    whole = [cell for cell in cells if table.numeric[place] or cell_len(cell) <= _SHORT]
    return max(map(cell_len, [*words, *whole]), default=1)


def _total(widths: Sequence[int]) -> int:
    return sum(width + _AROUND for width in widths) + _EDGE


def _part(table: Table, places: Sequence[int], least: Sequence[int], width: int) -> RichTable:
    drawn = RichTable(title_justify="left", title_style="bold")
    widths = _shared(table, places, least, width)
    for place in places:
        drawn.add_column(
            Text(table.heads[place]),
            justify="right" if table.numeric[place] else "left",
            width=widths[place],
        )
    for row in table.rows:
        drawn.add_row(*(Text(row[place]) for place in places))
    return drawn


def _shared(table: Table, places: Sequence[int], least: Sequence[int], width: int) -> dict[int, int]:
    """Give what is left of a line to the columns that lack most, for their cells and then for their heads."""
    widths = {place: least[place] for place in places}
    for texts in (table.rows, [table.heads]):
        wanted = {place: max((cell_len(row[place]) for row in texts), default=0) for place in places}
        for _ in range(width - _total(list(widths.values()))):
            lacking = max(places, key=lambda place: wanted[place] - widths[place])
            if wanted[lacking] <= widths[lacking]:
                break
            widths[lacking] += 1
    return widths


def _records(table: Table) -> RichTable:
    drawn = RichTable(title=Text(table.title), title_justify="left", title_style="bold", show_header=False)
    drawn.add_column(style="bold", overflow="fold", max_width=max(map(_longest, table.heads), default=1))
    drawn.add_column(overflow="fold")
    for row in table.rows:
        for head, cell in zip(table.heads, row, strict=True):
            drawn.add_row(Text(head), Text(cell))
        drawn.add_section()
    return drawn


def _longest(text: str) -> int:
    return max(24, *map(cell_len, text.split() or [""]))
