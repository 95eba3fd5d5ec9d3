import contextlib
import csv
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.he.tables.csv_table import level_of, read_table

CELLS = [[Decimal("1"), Decimal("2.5")], [None, Decimal("-3")], [Decimal("4e2"), None]]


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("missing", ["", "NA", "nan", " N/A ", "NULL", "None", "?", "."])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_all_dialects_give_the_same_cells(tmp_path, end, missing, delimiter, mark):
    lines = ["a,b", "1,2.5", f"{missing},-3", f'"4e2",{missing}', ""]
    path = written(tmp_path, mark + end.join(line.replace(",", delimiter) for line in lines))
    table = read_table(path)
    assert table.names == ("a", "b")
    assert [list(row) for row in zip(table.numbers(0), table.numbers(1), strict=True)] == CELLS


def test_a_quoted_cell_may_hold_the_delimiter_and_a_line_end(tmp_path):
    table = read_table(written(tmp_path, 'name,x\r\n"a, ""b""\r\nc",7\r\n'))
    assert table.columns[0] == ['a, "b"\r\nc']
    assert table.numbers(1) == [7]


def test_columns_are_found_by_any_spelling(tmp_path):
    table = read_table(written(tmp_path, "Total Chol,sys_BP\n1,2\n"))
    assert table.find("totalchol") == 0
    assert table.find("SysBP") == 1
    with pytest.raises(UserError, match="has no column 'age'; it has Total Chol, sys_BP"):
        table.find("age")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,x4\n", "line 3: column 'b': 'x4' is no number"),
        ("a,b\r1,2\r3,1e99\r", "line 3: column 'b': '1e99' is too large"),
        ("a,b\n1,inf\n", "line 2: column 'b': 'inf' is no number"),
        ("a,b\n1,0x10\n", "line 2: column 'b': '0x10' is no number"),
        ("a,b\n1,٣\n", "line 2: column 'b': .* is no number"),
        ('a,b\n"1\n",2\n1,1_0\n', "line 4: column 'b': '1_0' is no number"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(tmp_path, content, message):
    table = read_table(written(tmp_path, content))
    assert table.numbers(0)
    with pytest.raises(FormatError, match=message):
        table.numbers(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows below a header"),
        (b"a,b\n", "has no rows below a header"),
        (b"a,b\n1\n", "line 2: 1 cells, the header has 2"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells, the header has 2"),
        (b"a,A\n1,2\n", "line 1: columns 'a' and 'A' have one name"),
        (b"a,\n1,2\n", "line 1: column 2: '' is no name"),
        (b"1,2\n1,2\n", "has numbers where a header should be"),
        (b'a,b\n1,"2\n', "is no CSV"),
        (b'a,b\n1,"2"3\n', "line 2: is no CSV"),
        (b"a,b\n1,\xff\n", "line 2: is no UTF-8"),
        (b"a\n" + b"1" * 5000 + b"\n", "line 2: a cell of 5000 characters, at most 4096"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as refusal:
        read_table(written(tmp_path, content))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [
        ",a,b\n0,1,2.5\n1,,-3\n2,4e2,\n",  # pandas' own index
        "sep=;\n;a;b\n0;1;2.5\n1;;-3\n2;4e2;\n",
        "sep=;\r\na;b;\r\n1;2.5;\r\n;-3;\r\n4e2;;\r\n",  # a delimiter ends every line
        '"sep=\t"\n"a"\t"b"\n1\t2.5\nNA\t-3\n4e2\t\n',
    ],
)
def test_columns_without_a_name_at_the_ends_are_left_out(tmp_path, content):
    table = read_table(written(tmp_path, content))
    assert table.names == ("a", "b")
    assert [list(row) for row in zip(table.numbers(0), table.numbers(1), strict=True)] == CELLS
    assert table.numbered == (",a" in content or ";a" in content)


def test_a_delimiter_within_quotation_marks_of_the_header_does_not_count(tmp_path):
    table = read_table(written(tmp_path, '"a, in kg, or g";"b ""x"", y";c\n1;2;3\n'))
    assert table.names == ("a, in kg, or g", 'b "x", y', "c")
    assert table.numbers(2) == [3]


@pytest.mark.parametrize("cell", ["1,5", "-0,25", "1,234", "1,234,567.5", "1.234,5", ",5"])
def test_a_column_of_numbers_with_commas_is_named_and_not_taken_for_text(tmp_path, cell):
    table = read_table(written(tmp_path, f"a;b\n1;{cell}\n2;\n3;{cell}\n"))
    with pytest.raises(FormatError, match=rf"line 2: column 'b': '{cell}' has a comma"):
        table.require_no_commas(1)


def test_text_with_commas_is_text(tmp_path):
    table = read_table(written(tmp_path, "a;b;c\n1,5;Smith, J;\nx;1,5;\n"))
    for column in range(3):
        table.require_no_commas(column)


@pytest.mark.parametrize(
    ("cell", "level"),
    [("1", "1"), ("1.0", "1"), ("1.00", "1"), ("1.50", "1.5"), ("10", "10"), ("-2.", "-2"), (".0", "0")]
    + [(text, text) for text in ("01", "m", "1.0 mg", "1e0", "v1.0", "a.0")],
)
def test_a_group_is_one_however_many_zeros_follow_the_point(cell, level):
    assert level_of(cell) == level


@pytest.mark.parametrize("cell", ["1" * 5000, '"' + "1" * 200_000 + '"'])
def test_a_cell_that_is_too_long_is_refused_and_other_readers_keep_their_limit(tmp_path, cell):
    before = csv.field_size_limit()
    (tmp_path / "t.csv").write_text(f"a,b\n1,{cell}\n")
    with pytest.raises(FormatError, match=r"a cell of 5000 characters|field larger than"):
        read_table(tmp_path / "t.csv")
    assert csv.field_size_limit() == before


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UserError, match=str(path)):
            read_table(path)


@settings(max_examples=150, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), st.text('ab,;"\r\n\t1.e-NA ', max_size=80).map(str.encode)))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, content):
    with contextlib.suppress(UserError):
        table = read_table(written(tmp_path_factory.mktemp("fuzz"), content))
        assert all(len(cells) == len(table) for cells in table.columns)
        for column in range(len(table.names)):
            table.numbers(column)
