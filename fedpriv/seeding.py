"""One way to derive independent random generators from a run's seed.

Reproducible randomness only (initial weights, batches, cohorts, synthetic pictures). What
protects somebody (noise, keys, shares) comes from the operating system, never from here.
"""

import hashlib
import operator

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a 128-bit seed for one purpose: the head of SHA-256(seed, purpose...).

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, e.g. ``("batches", client, round)``. Different
            purposes give independent streams; the same purpose gives the same stream.

            NumPy integers count as the integers they are.

    Returns:
        An integer in [0, 2**128).

    Raises:
        TypeError: for a purpose that is neither text nor a whole number.
    """
    text = "\x1f".join([str(int(seed)), *map(_spell, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _spell(part: str | int) -> str:
    if not isinstance(part, str):
        return f"int:{operator.index(part)}"
    # escaped, so that no text can look like two parts
    return "str:" + part.replace("\x1e", "\x1e0").replace("\x1f", "\x1e1")


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a PCG64 generator seeded by :func:`derive`."""
    return np.random.Generator(np.random.PCG64(derive(seed, *purpose)))
