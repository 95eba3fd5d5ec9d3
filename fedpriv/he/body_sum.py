"""The server's side of an encrypted round: a sum of c0, to which it may add noise once."""

from fedpriv.he.codec import Aggregator, Buffer
from fedpriv.he.encoding import Encoding
from fedpriv.he.polynomial_sum import PolynomialSum
from fedpriv.he.sealio import SealBuffer
from fedpriv.privacy.noise import RandomSource


class BodyAggregator(Aggregator):
    """Adds bodies that are packed c0, without a key.

    Guarantee:
        - Where the encoding has server noise, no sum is shown to a key holder or opened without it, and it is
          drawn once.
    """

    def __init__(self, encoding: Encoding, length: int, source: RandomSource) -> None:
        """Start from zero; ``source`` is where server noise comes from."""
        super().__init__(length, encoding.max_clients)
        self._encoding, self._source = encoding, source
        self._sum = PolynomialSum(encoding.wire(), encoding.plaintexts(length))
        self._finished = False

    def finished(self) -> PolynomialSum:
        """Return the sum; nothing can be added any more."""
        if not self._finished:
            self._finished = True
            with SealBuffer() as buffer:
                self._encoding.add_noise(buffer, self._sum.total, self.length, self._source)
        return self._sum

    def _add(self, body: Buffer) -> None:
        if self._finished:
            raise ValueError("sum: is finished, nothing can be added")
        self._sum.add(body)
