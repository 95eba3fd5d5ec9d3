"""docs/data.md lists the data sets that there are, as their cards describe them."""

from pathlib import Path

from fedpriv.data.registry import cards

PAGE = Path(__file__).parents[1] / "docs" / "data.md"


def test_the_table_of_data_sets_is_that_of_the_cards():
    rows = [
        f"| `{card.name}` | {', '.join(card.tasks)} | {card.layout} | {card.protocol} |"
        for card in cards().values()
    ]
    page = PAGE.read_text()
    start = page.index("| data | task |")
    table = page[start : page.index("\n\n", start)].splitlines()[2:]
    assert table == rows
