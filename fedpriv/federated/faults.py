"""Planted faults: what a broken client does, for tests of robustness.

``federation.faults=[2:raise,3:nan,4:shape,5:silent]`` makes client 2 raise, client 3
send not-a-number, client 4 send a vector one element short, and client 5 never answer.
"""

import time

import numpy as np

from fedpriv.types import FloatVector

KINDS = ("raise", "nan", "shape", "silent")


def before_training(kind: str | None) -> None:
    """Raise, or fall silent, as planted.

    Raises:
        RuntimeError: for ``raise``; its text stands for what must not reach the server.
    """
    if kind == "raise":
        raise RuntimeError("planted fault; the path /home/alice/eyes must not leave the client")
    if kind == "silent":
        while True:
            time.sleep(3600)


def spoil(kind: str | None, update: FloatVector) -> FloatVector:
    """Return the update, spoiled as planted."""
    if kind == "nan":
        update = update.copy()
        update[0] = np.nan
    if kind == "shape":
        update = update[:-1]
    return update
