"""The records of a file in order, damage among them."""

from collections.abc import Iterator
from dataclasses import dataclass

from fedpriv.errors import FormatError
from fedpriv.formats.recordio import Record, RecordReader


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of the file without a record that can be read."""

    offset: int
    error: FormatError


def records(reader: RecordReader, begin: int = 0) -> Iterator[Record | Damage]:
    """Yield the records from offset ``begin`` on; after damage go on with the next that can be found."""
    position: int | None = begin
    while position is not None:
        try:
            yield from reader.iterate_from(position)
            return
        except FormatError as error:
            at = position if error.offset is None else error.offset
            yield Damage(at, error)
            position = reader.resync(at)
