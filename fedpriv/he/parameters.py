"""The public parameters of BFV and the SEAL context they stand for."""

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tenseal import sealapi


@dataclass(frozen=True)
class BFVParameters:
    """Parameters that client, server and key holder must share.

    At the defaults log2 of the whole modulus is 108, within the 109 bits that the
    HomomorphicEncryption.org standard (Albrecht et al., eprint 2019/939, table 1) allows for
    N = 4096 at 128-bit security with ternary secrets; fresh ciphertexts use the first prime only,
    54 bits.

    Attributes:
        plain_modulus: t, a prime = 1 mod 2 * poly_degree.
        poly_degree: N, also the number of slots (coefficients) of a plaintext.
        coeff_bits: bits of each prime of the modulus; the last one is for key switching.
    """

    plain_modulus: int
    poly_degree: int = 4096
    coeff_bits: tuple[int, ...] = (54, 54)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the parameters, 32 bytes, the same on every machine."""
        text = json.dumps(["fedpriv-bfv-1", self.poly_degree, list(self.coeff_bits), self.plain_modulus])
        return hashlib.sha256(text.encode()).digest()

    @property
    def key_bytes(self) -> int:
        """Upper bound of SEAL's uncompressed secret key: one polynomial under all primes."""
        return 8 * self.poly_degree * len(self.coeff_bits) + 256


@functools.lru_cache(maxsize=8)
def seal_context(parameters: BFVParameters) -> Any:
    """Return the SEALContext of ``parameters``, built once per process.

    Raises:
        ValueError: when SEAL refuses them, e.g. as less than 128 bits strong.
    """
    chosen = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    chosen.set_poly_modulus_degree(parameters.poly_degree)
    chosen.set_coeff_modulus(sealapi.CoeffModulus.Create(parameters.poly_degree, list(parameters.coeff_bits)))
    chosen.set_plain_modulus(sealapi.Modulus(parameters.plain_modulus))
    context = sealapi.SEALContext(chosen, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise ValueError(f"{parameters}: {context.parameters_error_message()}")
    if not context.first_context_data().qualifiers().using_batching:
        raise ValueError(
            f"plain_modulus={parameters.plain_modulus}: no prime = 1 mod {2 * parameters.poly_degree}"
        )
    return context
