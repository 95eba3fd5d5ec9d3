"""CSV as people have it, read strictly: every cell is a number, missing, or named by line and column.

Known dialects: comma, semicolon or tab, perhaps named by a first line ``sep=;`` and perhaps at the end of
lines, too; LF, CRLF or lone CR; quoted cells; a byte-order mark; the usual spellings of a missing cell
(:data:`MISSING`); a first column without a name, which holds row numbers. Text is UTF-8.
"""

import csv
import io
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from fedpriv.errors import FormatError, UserError
from fedpriv.he.key_files import read_public

MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "#n/a", "#na", "?", "."})
"""Spellings of a missing cell, in lower case and without white space around it."""
MOST_BYTES = 1 << 28
MOST_COLUMNS = 512
LARGEST_EXPONENT = 30

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_WITH_COMMAS = re.compile(r"[+-]?(?=.*[0-9])[0-9.]*,[0-9.,]*")
_DECLARED = re.compile(r'[\r\n]*"?sep=([,;\t])"?[ ,;\t]*(?=[\r\n])', re.IGNORECASE)
_QUOTED = re.compile(r'(?<![^,;\t\r\n ])"(?:[^"]|"")*"')
_LONGEST_HEADER = 1 << 20
_LONGEST_NUMBER = 60
_LONGEST_CELL = 4096


@dataclass(frozen=True)
class CsvTable:
    """Cells as they stand in a file.

    Attributes:
        source: the file.
        names: of the columns, stripped.
        columns: for each its cells, stripped; None where missing.
        lines: of the file, in which each row ends, from 1.
        numbered: whether the file has a first column without a name, which is left out.
    """

    source: Path
    names: tuple[str, ...]
    columns: tuple[list[str | None], ...]
    lines: list[int]
    numbered: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lines)

    def find(self, name: str) -> int:
        """Return the number of a column, by any spelling of its name (:func:`spelled`).

        Raises:
            UserError: when there is none.
        """
        wanted = spelled(name)
        for number, each in enumerate(self.names):
            if spelled(each) == wanted:
                return number
        raise UserError(f"{self.source}: has no column {name!r}; it has {', '.join(self.names)}")

    def is_text(self, column: int) -> bool:
        """Tell whether no cell of a column is a number, though some are there."""
        cells = [cell for cell in self.columns[column] if cell is not None]
        return bool(cells) and not any(_NUMBER.fullmatch(cell) for cell in cells)

    def require_no_commas(self, column: int) -> None:
        """Refuse a column of text whose every cell is a number but for its commas, decimal or of thousands.

        Raises:
            FormatError: naming its first cell.
        """
        found = [(row, cell) for row, cell in self._cells(column) if cell is not None]
        if found and all(_WITH_COMMAS.fullmatch(cell) for _, cell in found):
            row, cell = found[0]
            raise self.refuse(
                row,
                column,
                f"{cell[:40]!r} has a comma, which no number has; write 1.5 for 1,5 and 1234 for 1,234, or "
                f"name the columns to take (--columns)",
            )

    def numbers(self, column: int) -> list[Decimal | None]:
        """Return the exact values of a column.

        Raises:
            FormatError: naming line, column and cell of the first that is no finite number.
        """
        return [
            None if cell is None else self._number(cell, row, column) for row, cell in self._cells(column)
        ]

    def refuse(self, row: int, column: int, reason: str) -> FormatError:
        """Return the refusal of a cell."""
        return FormatError(self.source, self.lines[row], f"column {self.names[column]!r}: {reason}", "line")

    def _cells(self, column: int) -> list[tuple[int, str | None]]:
        return list(enumerate(self.columns[column]))

    def _number(self, cell: str, row: int, column: int) -> Decimal:
        if len(cell) > _LONGEST_NUMBER or not _NUMBER.fullmatch(cell):
            raise self.refuse(row, column, f"{cell[:40]!r} is no number; mend it or leave the cell empty")
        value = Decimal(cell)
        if value and value.adjusted() > LARGEST_EXPONENT:
            raise self.refuse(row, column, f"{cell[:40]!r} is too large; mend it or leave the cell empty")
        return value


def level_of(cell: str) -> str:
    """Return the group that a cell names: 1, 1.0 and 1.00 are one, every other text is its own."""
    if "." in cell and _NUMBER.fullmatch(cell) and cell[-1] in "0.":
        return cell.rstrip("0").rstrip(".") or "0"
    return cell


def read_table(path: Path) -> CsvTable:
    """Read a CSV file with a header.

    Edge cases:
        - Empty lines are skipped, as pandas does.
        - A first column without a name, as pandas writes its index, is left out; so is a last one without
          name and values, which a delimiter at the end of every line makes.
        - Columns whose names are the same but for case, spaces and punctuation are refused.

    Raises:
        UserError: naming file and line: unreadable, too large, no UTF-8, no header, a row with more or fewer
            cells than the header, a quotation mark that never ends.
    """
    text = _text(path)
    declared = _DECLARED.match(text)
    delimiter = declared[1] if declared else _delimiter(text)
    # line ends of any kind end a row, and are kept as they are within quotation marks
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    names: tuple[str, ...] | None = None
    header = 0
    columns: list[list[str | None]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if (longest := max(map(len, row))) > _LONGEST_CELL:
                # csv's own limit is one for the whole process
                raise FormatError(
                    path,
                    reader.line_num,
                    f"a cell of {longest} characters, at most {_LONGEST_CELL}; mend it",
                    "line",
                )
            if declared:
                declared = None
                continue
            if names is None:
                names, header = _header(path, reader.line_num, row), reader.line_num
                columns = [[] for _ in names]
                continue
            if len(row) != len(names):
                raise FormatError(
                    path,
                    reader.line_num,
                    f"{len(row)} cells, the header has {len(names)}; mend the row",
                    "line",
                )
            for column, cell in zip(columns, row, strict=True):
                stripped = cell.strip()
                column.append(None if stripped.lower() in MISSING else stripped)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise FormatError(path, reader.line_num, f"is no CSV: {error}", "line") from error
    if names is None or not lines:
        raise UserError(f"{path}: has no rows below a header; name a CSV file with a header line")
    return _named(path, header, names, columns, lines)


def spelled(name: str) -> str:
    """Return what all spellings of a column's name have in common: letters and digits, without case."""
    kept = "".join(each for each in name.casefold() if each.isalnum())
    return kept or name.strip().casefold()


def _delimiter(text: str) -> str:
    """Return the delimiter that the header has most of, outside quotation marks."""
    header = re.split(r"[\r\n]", _QUOTED.sub("", text[:_LONGEST_HEADER].lstrip("\r\n")), maxsplit=1)[0]
    return max(",;\t", key=header.count)


def _named(
    path: Path, line: int, names: tuple[str, ...], columns: list[list[str | None]], lines: list[int]
) -> CsvTable:
    """Return the table without the columns at its ends that have no name."""
    first, last = not names[0], len(names)
    if not names[-1]:
        if any(cell is not None for cell in columns[-1]):
            raise FormatError(path, line, f"column {last}: '' is no name; give it one", "line")
        last -= 1
    return CsvTable(path, names[first:last], tuple(columns[first:last]), lines, first)


def _header(path: Path, line: int, row: list[str]) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in row)
    if len(names) > MOST_COLUMNS:
        raise FormatError(path, line, f"{len(names)} columns, at most {MOST_COLUMNS}", "line")
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not name and number in (1, len(names)) and any(names):
            continue
        if not name or not name.isprintable() or len(name) > 100:
            raise FormatError(path, line, f"column {number}: {name[:40]!r} is no name; give it one", "line")
        if (before := seen.setdefault(spelled(name), name)) is not name:
            raise FormatError(
                path, line, f"columns {before!r} and {name!r} have one name; rename one", "line"
            )
    if all(_NUMBER.fullmatch(name) for name in names if name):
        raise FormatError(path, line, "has numbers where a header should be; add a line of names", "line")
    return names


def _text(path: Path) -> str:
    content = read_public(path, MOST_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(path, line, "is no UTF-8 text; save it as CSV in UTF-8", "line") from error
