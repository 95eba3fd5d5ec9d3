"""From sums of products to questions: threshold, blinding, rescaling, flooding."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.matching.blinding import (
    FRACTION_BITS,
    MASK,
    OPENED_UNIT,
    RAW_FACTOR,
    UNASKED,
    directions,
    factors,
    flood_log2,
)
from fedpriv.he.matching.lengths import Claims, claimed
from fedpriv.he.matching.people import SLOT_FRACTION
from fedpriv.he.matching.places import Place
from fedpriv.he.matching.question import Kind, Question
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys

Names = Mapping[tuple[int, int], str]


class Asker:
    """Makes questions of scores that nobody has seen."""

    def __init__(self, keys: PublicKeys) -> None:
        """Prepare."""
        self._keys, self._set, self._evaluation = keys, keys.set, Evaluation(keys)

    def ask(
        self,
        kind: Kind,
        sums: Sequence[Any],
        asked: Sequence[Place],
        empty: Sequence[NDArray[np.bool_]],
        threshold: float,
        claims: Claims | None,
        names: Names,
    ) -> Question:
        """Make a question.

        Args:
            kind: of the question.
            sums: from :meth:`~fedpriv.he.matching.products.Products.sum`, one for each block.
            asked: the slots that count, one place for each block.
            empty: for each block, the slots that hold nobody and nothing, (slots,).
            threshold: that a score has to be above; of no meaning for ``scores``.
            claims: of an encrypted probe.
            names: who is where.
        """
        relinearised = [self._two(each) for each in sums]
        if kind == "scores":
            answers = [self._evaluation.rescale(self._times(each, RAW_FACTOR)) for each in relinearised]
        elif kind == "identify":
            factor = float(factors(1)[0])
            pairs = zip(relinearised, empty, strict=True)
            answers = [self._hidden(self._ordered(each, factor, threshold, nobody)) for each, nobody in pairs]
        else:
            triples = zip(relinearised, asked, strict=True)
            answers = [self._hidden(self._own(each, place, threshold)) for each, place in triples]
        if claims is not None:
            answers += claimed(self._evaluation, claims)
        return Question(self._keys, kind, asked, answers, names)

    def _two(self, ciphertext: Any) -> Any:
        three = self._evaluation.shape(ciphertext).polynomials == 3
        return self._evaluation.relinearise(ciphertext) if three else ciphertext

    def _minus(self, ciphertext: Any, threshold: float) -> Any:
        if threshold == 0:
            return ciphertext
        plain = self._evaluation.constant(threshold * SLOT_FRACTION**2, like=ciphertext)
        return self._evaluation.sub_plain(ciphertext, plain)

    def _times(self, ciphertext: Any, factor: float) -> Any:
        """Multiply by a number; the scale stays, hence the modulus takes its bits."""
        plain = self._evaluation.constant(factor * 2.0**FRACTION_BITS, like=ciphertext, scale=1.0)
        return self._evaluation.multiply_plain(ciphertext, plain)

    def _ordered(self, total: Any, factor: float, threshold: float, nobody: NDArray[np.bool_]) -> Any:
        """Multiply all by one factor; what an empty slot then holds, -r t, is replaced: it would tell r."""
        product = self._times(self._minus(total, threshold), factor)
        if not nobody.any():
            return product
        filled = np.where(nobody, factor * threshold - factors(len(nobody)), 0.0)
        return self._evaluation.add_plain(
            product, self._evaluation.floats(filled * OPENED_UNIT, like=product)
        )

    def _own(self, total: Any, place: Place, threshold: float) -> Any:
        """Multiply every slot by a factor of its own, and mask those not asked for."""
        drawn = factors(self._set.slots)
        unasked = np.ones(self._set.slots, bool)
        unasked[list(place.slots)] = False
        count = int(unasked.sum())
        # not 0: their share of the plaintext's coefficients is what makes the rounding of r unknown
        drawn[unasked] = UNASKED * directions(count)
        plain = self._evaluation.floats(drawn * 2.0**FRACTION_BITS, like=total, scale=1.0)
        product = self._evaluation.multiply_plain(self._minus(total, threshold), plain)
        if not count:
            return product
        mask = np.zeros(self._set.slots)
        mask[unasked] = MASK * directions(count)
        return self._evaluation.add_plain(product, self._evaluation.floats(mask * OPENED_UNIT, like=product))

    def _hidden(self, ciphertext: Any) -> Any:
        """Rescale, and flood what is left of the noise."""
        return self._evaluation.flood(self._evaluation.rescale(ciphertext), flood_log2(self._set))
