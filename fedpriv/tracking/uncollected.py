"""Imports and one-off work without the search for garbage."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave cyclic garbage alone until the block ends, and what it imports for good.

    For work of a second that makes many objects which stay, as the import of MLflow and of ``torch.export``
    does: looking through them again and again takes a quarter of its time and finds nothing. A block that
    imports leaves all that is there to the end of the process (:func:`gc.freeze`), or the first search
    after it would look through the same objects once more; one that does not import, as in all runs of a
    process but the first, freezes nothing, so that what runs leave does not add up.
    """
    if not gc.isenabled():
        yield
        return
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
