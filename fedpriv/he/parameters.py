"""The public parameters of BFV and CKKS and the SEAL context they stand for."""

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

LONGEST_MODULUS = {4096: 109, 8192: 218, 16384: 438}
"""Most bits of the whole modulus at 128-bit security with ternary secrets, by ring degree: the
HomomorphicEncryption.org standard (Albrecht et al., eprint 2019/939, table 1)."""


@dataclass(frozen=True)
class SealParameters:
    """Parameters that client, server and key holders must share.

    Attributes:
        plain_modulus: t, a prime = 1 mod 2 * poly_degree; 0 for CKKS, which has none.
        poly_degree: N, the ring degree.
        coeff_bits: bits of each prime of the modulus; the last one, the special prime, is used by keys
            only: ciphertexts live modulo the product q of the others.
        scheme: ``bfv`` or ``ckks``.
    """

    plain_modulus: int
    poly_degree: int = 4096
    coeff_bits: tuple[int, ...] = (54, 54)
    scheme: Literal["bfv", "ckks"] = "bfv"

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the parameters, 32 bytes, the same on every machine."""
        fields = [f"fedpriv-{self.scheme}-2", self.poly_degree, list(self.coeff_bits), self.plain_modulus]
        return hashlib.sha256(json.dumps(fields).encode()).digest()

    @property
    def key_bytes(self) -> int:
        """Upper bound of SEAL's uncompressed secret key: one polynomial under all primes."""
        return 8 * self.poly_degree * len(self.coeff_bits) + 256


@functools.lru_cache(maxsize=8)
def seal_context(parameters: SealParameters) -> Any:
    """Return the SEALContext of ``parameters``, built once per process.

    Raises:
        ValueError: when SEAL refuses them, e.g. as less than 128 bits strong.
    """
    ckks = parameters.scheme == "ckks"
    kind = sealapi.SCHEME_TYPE.CKKS if ckks else sealapi.SCHEME_TYPE.BFV
    chosen = sealapi.EncryptionParameters(kind)
    chosen.set_poly_modulus_degree(parameters.poly_degree)
    chosen.set_coeff_modulus(sealapi.CoeffModulus.Create(parameters.poly_degree, list(parameters.coeff_bits)))
    if not ckks:
        chosen.set_plain_modulus(sealapi.Modulus(parameters.plain_modulus))
    context = sealapi.SEALContext(chosen, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise ValueError(f"{parameters}: {context.parameters_error_message()}")
    if not ckks and not context.first_context_data().qualifiers().using_batching:
        raise ValueError(
            f"plain_modulus={parameters.plain_modulus}: no prime = 1 mod {2 * parameters.poly_degree}"
        )
    return context


def data_primes(parameters: SealParameters) -> NDArray[np.uint64]:
    """Return the primes of the ciphertext modulus q, (L,) uint64."""
    return _primes(seal_context(parameters).first_context_data())


def key_primes(parameters: SealParameters) -> NDArray[np.uint64]:
    """Return all primes, the special one last, (L + 1,) uint64."""
    return _primes(seal_context(parameters).key_context_data())


def _primes(context_data: Any) -> NDArray[np.uint64]:
    return np.array([modulus.value() for modulus in context_data.parms().coeff_modulus()], np.uint64)
