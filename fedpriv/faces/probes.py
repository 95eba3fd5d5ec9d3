"""Probes in clear, for callers who let the server see theirs."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.he.strict_json import parse_object


def plain_probe(body: bytes, dimension: int) -> NDArray[np.float64]:
    """Return a probe in clear, of unit length.

    Raises:
        FormatError: when it is none.
    """
    numbers = parse_object("probe", body, "probe").get("probe")
    if (
        not isinstance(numbers, list)
        or len(numbers) != dimension
        or not all(type(each) in (int, float) for each in numbers)
    ):
        raise FormatError(
            "probe", None, f"need {dimension} numbers; use the model that people were enrolled by"
        )
    # JSON has integers beyond every float, and floats whose squares are
    if not all(abs(each) < 2 for each in numbers):
        raise FormatError("probe", None, "has a number that is not -1 to 1; embeddings have length 1")
    probe = np.array(numbers, np.float64)
    length = float(np.linalg.norm(probe))
    if not abs(length - 1.0) < 1e-3:
        raise FormatError("probe", None, f"of length {length:g}; embeddings have length 1")
    return probe
