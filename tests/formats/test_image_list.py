"""List files: what im2rec writes, in all its variants, and what no list is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats.image_list import ListEntry, read_list, write_list

printable = st.characters(exclude_categories=("C", "Z"))  # what str.isprintable takes, but for the space
paths = st.builds(
    lambda first, middle, last: first + middle + last,
    printable,
    st.text(st.one_of(printable, st.just(" ")), max_size=28),
    printable,
)
entries = st.builds(
    ListEntry,
    st.integers(0, 2**64 - 1),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4).map(tuple),
    paths,
)


def parsed(folder, content):
    path = folder / "x.lst"
    path.write_bytes(content)
    return list(read_list(path))


def test_the_real_list_is_read_and_written_again_byte_for_byte(real_data, tmp_path):
    source = real_data / "recordio_faces" / "train.lst"
    found = list(read_list(source))
    assert found[1] == ListEntry(4, (1.0,), "woman/woman_1.jpg")
    assert [entry.index for entry in found] == [0, 4, 7, 5, 1, 6, 3, 2]
    write_list(tmp_path / "x.lst", found)
    assert (tmp_path / "x.lst").read_bytes() == source.read_bytes()


@given(st.lists(entries, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, expected):
    path = tmp_path_factory.mktemp("list") / "x.lst"
    write_list(path, expected)
    assert list(read_list(path)) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"7\t3.000000\ta b/c.jpg\n",
        b"7\t3\ta b/c.jpg",
        b"7\t3\ta b/c.jpg\r\n",
        b"7\t3\ta b/c.jpg\t\n",
        b"7\t3\ta b/c.jpg\t\r\n\n",
        b" 7 \t 3.0 \t a b/c.jpg \n",
        b"\n7\t+3e0\ta b/c.jpg\n",
    ],
)
def test_the_variants_of_im2rec_mean_the_same(tmp_path, content):
    assert parsed(tmp_path, content) == [ListEntry(7, (3.0,), "a b/c.jpg")]


def test_several_labels_stand_between_index_and_path(tmp_path):
    assert parsed(tmp_path, b"1\t0\t-1.5\t.25\tx\n") == [ListEntry(1, (0.0, -1.5, 0.25), "x")]


def test_paths_are_returned_as_they_stand(tmp_path):
    hostile = ["../../etc/passwd", "/etc/passwd", "a\x00b", "C:\\x", "~/x", "é/ü.jpg"]
    content = "".join(f"{n}\t0\t{path}\n" for n, path in enumerate(hostile)).encode()
    assert [entry.path for entry in parsed(tmp_path, content)] == hostile


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"0\t0\tx\n1\tx\n", 2, "2 fields"),
        (b"0 0 x\n", 1, "1 fields"),
        (b"-1\t0\tx\n", 1, "index '-1'"),
        (b"1.0\t0\tx\n", 1, "index '1.0'"),
        (b"x\t0\tx\n", 1, "index 'x'"),
        (b"18446744073709551616\t0\tx\n", 1, "2^64"),
        (b"0\tx\tx\n", 1, "label 'x'"),
        (b"0\t\tx\n", 1, "label ''"),
        (b"0\tnan\tx\n", 1, "label 'nan'"),
        (b"0\tinf\tx\n", 1, "finite"),
        (b"0\t1e999\tx\n", 1, "finite"),
        (b"0\t1_0\tx\n", 1, "label '1_0'"),
        (b"0\t0x10\tx\n", 1, "label '0x10'"),
        (b"0\t0\t\xff\n", 1, "UTF-8"),
        (b"0\t0\tx\n" + b"y" * (2**20 + 1), 2, "longer than 1048576"),
        (b"0" + b"\t0" * 65_537 + b"\tx\n", 1, "65537 labels"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(tmp_path, content, line, reason):
    with pytest.raises(FormatError) as caught:
        parsed(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'x.lst'}: line {line}: ")
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 150


def test_entries_before_a_bad_line_are_yielded(tmp_path):
    path = tmp_path / "x.lst"
    path.write_bytes(b"0\t0\tx\nbad\n")
    found = read_list(path)
    assert next(found) == ListEntry(0, (0.0,), "x")
    with pytest.raises(FormatError):
        next(found)


@pytest.mark.parametrize(
    "entry",
    [
        ListEntry(-1, (0.0,), "x"),
        ListEntry(0, (), "x"),
        ListEntry(0, (math.nan,), "x"),
        ListEntry(0, (math.inf,), "x"),
        ListEntry(0, (0.0,), ""),
        ListEntry(0, (0.0,), "a\tb"),
        ListEntry(0, (0.0,), "a\n"),
        ListEntry(0, (0.0,), " a"),
        ListEntry(0, (0.0,), "\ud800"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, entry):
    with pytest.raises(ValueError, match=r"cannot be written|need|fields|empty|surrogates"):
        write_list(tmp_path / "x.lst", [ListEntry(0, (0.0,), "fine"), entry])
    assert not list(tmp_path.iterdir())
