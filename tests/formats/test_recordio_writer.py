"""Writing RecordIO: all or nothing, or behind what is there; the bytes are compared in test_recordio."""

import io
from pathlib import Path

import pytest

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.recordio import MAX_RECORD_BYTES, RecordReader
from fedpriv.formats.recordio_writer import RecordWriter, encode_record


def payloads(path: Path) -> list[bytes]:
    with RecordReader(path) as reader:
        return [record.payload for record in reader]


def test_a_file_appears_when_it_is_complete_and_never_after_an_error(tmp_path):
    path = tmp_path / "x.rec"
    with RecordWriter(path) as writer:
        writer.write(b"one")
        assert not path.exists()
    assert path.exists()
    assert path.stat().st_mode & 0o777 == 0o600

    def write_and_fail():
        with RecordWriter(path) as writer:
            writer.write(b"two")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail()
    assert payloads(path) == [b"one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.rec"]
    with pytest.raises(ValueError, match="with"):
        writer.write(b"three")


def test_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "x.rec", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written"), RecordWriter(path):
            pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_an_open_file_is_appended_to(tmp_path):
    file = io.BytesIO()
    file.write(encode_record(b"old"))
    with RecordWriter(file) as writer:
        assert writer.write(b"new") == 12
    path = tmp_path / "x.rec"
    path.write_bytes(file.getvalue())
    assert payloads(path) == [b"old", b"new"]
    file.write(b"x")
    with pytest.raises(ValueError, match="multiples of 4"), RecordWriter(file):
        pass


def test_a_record_of_half_a_gibibyte_is_refused():
    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_RECORD_BYTES + 1

    file = io.BytesIO()
    with RecordWriter(file) as writer, pytest.raises(FormatError, match="536870912 bytes, the limit is"):
        writer.write(Huge())
    assert file.getvalue() == b""
