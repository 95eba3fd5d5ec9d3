"""Bounds in few digits that stay bounds: what is spent is rounded up, what is proven down."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def at_most(bound: float, digits: int = 3) -> str:
    """Write an upper bound (an epsilon, a delta), rounded up to significant digits: 10.7398 as 10.8.

    Args:
        bound: infinity is ``inf``.
        digits: significant ones; trailing zeros are left out.
    """
    return _rounded(bound, digits, ROUND_CEILING)


def at_least(bound: float, digits: int = 3) -> str:
    """Write a lower bound (an epsilon that is proven), rounded down; see :func:`at_most`."""
    return _rounded(bound, digits, ROUND_FLOOR)


def _rounded(bound: float, digits: int, how: str) -> str:
    value = Decimal(repr(float(bound)))  # the shortest that reads as this float: 0.1 is not a little more
    near = Context(prec=digits, rounding=how).plus(value) if value.is_finite() else value
    return f"{float(near):.{digits}g}"
