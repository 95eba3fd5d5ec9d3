"""What a key holder does: open the sum of one round, once."""

from collections.abc import Callable

import numpy as np

from fedpriv.federated.messages import MessageError, ReleaseRequest
from fedpriv.he.codec import SumError

OpenSum = Callable[[bytes, int], np.ndarray]
"""Decrypts the sum of ``count`` updates; refuses too few."""


def release(open_sum: OpenSum, request: ReleaseRequest, released: set[int]) -> np.ndarray:
    """Open the sum of a round's updates.

    Guarantee:
        - At most one sum is opened per round and run: two sums that differ in one client
          would reveal that client's update.
        - The sum of fewer than ``secure.min_clients`` updates is not opened.

    Edge cases:
        - ``count`` is the server's word; only signed client lists can check it.
        - A simulation that is resumed after a crash trains the lost round again and has its sum
          opened again: all its parties lived in the process that ended, the sum with them. A key
          holder of its own keeps ``released`` and refuses.

    Args:
        open_sum: decrypts; holds the key.
        request: the sum and what the server says of it.
        released: rounds already answered; the round is added BEFORE the sum is opened.

    Returns:
        The sum, float64 of shape (P,).

    Raises:
        MessageError: ``already_released``, or the decoder's cause such as ``too_few_clients``.
    """
    if request.round in released:
        raise MessageError("already_released")
    released.add(request.round)
    try:
        return open_sum(request.sum_payload, request.count)
    except SumError as error:
        raise MessageError(error.cause) from None
