"""InsightFace's verification sets (``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin``): pickled pairs of images.

The file is a pickle of (images, issame): 2 P encoded images, pair k being images 2k and 2k + 1, and P
booleans. The published files were written by Python 2. Pickles are programs; here they are never run (see
:mod:`fedpriv.formats.pickle_subset`).

Source: insightface, ``recognition/_datasets_/build_eval_pack.py`` and ``arcface_torch/eval/verification.py``.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, read_input
from fedpriv.formats.pickle_subset import Arguments, Names, Refused, load_plain
from fedpriv.formats.pickled_arrays import NUMPY_NAMES, PickledArray

MAX_BYTES = 2**29
MAX_PAIRS = 20_000
_INSTRUCTIONS_PER_PAIR = 64
_INSTRUCTIONS = 1000
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def read_verification_bin(
    path: Path | str, allow_numpy: bool = False, max_bytes: int = MAX_BYTES, max_pairs: int = MAX_PAIRS
) -> tuple[list[bytes], list[bool]]:
    """Read images and labels. No global of the pickle is looked up; no code of it runs.

    Pickles of protocols 2 to 5 are read, of Python 2 and 3.

    Args:
        path: the file.
        allow_numpy: also read images that are uint8 arrays of shape (n,), (n, 1) or (1, n), and labels that
            are numpy bools; they are rebuilt without numpy's functions.
        max_bytes: the most bytes that the file may have. Two to three times as much memory is used.
        max_pairs: the most pairs.

    Returns:
        2 P images, each beginning like a JPEG or PNG file (they are not decoded), and P booleans.

    Raises:
        FormatError: the file is missing or too large, asks for anything but plain data, or holds something
            else than 2 P images and P booleans, 1 <= P <= ``max_pairs``.
    """
    path = Path(path)
    data = read_input(path, max_bytes)
    names: Names = {"_codecs.encode": _encode, **(NUMPY_NAMES if allow_numpy else {})}
    try:
        found = load_plain(data, path, names, _INSTRUCTIONS_PER_PAIR * max_pairs + _INSTRUCTIONS)
    except FormatError as error:
        if "'numpy." in error.reason and not allow_numpy:
            reason = f"{error.reason}; set allow_numpy to read arrays of bytes"
            raise FormatError(path, error.offset, reason) from error
        raise
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise FormatError(path, None, "is no pickle of (images, issame)")
    images, same = _sequence(path, "images", found[0]), _flags(path, found[1], max_pairs)
    if not 1 <= len(same) <= max_pairs or len(images) != 2 * len(same):
        reason = f"{len(images)} images for {len(same)} pairs: need 2 for each of 1 to {max_pairs}"
        raise FormatError(path, None, reason)
    for number, flag in enumerate(same):
        if not isinstance(flag, bool):
            raise FormatError(path, None, f"issame[{number}] is a {type(flag).__name__}, need a bool")
    return [_image(path, number, image) for number, image in enumerate(images)], [bool(flag) for flag in same]


def write_verification_bin(
    path: Path | str, images: Sequence[bytes], same: Sequence[bool], protocol: int = 4
) -> None:
    """Write the pickle that InsightFace's tools read; it appears when it is complete.

    Args:
        path: the file.
        images: 2 P JPEG or PNG files.
        same: P booleans.
        protocol: of the pickle, 2 to 5; Python 2 reads 2 alone.

    Raises:
        UserError: the file cannot be written.
        ValueError: ``images`` and ``same`` are not that, or the protocol is another.
    """
    if not 2 <= protocol <= 5:
        raise ValueError(f"protocol {protocol}: need 2 to 5")
    if not same or len(images) != 2 * len(same):
        raise ValueError(f"{len(images)} images for {len(same)} pairs: need 2 for each, and a pair at least")
    for number, image in enumerate(images):
        if not image.startswith(_SIGNATURES):
            raise ValueError(f"image {number} is neither JPEG nor PNG")
    plain = [bytes(image) for image in images], [bool(flag) for flag in same]
    with atomic_output(Path(path)) as file:
        pickle.dump(plain, file, protocol=protocol)


def _encode(arguments: Arguments) -> bytes:
    """Stand for ``_codecs.encode(text, "latin1")``, how protocol 2 of Python 3 writes bytes."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
    raise Refused("the pickle calls _codecs.encode for something else than latin1 text")


def _sequence(path: Path, what: str, value: object) -> Sequence[object]:
    if not isinstance(value, tuple | list):
        raise FormatError(path, None, f"{what} is a {type(value).__name__}, need a list")
    return value


def _flags(path: Path, value: object, max_pairs: int) -> Sequence[object]:
    if not isinstance(value, PickledArray) or value.kind != "b1":
        return _sequence(path, "issame", value)
    if len(value.data) > max_pairs or value.data.strip(b"\0\1"):
        reason = f"issame is an array of {len(value.data)}: need at most {max_pairs} bools"
        raise FormatError(path, None, reason)
    return [item == 1 for item in value.data]


def _image(path: Path, number: int, value: object) -> bytes:
    image = value.data if isinstance(value, PickledArray) and value.kind == "u1" else value
    if not isinstance(image, bytes):
        raise FormatError(path, None, f"image {number} is a {type(value).__name__}, need bytes")
    if not image.startswith(_SIGNATURES):
        raise FormatError(path, None, f"image {number} is neither JPEG nor PNG")
    return image
