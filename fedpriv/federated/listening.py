"""The server's ear in an audited run: what it really sees of the client that carries the canaries."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.codec import Buffer
from fedpriv.privacy.canaries import CanaryClients
from fedpriv.privacy.listening import Heard


class Listener:
    """Listens to the mean of each round that the carrier is in; in the clear to the carrier's own update.

    It knows where the canaries point and not which of them are in.

    Edge cases:
        - A round without the carrier, or whose sum is not opened, is none that was heard; in the clear an
          update was seen whatever becomes of its round.

    Attributes:
        carrier: number of the client that carries the canaries.
        clear: whether updates travel in clear.
        heard: so far.
    """

    def __init__(self, carrier: int, directions: CanaryClients, clear: bool) -> None:
        """Start having heard nothing."""
        self.carrier, self.clear = carrier, clear
        self.heard = Heard(np.zeros(directions.count))
        self._directions = directions
        self._in_round = 0

    def go_on(self, heard: Heard) -> None:
        """Go on from what was heard before a run was interrupted.

        Raises:
            UserError: when that were other canaries.
        """
        if heard.sums.shape != self.heard.sums.shape:
            raise UserError("checkpoint: heard other canaries; it is damaged, run the experiment again")
        self.heard = heard

    def update(self, number: int, client: int, body: Buffer, epsilon: float) -> None:
        """Take note of an update that was added to the sum of round ``number``.

        Args:
            number: the round, from 1.
            client: whose it is.
            body: what the server has of it.
            epsilon: that the client says it has spent; 0 where it says nothing.
        """
        if client != self.carrier:
            return
        if self.clear:
            self.heard = self.heard.hear(self._directions.along(np.frombuffer(body, "<f4")))
        self._in_round = number
        self.heard = self.heard.told(epsilon)

    def released(self, number: int, mean: NDArray[np.float64]) -> None:
        """Listen to the mean update of round ``number``, (P,)."""
        if self._in_round == number and not self.clear:
            self.heard = self.heard.hear(self._directions.along(mean))
