"""Say what a file, a folder or a data set holds."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_tools.meter import byte_meter
from data_tools.records import Damage, records
from data_tools.sheet import TILES, Tile, shrunk, write_sheet
from data_tools.survey import Survey, people_facts, picture
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import open_input
from fedpriv.formats.identity_folder import list_identities
from fedpriv.formats.image_record import class_label, unpack_image_record
from fedpriv.formats.record_index import read_index
from fedpriv.formats.recordio import RecordReader
from fedpriv.progress import track

if TYPE_CHECKING:
    from fedpriv.data.dataset import ImageDataset

_KINDS = ".rec, .bin or .csv file, InsightFace's folder, a folder of images per person, or data=NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", nargs="+", metavar="WHAT", help=f"{_KINDS} with its settings (root=...)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw some of the images into a PNG")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="read the headers of images, do not decode them")
    parser.add_argument("--allow-numpy", action="store_true", help="read .bin files that hold numpy arrays")


def main(options: argparse.Namespace) -> None:
    """Print the facts, and draw the sheet if one is asked for."""
    facts, tiles = inspect(
        options.what,
        decode=not options.quick,
        allow_numpy=options.allow_numpy,
        pictures=options.sheet is not None,
    )
    if options.sheet is not None:
        write_sheet(options.sheet, f"{' '.join(options.what)}: {facts['images']:,} images", tiles)
    if options.json:
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        for number, line in enumerate(_lines(value)):
            print(f"{name if not number else '':{width}}  {line}")


def inspect(
    what: list[str], decode: bool = True, allow_numpy: bool = False, pictures: bool = False
) -> tuple[dict[str, Any], list[Tile]]:
    """Return facts by name (ready for JSON), and pictures if they are asked for.

    Args:
        what: one path; or ``data=NAME`` and its settings, ``root=...`` and the like.
        decode: decode images in full, to find damaged ones.
        allow_numpy: as for :func:`fedpriv.formats.verification_bin.read_verification_bin`.
        pictures: keep some of the images, reduced to the size of a tile.

    Raises:
        UserError: when it is nothing that can be inspected, or the whole of it cannot be read.
    """
    if what[0].startswith("data="):
        return _dataset(what, pictures)
    if len(what) > 1:
        raise UserError(f"{what[1]}: settings belong to data=NAME; name one path, or data=NAME root=...")
    path = Path(what[0]).expanduser()
    survey = Survey(decode, pictures)
    if path.is_dir():
        if (path / "train.rec").is_file():
            facts = _records(path / "train.rec", survey)
            facts |= _beside(path, allow_numpy)
        else:
            facts = _folder(path, survey)
    elif not path.exists():
        raise UserError(f"{path}: no such file or folder; give a {_KINDS}")
    elif path.suffix == ".rec":
        facts = _records(path, survey)
    elif path.suffix == ".bin":
        facts = _pairs(path, survey, allow_numpy)
    elif path.suffix == ".csv":
        return _dataset(["data=fer2013", f"root={path}", "use_public=train"], pictures)
    else:
        raise UserError(f"{path}: not known by its name; give a {_KINDS}")
    return facts, survey.tiles()


def _records(path: Path, survey: Survey) -> dict[str, Any]:
    idx = path.with_suffix(".idx")
    index = read_index(idx) if idx.is_file() else None
    listed = set(index.values()) if index is not None else set()
    ranges = total = unlisted = 0
    with RecordReader(path) as reader, byte_meter("inspect", reader.size) as meter:
        for found in records(reader):
            meter(found.offset)
            if isinstance(found, Damage):
                survey.damage(str(found.error))
                continue
            total += 1
            unlisted += index is not None and found.offset not in listed
            listed.discard(found.offset)
            try:
                header, image = unpack_image_record(found.payload, path, found.offset)
                if not image and isinstance(header.label, tuple) and len(header.label) == 2:
                    ranges += 1
                    continue
                label = class_label(header, path, found.offset)
            except FormatError as error:
                survey.damage(str(error))
                continue
            survey.add(image, f"{label:08d}", f"{path}: offset {found.offset}")
    facts: dict[str, Any] = {"kind": "RecordIO", "bytes": path.stat().st_size, "records": total}
    facts["ranges of identities"] = ranges
    if index is None:
        facts["index"] = "none beside it"
    else:
        facts["index"] = {
            "keys": len(index),
            "records it omits": unlisted,
            "keys where no record begins": len(listed),
        }
    return facts | survey.facts()


def _beside(folder: Path, allow_numpy: bool) -> dict[str, Any]:
    """Return what else InsightFace puts beside its records."""
    from fedpriv.formats.verification_bin import read_verification_bin

    found: dict[str, Any] = {}
    if (folder / "property").is_file():
        with open_input(folder / "property", 1024) as file:
            found["property (classes, height, width)"] = file.read().decode(errors="replace").strip()
    for path in sorted(folder.glob("*.bin")):
        try:
            _, same = read_verification_bin(path, allow_numpy=allow_numpy)
            found[path.name] = {"pairs": len(same), "of one person": sum(same)}
        except UserError as error:
            found[path.name] = str(error)
    return found


def _folder(path: Path, survey: Survey) -> dict[str, Any]:
    listing = list_identities(path)
    empty = sum(not files for files in listing.files)
    images = [
        (name, file) for name, files in zip(listing.names, listing.files, strict=True) for file in files
    ]
    if not images:
        raise UserError(f"{path}: no folder in it holds an image; give a {_KINDS}")
    for name, file in track(images, "inspect", len(images)):
        survey.add(file, name, str(file))
    return {
        "kind": "folder of images per person",
        **survey.facts(),
        "folders without an image": empty,
        "other entries": listing.ignored,
    }


def _pairs(path: Path, survey: Survey, allow_numpy: bool) -> dict[str, Any]:
    from fedpriv.formats.verification_bin import read_verification_bin

    images, same = read_verification_bin(path, allow_numpy=allow_numpy)
    for number, image in enumerate(images):
        pair = f"pair {number // 2}, {'same' if same[number // 2] else 'different'}"
        survey.add(image, None, pair)
    return {"kind": "verification pairs", "pairs": len(same), "of one person": sum(same), **survey.facts()}


def _dataset(what: list[str], pictures: bool) -> tuple[dict[str, Any], list[Tile]]:
    from fedpriv.config.instantiate import instantiate
    from fedpriv.data.dataset import ImageDataset
    from fedpriv.data.registry import cards

    settings = {}
    for text in what:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text}: needs name=value, as in root=...")
        settings[name.removeprefix("data.")] = value
    name = settings.pop("data")
    if name not in cards():
        raise UserError(f"data={name}: no such data set; choose one of {', '.join(cards())}")
    loaded = instantiate("data", {"_target_": f"fedpriv.data.{name}.load", **settings}, ImageDataset)
    return _dataset_facts(loaded), _dataset_tiles(loaded) if pictures else []


def _dataset_facts(data: "ImageDataset") -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": f"data set {data.name}",
        "images": len(data),
        "channels, height, width": list(data.image_shape),
    }
    facts |= people_facts(np.unique(data.subjects, return_counts=True)[1]) if len(data) else {}
    if data.targets.ndim == 1 and data.class_names:
        counts = np.bincount(data.targets, minlength=len(data.class_names))
        facts["classes"] = dict(zip(data.class_names, counts.tolist(), strict=True))
    elif data.targets.ndim == 2 and len(data):
        facts["targets"] = {
            f"target {column}": {
                "least": round(float(values.min()), 4),
                "mean": round(float(values.mean()), 4),
                "most": round(float(values.max()), 4),
            }
            for column, values in enumerate(data.targets.T)
        }
    if data.held_out is not None:
        facts["published test part"] = int(data.held_out.sum())
    if data.pairs is not None:
        facts["published pairs"] = {"pairs": len(data.pairs), "of one person": int(data.pairs.same.sum())}
    return facts


def _dataset_tiles(data: "ImageDataset") -> list[Tile]:
    tiles = []
    for row in np.unique(np.linspace(0, len(data) - 1, TILES).astype(np.int64)) if len(data) else ():
        caption = data.subject_names[int(data.subjects[row])]
        target = data.targets[row]
        if data.class_names:
            caption = f"{data.class_names[int(target)]}, {caption}"
        elif data.targets.ndim == 2:
            caption = f"{', '.join(f'{value:.2f}' for value in target)}; {caption}"
        tiles.append(Tile(shrunk(picture(np.asarray(data.images[row]))), caption))
    return tiles


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}: {', '.join(_lines(inner))}" for name, inner in value.items()] or ["none"]
    if isinstance(value, list):
        return (
            [", ".join(map(str, value))]
            if all(isinstance(one, int) for one in value)
            else list(map(str, value))
        )
    return [f"{value:,}" if isinstance(value, int | float) else str(value)]
