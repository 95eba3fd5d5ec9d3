"""Rows and columns that are painted: what cannot change a picture is not computed.

Leaving it out changes no bit: every value depends on its own pixel alone.
"""

import numpy as np

from fedpriv.types import AnyArray


def span(chosen: AnyArray) -> slice:
    """Return the slice from the first True of ``chosen`` (n,) to the last, an empty one without any."""
    found = np.flatnonzero(chosen)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
