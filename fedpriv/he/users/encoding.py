"""From values to plaintexts, checked: what encryption and the server's plain operands share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.users.frames import level_id
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape


class SlotEncoder:
    """Encodes vectors of at most as many values as there are slots; the rest is zero."""

    def __init__(self, parameters: ParameterSet) -> None:
        """Prepare SEAL's encoder."""
        self._set = parameters
        kind = sealapi.CKKSEncoder if parameters.ckks else sealapi.BatchEncoder
        self._encoder = kind(seal_context(parameters.seal))

    def integers(self, values: NDArray[np.int64]) -> Any:
        """Return the BFV plaintext of (n,) integers, each at most (t - 1) / 2 in magnitude.

        Raises:
            ValueError: for more values than slots, one that is too large, or another dtype.
        """
        self._require(values, np.dtype(np.int64), ckks=False)
        half = (self._set.seal.plain_modulus - 1) // 2
        if len(values) and not (-half <= values.min() and values.max() <= half):
            raise ValueError(f"values: beyond {half} in magnitude")
        plain = np.int64(self._set.seal.plain_modulus)
        return self._residues(np.where(values < 0, values + plain, values).astype(np.uint64))

    def unsigned(self, values: NDArray[np.uint64]) -> Any:
        """Return the BFV plaintext of (n,) residues below t.

        Raises:
            ValueError: for more values than slots, one that is not below t, or another dtype.
        """
        self._require(values, np.dtype(np.uint64), ckks=False)
        if len(values) and values.max() >= self._set.seal.plain_modulus:
            raise ValueError(f"values: not below {self._set.seal.plain_modulus}")
        return self._residues(values)

    def floats(self, values: NDArray[np.float64], shape: Shape) -> Any:
        """Return the CKKS plaintext of (n,) finite floats, at the level and scale of ``shape``.

        Raises:
            ValueError: for more values than slots, NaN or infinity, another dtype, or what does not fit the
                modulus.
        """
        self._require(values, np.dtype(np.float64), ckks=True)
        if not np.isfinite(values).all():
            raise ValueError("values: NaN or infinity")
        filled = np.zeros(self._set.slots)
        filled[: len(values)] = values
        plaintext = sealapi.Plaintext()
        self._encoder.encode(
            filled.tolist(), list(level_id(self._set.seal, shape.primes)), shape.scale, plaintext
        )
        return plaintext

    def constant(self, value: float, shape: Shape) -> Any:
        """Return the plaintext with ``value`` in every slot; an int for BFV.

        Raises:
            ValueError: as :meth:`integers` and :meth:`floats`.
            TypeError: for a float where slots hold integers.
        """
        if self._set.ckks:
            return self.floats(np.full(self._set.slots, value, np.float64), shape)
        if not isinstance(value, int | np.integer):
            raise TypeError(f"value {value}: slots hold integers")
        return self.integers(np.full(self._set.slots, value, np.int64))

    def _residues(self, values: NDArray[np.uint64]) -> Any:
        filled = np.zeros(self._set.slots, np.uint64)
        filled[: len(values)] = values
        plaintext = sealapi.Plaintext()
        self._encoder.encode(filled.tolist(), plaintext)
        return plaintext

    def _require(self, values: NDArray[Any], dtype: np.dtype[Any], ckks: bool) -> None:
        if self._set.ckks != ckks:
            raise ValueError(f"{self._set.name}: holds {'floats' if self._set.ckks else 'integers'}")
        if values.ndim != 1 or values.dtype != dtype:
            raise ValueError(f"values: {values.ndim} dimensions of {values.dtype}, one of {dtype} expected")
        if len(values) > self._set.slots:
            raise ValueError(f"values: {len(values)} of them, at most {self._set.slots} slots")
