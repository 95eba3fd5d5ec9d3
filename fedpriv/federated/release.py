"""How the server comes by the sum of a round: by itself, or from the key holder."""

from collections.abc import Callable

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.messages import MessageError, ReleaseRequest
from fedpriv.federated.roster import Roster

SumOpener = Callable[[Grid, int, bytes, int], np.ndarray]
"""(grid, round, sum payload, count) to the sum, float64 of shape (P,)."""


def open_by_keyholder(run_id: str, roster: Roster, size: int, timeout_s: float) -> SumOpener:
    """Return an opener that asks the run's key holder; the server has no key of its own."""

    def opener(grid: Grid, server_round: int, payload: bytes, count: int) -> np.ndarray:
        request = ReleaseRequest(run_id, server_round, count, payload).to_content()
        message = Message(request, roster.keyholders[0], messages.RELEASE)
        for reply in grid.send_and_receive([message], timeout=timeout_s):
            try:
                if reply.has_error():
                    raise MessageError("exception")
                return messages.unpack_sum(reply.content, size)
            except MessageError as error:
                raise UserError(
                    f"round {server_round}: the key holder refused the sum ({error.cause}); see its log"
                ) from None
        raise UserError(f"round {server_round}: the key holder did not answer within {timeout_s:g} s")

    return opener
