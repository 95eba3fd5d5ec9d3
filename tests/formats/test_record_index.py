"""Index files: what MXNet writes, and what no index is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats import record_index
from fedpriv.formats.record_index import read_index, write_index
from fedpriv.formats.recordio import RecordReader


def test_the_real_index_names_the_records_and_is_written_again_byte_for_byte(real_data, tmp_path):
    folder = real_data / "recordio_faces"
    index = read_index(folder / "train.idx")
    with RecordReader(folder / "train.rec") as reader:
        assert list(index.values()) == [record.offset for record in reader]
    assert list(index) == [0, 4, 7, 5, 1, 6, 3, 2]
    write_index(tmp_path / "x.idx", index)
    assert (tmp_path / "x.idx").read_bytes() == (folder / "train.idx").read_bytes()


@given(st.dictionaries(st.integers(0, 10**19), st.integers(0, 10**18).map(lambda n: 4 * n), max_size=20))
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_in_the_same_order(tmp_path_factory, index):
    path = tmp_path_factory.mktemp("index") / "x.idx"
    write_index(path, index)
    assert list(read_index(path).items()) == list(index.items())


def test_line_ends_of_windows_and_a_missing_last_one_are_read(tmp_path):
    path = tmp_path / "x.idx"
    path.write_bytes(b"3\t8\r\n1\t0")
    assert read_index(path) == {3: 8, 1: 0}
    path.write_bytes(b"")
    assert read_index(path) == {}


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"0\t0\n1\t8\n0\t16\n", 3, "key 0 a second time"),
        (b"0\t0\n-1\t8\n", 2, "non-negative"),
        (b"0\t-8\n", 1, "non-negative"),
        (b"0\t6\n", 1, "no multiple of 4"),
        (b"0\t0\n\n1\t8\n", 2, "non-negative integers"),
        (b"0 0\n", 1, "non-negative integers"),
        (b"0\t0\t0\n", 1, "non-negative integers"),
        (b"0\n", 1, "non-negative integers"),
        (b"a\t0\n", 1, "got 'a"),
        (b"1.0\t0\n", 1, "non-negative integers"),
        (b"1_0\t0\n", 1, "non-negative integers"),
        ("\u0661\t0\n".encode(), 1, "non-negative integers"),
        (b"0\t0\n\xff\xfe\n", 2, "non-negative integers"),
        (b"9" * 21 + b"\t0\n", 1, "non-negative integers"),
        (b"1" * 1000, 1, "non-negative integers"),
    ],
)
def test_what_is_no_index_is_refused_with_its_line(tmp_path, content, line, reason):
    path = tmp_path / "x.idx"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_index(path)
    assert str(caught.value).startswith(f"{path}: line {line}: ")
    assert reason in caught.value.reason
    assert len(str(caught.value)) < len(str(path)) + 200


def test_a_file_that_is_too_large_or_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(record_index, "MAX_FILE_BYTES", 3)
    path = tmp_path / "x.idx"
    path.write_bytes(b"0\t0\n")
    with pytest.raises(FormatError, match="4 bytes, the limit is 3"):
        read_index(path)
    with pytest.raises(FormatError, match="cannot be read"):
        read_index(tmp_path / "missing.idx")


@pytest.mark.parametrize("index", [{-1: 0}, {0: -4}, {0: 2}])
def test_what_could_not_be_read_is_not_written(tmp_path, index):
    with pytest.raises(ValueError, match="multiple of 4"):
        write_index(tmp_path / "x.idx", index)
    assert not list(tmp_path.iterdir())
