"""Which of several options no other beats in both respects."""

import math
from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Say of each point whether it is on the Pareto front of two costs, both the better the lower.

    A point is on it unless another is at most as high in both and lower in one. Equal points are on it or
    off it together; one that has NaN is off it and beats none.
    """
    order = sorted(
        (place for place, point in enumerate(points) if not any(map(math.isnan, point))),
        key=lambda place: points[place],
    )
    on = [False] * len(points)
    lowest, first = math.inf, math.inf
    for place in order:
        x, y = points[place]
        if y < lowest or (y == lowest and (x == first or not any(on))):
            on[place] = True
            lowest, first = y, x
    return on
