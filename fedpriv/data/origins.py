"""Which photograph an image was made from: a digest of the file, or record, that it was decoded from.

Two runs on one photograph add up in the privacy ledger, at whatever size, crop and colour it was loaded.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_arrays
from fedpriv.data.decoded import fingerprint
from fedpriv.formats.files import open_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES
from fedpriv.progress import track

_DOMAIN = b"fedpriv origin 1\0"


def of_contents(contents: Iterable[bytes | memoryview], count: int) -> NDArray[np.uint64]:
    """Return the first 8 bytes, little-endian, of SHA-256 over a domain and each of ``count`` contents."""
    found = np.empty(count, np.uint64)
    for row, content in enumerate(track(contents, "identify images", count)):
        digest = hashlib.sha256(_DOMAIN)
        digest.update(content)
        found[row] = _head(digest.digest())
    return found


def of_files(name: str, paths: Sequence[Path]) -> NDArray[np.uint64]:
    """Return the digest of each file's bytes as :func:`of_contents` makes it, read once and then cached.

    The same file under another name, or in a record, has the same digest.

    Args:
        name: of the data set; letters, digits and underscores.
        paths: one file for each image, checked by whoever decodes them.

    Raises:
        UserError: when a file is missing or too large.
    """

    def build() -> dict[str, NDArray[np.uint64]]:
        found = np.empty(len(paths), np.uint64)
        for row, path in enumerate(track(paths, f"identify {name}", len(paths))):
            with open_input(path, MAX_FILE_BYTES) as file:
                digest = hashlib.file_digest(file, lambda: hashlib.sha256(_DOMAIN))
            found[row] = _head(digest.digest())
        return {"origins": found}

    return cached_arrays(f"origins_{name}", 1, {"sources": fingerprint(paths)}, build)["origins"]


def _head(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")
