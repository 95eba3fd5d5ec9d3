"""What the readers of gaze data share: the root, limits, and labels read once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_arrays
from fedpriv.data.card import DatasetCard
from fedpriv.data.decoded import fingerprint
from fedpriv.errors import UserError
from fedpriv.types import AnyArray


def data_folder(root: str, card: DatasetCard, *needed: Path | str) -> Path:
    """Return ``root`` as a path.

    Raises:
        UserError: it is no folder, or lacks one of ``needed``.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.root={root}: no such folder; {card.hint}")
    for name in needed:
        if not (folder / name).exists():
            raise UserError(f"data.root={root}: has no '{name}'; {card.hint}")
    return folder


def check_least(**fields: tuple[int | None, int]) -> None:
    """Refuse numbers below what they must be at least; None passes.

    Raises:
        UserError: naming the field.
    """
    for name, (value, least) in fields.items():
        if value is not None and value < least:
            raise UserError(f"data.{name}={value}: must be at least {least}")


def spread(count: int, most: int | None) -> NDArray[np.int64]:
    """Return at most ``most`` of the indices below ``count``, evenly spread: floor(i count / most)."""
    kept = count if most is None else min(count, most)
    return np.arange(kept, dtype=np.int64) * count // max(kept, 1)


def cached_labels(
    name: str,
    version: int,
    parameters: dict[str, Any],
    sources: Sequence[Path],
    build: Callable[[], dict[str, AnyArray]],
) -> dict[str, AnyArray]:
    """Return ``build()``, kept in the cache until one of the files ``sources`` changes."""
    facts = {"parameters": parameters, "sources": fingerprint(sources)}
    return cached_arrays(f"labels_{name}", version, facts, build)
