"""HDF5 files whose stated sizes and links are checked before anything is read."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, check_input

MAX_FILE_BYTES = 2**40
MAX_CHUNK_BYTES = 256 * 2**20


@contextmanager
def open_hdf5(path: Path, root: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, without a lock: published data do not change.

    Raises:
        FormatError: it is missing, no HDF5 file, leaves ``root`` by a link, or is damaged.
    """
    check_input(path, MAX_FILE_BYTES, root)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except FormatError:
        raise
    # h5py meets damaged files with OSError, RuntimeError, KeyError, ValueError and others
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FormatError(path, None, f"is no HDF5 file or is damaged ({error})") from error


def plain_dataset(file: h5py.File, name: str, shape: tuple[int | None, ...], kinds: str) -> Any:
    """Return the data set ``name`` once its shape, type and storage are what is asked for.

    Args:
        file: an open file.
        name: path inside it; every step must be a hard link, so that nothing outside is read.
        shape: sizes asked for; None takes any.
        kinds: NumPy kinds allowed, e.g. ``uf``; text, references and objects never are.

    Raises:
        FormatError: naming file and data set.
    """
    node: Any = file
    for step in name.split("/"):
        link = node.get(step, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise FormatError(file.filename, None, f"{name}: is missing")
        if type(link) is not h5py.HardLink:
            raise FormatError(
                file.filename, None, f"{name}: is a link to elsewhere; copy the data into the file"
            )
        node = node[step]
    if not isinstance(node, h5py.Dataset):
        raise FormatError(file.filename, None, f"{name}: is no data set")
    if node.is_virtual or node.external:
        raise FormatError(file.filename, None, f"{name}: keeps its data in other files")
    if node.dtype.kind not in kinds or node.dtype.names is not None:
        raise FormatError(
            file.filename, None, f"{name}: type {node.dtype}, need one of kind {', '.join(kinds)}"
        )
    if len(node.shape) != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, node.shape, strict=True)
    ):
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        raise FormatError(file.filename, None, f"{name}: shape {node.shape}, need {wanted}")
    chunk = node.dtype.itemsize
    for size in node.chunks or ():
        chunk *= size
    if chunk > MAX_CHUNK_BYTES:
        raise FormatError(
            file.filename, None, f"{name}: chunks of {chunk} bytes, the limit is {MAX_CHUNK_BYTES}"
        )
    # a row that is nowhere in the file would read as zeros
    if node.id.get_storage_size() < node.shape[0]:
        raise FormatError(
            file.filename, None, f"{name}: states {node.shape[0]} rows that the file does not hold"
        )
    return node


def read_rows(dataset: h5py.Dataset, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the rows (ascending, at least one) of a data set; neighbours are read in one piece."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return np.asarray(dataset[first : last + 1])
    return np.asarray(dataset[rows])


@contextmanager
def saved_hdf5(path: Path, userblock_size: int = 0) -> Iterator[h5py.File]:
    """Give an empty HDF5 file in memory that is written to ``path`` in one piece when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=userblock_size) as file:
        yield file
    with atomic_output(path) as output:
        output.write(memory.getbuffer())
