"""One way to derive independent random generators from a run's seed.

Reproducible randomness only (initial weights, batches, cohorts, synthetic pictures). What
protects somebody (noise, keys, shares) comes from the operating system, never from here.
"""

import hashlib

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a 128-bit seed for one purpose: the head of SHA-256(seed, purpose...).

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, e.g. ``("batches", client, round)``. Different
            purposes give independent streams; the same purpose gives the same stream.

    Returns:
        An integer in [0, 2**128).
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a PCG64 generator seeded by :func:`derive`."""
    return np.random.Generator(np.random.PCG64(derive(seed, *purpose)))
