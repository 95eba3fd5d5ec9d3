"""Unpack the images of a RecordIO file into one folder per person.

Formats: :mod:`fedpriv.formats.recordio`, :mod:`fedpriv.formats.image_record`. Images are copied byte for
byte, and every record of the file has its line in ``manifest.jsonl``: an image with its label, number,
path, length and SHA-256, or why it was left out.
"""

import argparse
import hashlib
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from data_tools.extraction import Extracted, Extraction
from data_tools.index import RecordKeys
from data_tools.journal import Journal
from data_tools.lists import ListedPaths
from data_tools.reencode import reencoder
from data_tools.tree import Tree
from fedpriv.errors import UserError
from fedpriv.formats.files import open_input
from fedpriv.formats.recordio import RecordReader

_ENDS = 1 << 20


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
        f"{', complete before' if done.complete_before else ''}; "
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
          those that are not; if its manifest was cut short, it goes on from there.
        * What it makes only its owner can read.
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
        UserError: when files cannot be read or written, do not belong together, no image was found, or
            ``out`` holds something else.
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
        run = Extraction(rec, reader, tree, journal, keys, ListedPaths(lst) if lst else None, encode)
        run.replay()
        if not journal.complete:
            run.go_on(skip_damaged)
        done = run.counts()
        if not done.images:
            named, needed = (f" that {idx} names", " and its index") if idx else ("", "")
            raise UserError(
                f"{rec}: holds no image{named} ({done.left_out:,} records left out, {done.damaged:,} "
                f"damaged); give a RecordIO file of images{needed}"
            )
        if not journal.complete:
            journal.finish()
        tree.tidy()
        return done


def _identity(path: Path) -> dict[str, Any]:
    """Tell a file by name, length and its first and last MiB."""
    with open_input(path) as file:
        digest = hashlib.sha256(file.read(_ENDS))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(_ENDS, size - _ENDS))
        digest.update(file.read(_ENDS))
    return {"name": path.name, "bytes": size, "sha256_of_ends": digest.hexdigest()}
