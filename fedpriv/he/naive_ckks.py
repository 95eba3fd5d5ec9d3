"""CKKS as it is commonly deployed and must not be: the target of the key recovery attack, used by no run.

Every client holds one shared secret key, encrypts its floats, adds what it received and gets exact
decryptions back, with the calls of TenSEAL's high-level interface that NVIDIA FLARE makes (symmetric
encryption, N = 8192, primes of 60, 40 and 40 bits, scale 2^40). Whoever sees ciphertexts and such
decryptions recovers the key: Li and Micciancio, EUROCRYPT 2021, eprint 2020/1533, carried out in
:mod:`fedpriv.attacks.ckks_key_recovery`.
"""

from typing import Any

import numpy as np
import tenseal
from numpy.typing import NDArray

from fedpriv.he.parameters import SealParameters
from fedpriv.he.ring import Ring
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import CiphertextWire, Words, dump_plaintext


class NaiveCKKS:
    """One key for everybody, exact decryptions: insecure by design of the experiment.

    Attributes:
        ring: the ring of the ciphertexts.
        scale: Delta; floats are rounded to multiples of about 1 / Delta.
        slots: N / 2, floats per ciphertext.
    """

    def __init__(
        self,
        poly_degree: int = 8192,
        coeff_bits: tuple[int, ...] = (60, 40, 40),
        scale_bits: int = 40,
        public_key: bool = False,
    ) -> None:
        """Make the shared key.

        Args:
            poly_degree: N.
            coeff_bits: bits of the primes, the special one last.
            scale_bits: log2 of the scale.
            public_key: encrypt under the public key instead of the secret one.
        """
        parameters = SealParameters(0, poly_degree, coeff_bits, "ckks")
        kinds = tenseal.ENCRYPTION_TYPE
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS,
            poly_modulus_degree=poly_degree,
            coeff_mod_bit_sizes=list(coeff_bits),
            encryption_type=kinds.ASYMMETRIC if public_key else kinds.SYMMETRIC,
            n_threads=1,
        )
        self._context.global_scale = 2.0**scale_bits
        self.ring = Ring(parameters)
        self.scale = 2.0**scale_bits
        self.slots = poly_degree // 2
        self._wire = CiphertextWire(parameters, self.scale)

    def encrypt(self, values: NDArray[np.floating]) -> Any:
        """Return the ciphertext of (slots,) floats, as any client makes it."""
        if values.shape != (self.slots,):
            raise ValueError(f"values: shape {values.shape}, ({self.slots},) expected")
        return tenseal.ckks_vector(self._context, values.tolist())

    def decrypt(self, ciphertext: Any) -> NDArray[np.float64]:
        """Return the (slots,) floats with all the digits that decryption gives."""
        return np.array(ciphertext.decrypt())

    def polynomials(self, ciphertext: Any) -> tuple[Words, Words]:
        """Return c0 and c1 in the NTT domain, (L, N) each: what everybody sees on the wire."""
        (part,) = ciphertext.ciphertext()
        with SealBuffer() as buffer:
            return self._wire.split(buffer, part)

    def secret_key(self) -> NDArray[np.int8]:
        """Return the coefficients of the key, (N,) in {-1, 0, 1}: to judge an attack, not to make one."""
        primes, degree = len(self.ring.moduli), self.ring.degree
        with SealBuffer() as buffer:
            words = dump_plaintext(buffer, self._context.secret_key().data, (primes + 1) * degree)
            residues = self.ring.from_ntt(buffer, words.reshape(-1, degree)[:primes])[0]
        return np.where(residues > 1, -1, residues.astype(np.int64)).astype(np.int8)
