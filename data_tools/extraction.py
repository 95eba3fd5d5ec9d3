"""One pass over the records of a file, begun or taken up again: every record gets its line and its file."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.index import RecordKeys
from data_tools.journal import Journal
from data_tools.lists import ListedPaths
from data_tools.meter import byte_meter
from data_tools.names import Namer
from data_tools.records import Damage, records
from data_tools.tree import Tree
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.image_record import class_label, unpack_image_record
from fedpriv.formats.recordio import Record, RecordReader

_KINDS = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"))


@dataclass(frozen=True)
class Extracted:
    """What an extraction did.

    Attributes:
        images: in the folder now.
        people: folders of images.
        damaged: records that could not be read.
        left_out: records that hold no image of their own, or are not in the index.
        written: images that this run wrote; the others were there.
        complete_before: an earlier run had done it all, and nothing was lost since.
    """

    images: int
    people: int
    damaged: int
    left_out: int
    written: int
    complete_before: bool


class Extraction:
    """An extraction from its first record to its last, over several processes if need be."""

    def __init__(
        self,
        rec: Path,
        reader: RecordReader,
        tree: Tree,
        journal: Journal,
        keys: RecordKeys | None,
        listed: ListedPaths | None,
        encode: Callable[[bytes], tuple[bytes, str]] | None,
    ) -> None:
        """Prepare.

        Args:
            rec: the record file, as refusals name it.
            reader: reads it.
            tree: is written into.
            journal: says what an earlier run did.
            keys: its index.
            listed: its list.
            encode: from an image's bytes to others and their suffix; None keeps the bytes.
        """
        self._rec, self._reader, self._tree, self._journal = rec, reader, tree, journal
        self._keys, self._listed, self._encode = keys, listed, encode
        self._namer = Namer(unique_numbers=keys is not None)
        self._images = self._damaged = self._left_out = self._written = 0
        self._last: int | None = None
        self._scanned = self._complete_before = False

    def counts(self) -> Extracted:
        """Return what was done so far."""
        return Extracted(
            self._images,
            self._namer.people,
            self._damaged,
            self._left_out,
            self._written,
            self._complete_before,
        )

    def replay(self) -> None:
        """Take up an earlier run: name its images again and write those that are not there any more.

        Raises:
            UserError: when its manifest does not fit the records.
        """
        for line in self._journal.lines():
            try:
                if "total" in line:
                    if line["total"] != self._total():
                        raise self._disagree(str(line)[:80])
                    self._scanned = True
                    continue
                offset = int(line["offset"])
                if not (-1 if self._last is None else self._last) < offset <= self._reader.size:
                    raise self._disagree(str(line)[:80])
                if "path" in line:
                    self._replay_image(line, offset)
                self._images += "path" in line
                self._damaged += "damaged" in line
                self._left_out += "left_out" in line
                self._last = offset
            except (LookupError, TypeError, ValueError, OverflowError) as error:
                raise self._disagree(str(line)[:80]) from error
        self._complete_before = self._journal.complete and not self._written

    def _replay_image(self, line: dict[str, Any], offset: int) -> None:
        path = str(line["path"])
        place = self._place(int(line["label"]), int(line["id"]), offset, "." + path.rpartition(".")[2])
        if "/".join(place) != path:
            raise self._disagree(path[:80])
        if self._tree.size(*place) == int(line["bytes"]):
            return
        content = self._image(Record(offset, self._reader.read_at(offset)))
        if content is None or hashlib.sha256(content[2]).hexdigest() != line["sha256"]:
            raise self._disagree(path)
        self._tree.write(*place, content[2])
        self._written += 1

    def _disagree(self, what: str) -> UserError:
        return UserError(
            f"{self._tree.root}: its manifest does not fit {self._rec} at {what!r}; name a new folder"
        )

    def go_on(self, skip_damaged: bool) -> None:
        """Extract what the journal does not have yet.

        Raises:
            FormatError: for a damaged record unless ``skip_damaged``, or a damaged index or list.
            UserError: when a file cannot be written, or index or list belong to other records.
        """
        if self._scanned:
            return  # killed between the journal's last line and its new name
        if self._keys and self._last is not None:
            self._keys.begin_after(self._last)
        with byte_meter("extract", self._reader.size) as meter:
            for found in records(self._reader, self._last or 0):
                known = found.offset == self._last
                if isinstance(found, Damage):
                    if self._keys:
                        self._keys.gap()
                    if not known:
                        self._note_damage(found.error, skip_damaged)
                    continue
                if known:
                    continue
                meter(found.offset)
                key = self._keys.at(found.offset) if self._keys else None
                try:
                    self._record(found, key)
                except FormatError as error:
                    if error.source != self._rec:
                        raise
                    self._note_damage(error, skip_damaged)
        if self._keys:
            self._keys.end()
        self._journal.add(json.dumps({"total": self._total()}))

    def _total(self) -> dict[str, int]:
        return {
            "people": self._namer.people,
            "images": self._images,
            "damaged": self._damaged,
            "left_out": self._left_out,
        }

    def _record(self, record: Record, key: int | None) -> None:
        if self._keys and key is None:
            self._leave_out(record.offset, "not in the index")
            return
        found = self._image(record)
        if found is None:
            self._leave_out(record.offset, "range of an identity")
            return
        label, number, content, suffix = found
        number = number if key is None else key
        folder, name = self._place(label, number, record.offset, suffix)
        self._tree.write(folder, name, content)
        self._images += 1
        self._written += 1
        path, digest = json.dumps(f"{folder}/{name}"), hashlib.sha256(content).hexdigest()
        # json.dumps of the whole would cost as much as the digest
        self._journal.add(
            f'{{"offset": {record.offset}, "label": {label}, "id": {number}, "path": {path}, '
            f'"bytes": {len(content)}, "sha256": "{digest}"}}'
        )

    def _image(self, record: Record) -> tuple[int, int, bytes, str] | None:
        """Return label, number, bytes and suffix; None for a range of numbers (InsightFace)."""
        header, image = unpack_image_record(record.payload, source=self._rec, offset=record.offset)
        if not image and isinstance(header.label, tuple) and len(header.label) == 2:
            return None
        label = class_label(header, source=self._rec, offset=record.offset)
        if self._encode:
            try:
                return label, header.id, *self._encode(image)
            except UserError as error:
                raise FormatError(self._rec, record.offset, str(error)) from error
        for magic, suffix in _KINDS:
            if image.startswith(magic):
                return label, header.id, image, suffix
        raise FormatError(
            self._rec, record.offset, f"begins with {image[:8].hex() or 'nothing'}: no JPEG or PNG"
        )

    def _place(self, label: int, number: int, offset: int, suffix: str) -> tuple[str, str]:
        listed = self._listed.find(number, label) if self._listed else None
        return self._namer.place(label, number, offset, suffix, listed)

    def _leave_out(self, offset: int, reason: str) -> None:
        self._left_out += 1
        self._journal.add(json.dumps({"offset": offset, "left_out": reason}))

    def _note_damage(self, error: FormatError, skip: bool) -> None:
        if not skip:
            raise FormatError(
                error.source, error.offset, f"{error.reason}; --skip-damaged leaves such records out"
            ) from error
        self._damaged += 1
        self._journal.add(json.dumps({"offset": error.offset, "damaged": error.reason}))
        print(f"fedpriv-data: {error}; left out", file=sys.stderr)
