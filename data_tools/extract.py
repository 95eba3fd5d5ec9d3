"""Unpack the images of a RecordIO file into one folder per person.

Formats: :mod:`fedpriv.formats.recordio`, :mod:`fedpriv.formats.image_record`. Images are copied byte for
byte, and every record of the file has its line in ``manifest.jsonl``: an image with its label, number,
path, length and SHA-256, or why it was left out.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.index import RecordKeys
from data_tools.journal import Journal
from data_tools.lists import ListedPaths
from data_tools.meter import byte_meter
from data_tools.names import Namer
from data_tools.records import Damage, records
from data_tools.reencode import reencoder
from data_tools.tree import Tree
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import open_input
from fedpriv.formats.image_record import class_label, unpack_image_record
from fedpriv.formats.recordio import Record, RecordReader

_ENDS = 1 << 20
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
    """

    images: int
    people: int
    damaged: int
    left_out: int
    written: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rec", type=Path, required=True, help="the record file, e.g. train.rec")
    parser.add_argument("--idx", type=Path, help="its index: numbers of the images, and which records count")
    parser.add_argument(
        "--lst", type=Path, help="its list: names of people and images (im2rec or InsightFace)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make, or to go on with")
    parser.add_argument("--skip-damaged", action="store_true", help="leave damaged records out and go on")
    parser.add_argument(
        "--reencode", choices=("jpeg", "png"), help="decode and save as RGB (default: copy bytes)"
    )
    parser.add_argument("--quality", type=int, help="of --reencode jpeg, 1 to 95 (default 95)")


def main(options: argparse.Namespace) -> None:
    """Extract and say what was done."""
    if options.quality is not None and (options.reencode != "jpeg" or not 1 <= options.quality <= 95):
        raise UserError(f"--quality {options.quality}: takes 1 to 95 and needs --reencode jpeg")
    try:
        done = extract(
            options.rec,
            options.out,
            idx=options.idx,
            lst=options.lst,
            skip_damaged=options.skip_damaged,
            encoding=options.reencode,
            quality=options.quality or 95,
        )
    except KeyboardInterrupt:
        print("fedpriv-data: interrupted; the same command goes on from here", file=sys.stderr)
        raise
    print(
        f"{options.out}: {done.images:,} images of {done.people:,} people"
        f"{'' if done.written else ', complete before'}; "
        f"{done.left_out:,} records without an image of their own, {done.damaged:,} damaged"
    )


def extract(
    rec: Path,
    out: Path,
    *,
    idx: Path | None = None,
    lst: Path | None = None,
    skip_damaged: bool = False,
    encoding: str | None = None,
    quality: int = 95,
) -> Extracted:
    """Write every image of ``rec`` to ``out/<person>/<image>.jpg`` (or ``.png``), in the file's order.

    Memory does not grow with the images but for their numbers: 16 bytes each with an index, a bit
    each without, about 70 bytes each with a list.

    Guarantee:
        * A run that is killed and started again makes the same tree and manifest, byte for byte, as one
          that was not; images written before are not written again but for a last few.
        * A finished run started again checks that every image is there with its length, and writes
          those that are not.
        * No name and no link leads out of ``out``; see :mod:`data_tools.names` and :mod:`data_tools.tree`.

    Args:
        rec: RecordIO file of image records. Records with two labels and no image (InsightFace's
            ranges of identities) are recognised and left out. Of several labels the first counts.
        out: a new or empty folder, or one that holds an extraction of the same files.
        idx: its index. Gives the numbers; records that it does not name are left out.
        lst: its list. Gives names of folders and files; without one they are label and number.
        skip_damaged: leave damaged records out, with a line on standard error each.
        encoding: ``jpeg`` or ``png``: save again as RGB; None copies the bytes.
        quality: of JPEG.

    Returns:
        Counts.

    Raises:
        FormatError: for a damaged record, unless ``skip_damaged``; for a damaged index or list.
        UserError: when files cannot be read or written, do not belong together, or ``out`` holds
            something else.
    """
    encode, encoded_as = reencoder(encoding, quality)
    facts = {
        "fedpriv_manifest": 1,
        "source": _identity(rec),
        "index": idx and _identity(idx),
        "list": lst and _identity(lst),
        "images": encoded_as,
    }
    with RecordReader(rec) as reader, Tree(out) as tree, closing(Journal(tree, facts)) as journal:
        keys = RecordKeys(idx, reader.size) if idx else None
        run = _Run(rec, reader, tree, journal, keys, ListedPaths(lst) if lst else None, encode)
        run.replay()
        if not journal.complete:
            run.go_on(skip_damaged)
            journal.finish()
        tree.tidy()
        return run.counts()


class _Run:
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
        self._rec, self._reader, self._tree, self._journal = rec, reader, tree, journal
        self._keys, self._listed, self._encode = keys, listed, encode
        self._namer = Namer(unique_numbers=keys is not None)
        self._images = self._damaged = self._left_out = self._written = 0
        self._last: int | None = None
        self._scanned = False

    def counts(self) -> Extracted:
        """Return what was done so far."""
        return Extracted(self._images, self._namer.people, self._damaged, self._left_out, self._written)

    def replay(self) -> None:
        """Take up an earlier run: name its images again and write those that are not there any more."""
        for line in self._journal.lines():
            try:
                if "total" in line:
                    self._scanned = True
                    continue
                offset = int(line["offset"])
                if "path" in line:
                    self._replay_image(line, offset)
                self._images += "path" in line
                self._damaged += "damaged" in line
                self._left_out += "left_out" in line
                self._last = offset
            except (KeyError, TypeError, ValueError) as error:
                raise self._disagree(str(line)[:80]) from error

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
        """Extract what the journal does not have yet."""
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
        total = {"images": self._images, "damaged": self._damaged, "left_out": self._left_out}
        self._journal.add(json.dumps({"total": {"people": self._namer.people, **total}}))

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


def _identity(path: Path) -> dict[str, Any]:
    """Tell a file by name, length and its first and last MiB."""
    with open_input(path) as file:
        digest = hashlib.sha256(file.read(_ENDS))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(_ENDS, size - _ENDS))
        digest.update(file.read(_ENDS))
    return {"name": path.name, "bytes": size, "sha256_of_ends": digest.hexdigest()}
