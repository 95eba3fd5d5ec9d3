"""How many cores this process may use: a leaf."""

import os

SHARE = "FEDPRIV_CORES"
"""Environment variable: this process's share of the cores, where others are given the rest."""


def available_cores() -> int:
    """Return how many cores are this process's: those that the system gives it, at most its share of them."""
    given, share = len(os.sched_getaffinity(0)), os.environ.get(SHARE, "")
    return max(1, min(given, int(share))) if share.isascii() and share.isdecimal() else given
