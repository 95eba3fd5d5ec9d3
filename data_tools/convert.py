"""Turn folders of people, record files and verification files into one another."""

import argparse
import io
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from PIL import ImageOps

from data_tools.extract import extract
from fedpriv.errors import UserError
from fedpriv.formats.files import atomic_output
from fedpriv.formats.identity_folder import SUFFIXES, IdentityFolder, list_identities, open_image
from fedpriv.formats.image_list import ListEntry, write_list
from fedpriv.formats.image_record import ImageHeader, pack_image_record
from fedpriv.formats.record_index import index_line
from fedpriv.formats.recordio_writer import RecordWriter
from fedpriv.progress import track

_WAYS = """what IN and OUT are decides what is done:
  folder of people -> OUT.rec     like im2rec: .rec, .idx and .lst; labels in natural order of the folders
  folder of people -> OUT         InsightFace: train.rec with ranges of identities, train.idx, property
  folder of people -> OUT.bin     pairs of --pairs (LFW's pairs.txt) as a verification file
  IN.rec           -> OUT         a folder per person (extract, with the .idx and .lst beside IN)
  IN.bin           -> OUT.rec     verification pairs without a pickle
  IN.rec           -> OUT.bin     and back"""
_FILES = (".rec", ".bin")
# OUT named like these is a slip; whatever else follows a dot (faces_v1.0) belongs to a folder's name
_NOT_MADE = SUFFIXES | {".idx", ".lst", ".txt", ".csv", ".zip", ".tar", ".gz", ".npz", ".h5"}
_STORED_AS_THEY_ARE = ("JPEG", "PNG")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = f"{parser.description}\n\n{_WAYS}"
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new file or folder")
    parser.add_argument("--pairs", type=Path, help="pairs for OUT.bin (default: IN/pairs.txt)")
    parser.add_argument("--allow-numpy", action="store_true", help="read .bin files that hold numpy arrays")
    parser.add_argument(
        "--skip-damaged", action="store_true", help="IN.rec -> OUT: leave damaged records out and go on"
    )


def main(options: argparse.Namespace) -> None:
    """Convert and say what was made.

    Raises:
        UserError: when IN is missing or damaged, OUT is there already, or there is no such way.
    """
    source, target = options.source.expanduser(), options.target.expanduser()
    kinds = _kinds(source, target)
    resumed = kinds == (".rec", "folder")
    if options.skip_damaged and not resumed:
        raise UserError(f"--skip-damaged: is for a .rec file to a folder, not {kinds[0]} to {kinds[1]}")
    taken = [target, *(target.with_suffix(suffix) for suffix in (".idx", ".lst") if kinds[1] == ".rec")]
    for path in () if resumed else taken:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UserError(f"{path}: is there already; remove it or name another")
    if kinds == ("folder", ".rec"):
        made = _folder_to_records(source, target)
    elif kinds == ("folder", "folder"):
        made = _folder_to_insightface(source, target)
    elif kinds == ("folder", ".bin"):
        made = _folder_to_bin(source, target, options.pairs or source / "pairs.txt")
    elif resumed:
        made = _records_to_folder(source, target, options.skip_damaged)
    elif kinds == (".bin", ".rec"):
        made = _bin_to_records(source, target, options.allow_numpy)
    elif kinds == (".rec", ".bin"):
        made = _records_to_bin(source, target)
    else:
        raise UserError(
            f"{source} to {target}: no such way ({kinds[0]} to {kinds[1]}); see fedpriv-data convert --help"
        )
    print(f"{target}: {made}")


def _kinds(source: Path, target: Path) -> tuple[str, str]:
    """Return ``folder``, ``.rec`` or ``.bin`` for IN and OUT."""
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path")
    if not source.is_dir() and source.suffix.lower() not in _FILES:
        raise UserError(f"{source}: no such way from here; IN is a folder, a .rec or a .bin file")
    if not target.is_dir() and target.suffix.lower() in _NOT_MADE:
        raise UserError(f"{target}: no such way to {target.suffix}; OUT is a folder, a .rec or a .bin file")
    return _kind(source), _kind(target)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix in _FILES and not path.is_dir() else "folder"


def _people(folder: Path) -> IdentityFolder:
    listing = list_identities(folder)
    pairs = [pair for pair in zip(listing.names, listing.files, strict=True) if pair[1]]
    if not pairs:
        raise UserError(f"{folder}: no folder in it holds an image; name a folder of images per person")
    return IdentityFolder(tuple(name for name, _ in pairs), tuple(files for _, files in pairs), 0)


def _stored(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Return JPEG and PNG files as they are, others upright as PNG without loss; and width and height."""
    with open_image(path, path) as image:
        if image.format in _STORED_AS_THEY_ARE:
            return path.read_bytes(), image.size
        upright, saved = ImageOps.exif_transpose(image), io.BytesIO()
        upright.save(saved, "PNG")
        return saved.getvalue(), upright.size


def _folder_to_records(source: Path, target: Path) -> str:
    people = _people(source)
    entries: list[ListEntry] = []
    every = [(label, path) for label, files in enumerate(people.files) for path in files]
    with ExitStack() as stack:
        lines = stack.enter_context(atomic_output(target.with_suffix(".idx")))
        images = stack.enter_context(atomic_output(target))
        writer = stack.enter_context(RecordWriter(images))
        for number, (label, path) in enumerate(track(every, "convert", len(every))):
            payload = pack_image_record(ImageHeader(float(label), number), _stored(path)[0])
            lines.write(index_line(number, writer.write(payload)))
            entries.append(ListEntry(number, (float(label),), f"{path.parent.name}/{path.name}"))
        # a full disk shows before the first file gets its name
        for file in (images, lines):
            file.flush()
            os.fsync(file.fileno())
        try:
            write_list(target.with_suffix(".lst"), entries)
        except (ValueError, UnicodeEncodeError) as error:
            raise UserError(f"{source}: a name cannot stand in a list ({error}); rename it") from error
    return f"{len(entries):,} images of {len(people.names):,} people, with .idx and .lst beside it"


def _folder_to_insightface(source: Path, target: Path) -> str:
    from fedpriv.formats.face_rec import write_face_rec

    people = _people(source)
    width, height = _stored(people.files[0][0])[1]

    def encoded(files: tuple[Path, ...]) -> Iterable[bytes]:
        for path in files:
            content, size = _stored(path)
            if size != (width, height):
                raise UserError(
                    f"{path}: {size[0]} x {size[1]} pixels, the first image has {width} x {height}; "
                    "InsightFace's layout needs one size"
                )
            yield content

    identities = ((label, encoded(files)) for label, files in enumerate(people.files))
    write_face_rec(target, track(identities, "convert", len(people.names)), height, width)
    images = sum(map(len, people.files))
    return f"train.rec, train.idx and property of {images:,} images, {len(people.names):,} people"


def _folder_to_bin(source: Path, target: Path, pairs: Path) -> str:
    from fedpriv.formats.lfw_pairs import image_path, read_pairs
    from fedpriv.formats.verification_bin import write_verification_bin

    protocol = read_pairs(pairs)
    boundary = source.resolve()
    images: list[bytes] = []
    for pair in track(protocol.pairs, "convert", len(protocol.pairs)):
        for image in (pair.first, pair.second):
            path = source / image_path(image)
            if not path.resolve().is_relative_to(boundary):
                raise UserError(f"{path}: leads out of {boundary}; copy the file into the folder")
            images.append(_stored(path)[0])
    same = [pair.same for pair in protocol.pairs]
    write_verification_bin(target, images, same)
    return f"{len(same):,} pairs, {sum(same):,} of one person"


def _records_to_folder(source: Path, target: Path, skip_damaged: bool) -> str:
    idx, lst = source.with_suffix(".idx"), source.with_suffix(".lst")
    done = extract(
        source,
        target,
        idx=idx if idx.is_file() else None,
        lst=lst if lst.is_file() else None,
        skip_damaged=skip_damaged,
    )
    damaged = f", {done.damaged:,} damaged records left out" if done.damaged else ""
    return f"{done.images:,} images of {done.people:,} people{damaged}"


def _bin_to_records(source: Path, target: Path, allow_numpy: bool) -> str:
    from fedpriv.formats.pair_records import write_pair_records
    from fedpriv.formats.verification_bin import read_verification_bin

    images, same = read_verification_bin(source, allow_numpy=allow_numpy)
    write_pair_records(target, images, same)
    return f"{len(same):,} pairs, {sum(same):,} of one person"


def _records_to_bin(source: Path, target: Path) -> str:
    from fedpriv.formats.pair_records import read_pair_records
    from fedpriv.formats.verification_bin import write_verification_bin

    images, same = read_pair_records(source)
    try:
        write_verification_bin(target, images, same)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    return f"{len(same):,} pairs, {sum(same):,} of one person"
