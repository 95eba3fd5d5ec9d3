"""Encryption, with the secret key (seeded, half the size) or the public one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.encoding import SlotEncoder
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape


class Encryptor:
    """Makes ciphertexts of one shape, as packed bodies; every one with fresh randomness of SEAL.

    Not for several threads at once; it is cheap to make another.

    Attributes:
        set: the parameters.
        shape: of everything it makes.
    """

    def __init__(self, parameters: ParameterSet, encryptor: Any, seeded: bool) -> None:
        """Hold a ``sealapi.Encryptor``; use ``encryptor()`` of the keys."""
        self.set = parameters
        self.shape = Shape(2, parameters.primes, seeded, parameters.scale)
        self._encryptor, self._encoder = encryptor, SlotEncoder(parameters)
        self._bodies = Bodies(parameters, self.shape)

    def integers(self, values: NDArray[np.int64]) -> bytes:
        """Encrypt (n,) integers (BFV); see :meth:`SlotEncoder.integers` for what is refused."""
        return self._encrypted(self._encoder.integers(values))

    def unsigned(self, values: NDArray[np.uint64]) -> bytes:
        """Encrypt (n,) residues below t (BFV)."""
        return self._encrypted(self._encoder.unsigned(values))

    def floats(self, values: NDArray[np.float64]) -> bytes:
        """Encrypt (n,) floats (CKKS)."""
        return self._encrypted(self._encoder.floats(values, self.shape))

    def constant(self, value: float) -> bytes:
        """Encrypt one value in every slot."""
        return self._encrypted(self._encoder.constant(value, self.shape))

    def ciphertext(self, body: bytes) -> Any:
        """Return a body of :attr:`shape` as the ``Ciphertext`` it stands for."""
        return self._bodies.unpack(body)

    def _encrypted(self, plaintext: Any) -> bytes:
        if self.shape.seeded:
            return self._bodies.pack(self._encryptor.encrypt_symmetric(plaintext))
        ciphertext = sealapi.Ciphertext()
        self._encryptor.encrypt(plaintext, ciphertext)
        return self._bodies.pack(ciphertext)
