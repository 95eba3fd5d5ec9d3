"""The steps in which a committee makes its key, by name: a leaf, for whoever only carries the messages."""

from typing import Literal

Step = Literal["commit", "reveal", "endorse"]
STEPS: tuple[Step, ...] = ("commit", "reveal", "endorse")
"""In this order, see :mod:`fedpriv.he.ceremony`."""
