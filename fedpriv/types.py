"""Shared aliases. A leaf: imports nothing of fedpriv."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

AnyArray: TypeAlias = NDArray[Any]
ByteImages: TypeAlias = NDArray[np.uint8]
"""Images as bytes, shape (N, C, H, W)."""
FloatVector: TypeAlias = NDArray[np.float32]
"""All parameters of a model, or a change of them, as one vector of shape (P,)."""
Metrics: TypeAlias = dict[str, float]
"""Metric name to value; the unit stands in the name, e.g. ``angular_error_deg``."""
