"""Arrays that are costly to make, kept on disk and shared by every process of a run.

The files may hold biometric data: they are readable by their owner alone.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedpriv.data import origins
from fedpriv.errors import UserError
from fedpriv.types import AnyArray, ByteImages

_MANIFEST = "manifest.json"
_MANIFEST_LIMIT = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def cache_folder() -> Path:
    """Return ``$FEDPRIV_CACHE``, else ``~/.cache/fedpriv``."""
    chosen = os.environ.get("FEDPRIV_CACHE", "")
    return Path(chosen) if chosen else Path.home() / ".cache" / "fedpriv"


def cached_arrays(
    key: str, version: int, parameters: dict[str, Any], build: Callable[[], dict[str, AnyArray]]
) -> dict[str, AnyArray]:
    """Return the arrays of ``build()``, built once and read as read-only memory maps after that.

    The folder is ``<key>-<head of SHA-256(version, parameters)>`` under :func:`cache_folder`. Processes
    that start together build once: an ``flock`` lets one build while the others wait.

    Args:
        key: what the arrays are, in letters, digits and underscores.
        version: raise it when ``build`` changes what it makes.
        parameters: everything that the arrays depend on; must be JSON.
        build: makes the arrays: name to array. Called at most once, and only on a miss.

    Guarantee:
        * A folder under its final name was written and synced in full before it got that name.
        * Directories that the cache makes have mode 0700, its files 0600.
        * Nothing is unpickled.

    Edge cases:
        * a truncated, missing or altered-in-shape file, or a damaged manifest: built anew;
        * ``build`` raises: the exception passes through, and nothing is left behind;
        * two processes at once: one builds, both return the same arrays.

    Returns:
        Name to read-only array.

    Raises:
        ValueError: ``key`` or an array's name is not a plain name, or an array holds objects.
        UserError: the cache folder cannot be written to.
    """

    def write(folder: Path) -> None:
        for name, array in build().items():
            _check_name(name)
            if array.dtype.hasobject:
                raise ValueError(f"cache array {name}: objects cannot be kept")
            with _private(folder / f"{name}.npy") as file:
                np.save(file, array, allow_pickle=False)

    return _cached(key, version, parameters, write)


def cached_images(
    key: str,
    version: int,
    parameters: dict[str, Any],
    shape: tuple[int, int, int, int],
    fill: Callable[[ByteImages, NDArray[np.uint64]], None],
) -> tuple[ByteImages, NDArray[np.uint64]]:
    """Return images and their origins, which ``fill`` writes once, straight into the files that keep them.

    Like :func:`cached_arrays`, for arrays that need not fit into memory.

    Args:
        key: as for :func:`cached_arrays`.
        version: as for :func:`cached_arrays`.
        parameters: as for :func:`cached_arrays`.
        shape: (N, C, H, W); N may be 0.
        fill: gets the writable (N, C, H, W) uint8 images and (N,) uint64 origins
            (:mod:`fedpriv.data.origins`), zeros at first, and writes all of them.

    Returns:
        (N, C, H, W) uint8 and (N,) uint64, read-only memory maps.

    Raises:
        ValueError: ``key`` is not a plain name.
        UserError: the cache folder cannot be written to, or has not enough space.
    """

    def write(folder: Path) -> None:
        with (
            _mapped(folder / "images.npy", np.uint8, shape) as images,
            _mapped(folder / "origins.npy", np.uint64, shape[:1]) as found,
        ):
            fill(images, found)

    facts = {**parameters, "shape": list(shape), "origins": origins.VERSION}
    arrays = _cached(key, version, facts, write)
    return arrays["images"], arrays["origins"]


@contextlib.contextmanager
def _mapped(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[AnyArray]:
    """Give an array of zeros that lies in a ``.npy`` file."""
    kind = np.dtype(dtype)
    with _private(path) as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        offset = file.tell()
        # space is reserved now: writing to a map of a full disk would kill the process
        os.posix_fallocate(file.fileno(), 0, offset + math.prod(shape) * kind.itemsize)
    if not math.prod(shape):
        yield np.zeros(shape, kind)
        return
    array = np.memmap(path, dtype=kind, mode="r+", offset=offset, shape=shape)
    yield array
    array.flush()


def _cached(
    key: str, version: int, parameters: dict[str, Any], write: Callable[[Path], None]
) -> dict[str, AnyArray]:
    _check_name(key)
    facts = json.dumps({"version": version, "parameters": parameters}, sort_keys=True)
    name = f"{key}-{hashlib.sha256(facts.encode()).hexdigest()[:24]}"
    root = cache_folder()
    with contextlib.ExitStack() as stack:
        with _blaming(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(_locked(root / f"{name}.lock"))
            found = _read(root / name)
        if found is not None:
            return found
        _write(root, root / name, write)
        with _blaming(root):
            found = _read(root / name)
    if found is None:
        raise UserError(f"FEDPRIV_CACHE={root}: what was written cannot be read back; name another folder")
    return found


@contextlib.contextmanager
def _blaming(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"FEDPRIV_CACHE={root}: {error.strerror or error}; name a folder that you may write to"
        ) from error


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"cache name {name!r}: use 1 to 64 letters, digits and underscores")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(folder: Path) -> dict[str, AnyArray] | None:
    """Map the arrays that the manifest names; None unless sizes, shapes and dtypes all agree."""
    manifest = folder / _MANIFEST
    try:
        if manifest.stat().st_size > _MANIFEST_LIMIT:
            return None
        entries = json.loads(manifest.read_text())
        arrays: dict[str, AnyArray] = {}
        for name, entry in entries.items():
            _check_name(name)
            path = folder / f"{name}.npy"
            if path.stat().st_size != entry["bytes"]:
                return None
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if list(array.shape) != entry["shape"] or array.dtype.str != entry["dtype"]:
                return None
            arrays[name] = array
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return arrays


def _write(root: Path, folder: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` put its ``.npy`` files into a folder that gets its name when all is on the disk."""
    with _blaming(root):
        # mkdtemp makes the folder with mode 0700.
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(temporary)
        with _blaming(root):
            _finish(temporary, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"FEDPRIV_CACHE={root}: {error.strerror}; name a folder with more space"
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _finish(temporary: Path, folder: Path) -> None:
    entries = {}
    for path in sorted(temporary.iterdir()):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        entries[path.stem] = {
            "bytes": path.stat().st_size,
            "shape": list(array.shape),
            "dtype": array.dtype.str,
        }
    with _private(temporary / _MANIFEST) as file:
        file.write(json.dumps(entries).encode())
    _sync_folder(temporary)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    _sync_folder(folder.parent)


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Any]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
