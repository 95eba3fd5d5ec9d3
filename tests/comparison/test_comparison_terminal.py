"""Tables on terminals of any width: whole words, whole numbers, nothing left away."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedpriv.comparison.tables import Table
from fedpriv.comparison.terminal import laid_out

WORD = st.text("abcdefgh_=.", min_size=1, max_size=14)
TEXT = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
NUMBER = st.sampled_from(["6.64 ± 0.63", "72.5 kB", "–", "1"])


def printed(table, width):
    """Return for each part its lines as lists of cells."""
    parts = []
    for part in laid_out(table, width):
        console = Console(file=io.StringIO(), width=width)
        console.print(part)
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        rows = [line.replace("┃", "│") for line in lines]
        parts.append([[cell.strip() for cell in row.split("│")[1:-1]] for row in rows if "│" in row])
    return parts


@st.composite
def tables(draw):
    texts, numbers = draw(st.integers(1, 3)), draw(st.integers(0, 6))
    numeric = [False] * texts + [draw(st.booleans()) for _ in range(numbers)]
    rows = draw(st.integers(1, 4))
    return Table(
        title="a title",
        heads=[draw(TEXT) for _ in numeric],
        numeric=numeric,
        rows=[[draw(NUMBER if each else TEXT) for each in numeric] for _ in range(rows)],
    )


@given(tables(), st.integers(70, 200))
def test_no_word_and_no_number_is_broken_and_each_column_is_there(table, width):
    parts = printed(table, width)
    lines = [cells for part in parts for cells in part]
    seen = [word for cells in lines for cell in cells for word in cell.split()]
    wanted = [word for row in (table.heads, *table.rows) for cell in row for word in cell.split()]
    assert set(seen) == set(wanted)
    whole = {cell for cells in lines for cell in cells}
    for row in table.rows:
        assert {cell for cell, numeric in zip(row, table.numeric, strict=True) if numeric} <= whole


def test_every_part_says_what_its_rows_are():
    heads = ["secure", "error (deg), lower is better", "up", "down", "a round takes"]
    rows = [[name, "6.64 ± 0.63", "72.5 kB", "1 kB", "0.2 ± 0.1 s"] for name in ("none", "bfv_committee")]
    table = Table("costs", heads, [False, True, True, True, True], rows)
    first, second = printed(table, 50)
    assert [cells[0] for cells in first if cells[0]] == ["secure", "none", "bfv_committee"]
    assert [cells[0] for cells in second if cells[0]] == ["secure", "none", "bfv_committee"]
    assert len(laid_out(table, 100)) == 1


def test_rows_whose_names_leave_no_room_are_lines_of_their_own():
    heads = ["scheme", "holders", "keys", "smudging_bits", "error (deg), lower is better"]
    rows = [[name, "3", "committee", "56", "6.64 ± 0.63"] for name in ("bfv_committee", "ckks")]
    (part,) = printed(Table("costs", heads, [False] * 4 + [True], rows), 50)
    assert part[:2] == [["scheme", "bfv_committee"], ["holders", "3"]]
    assert ["smudging_bits", "56"] in part


def test_a_word_longer_than_the_terminal_is_broken_and_not_cut():
    table = Table("t", ["group"], [False], [["x" * 100]])
    (part,) = printed(table, 40)
    assert "".join(cells[1] for cells in part) == "x" * 100
