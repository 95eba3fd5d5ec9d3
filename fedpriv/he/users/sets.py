"""The parameter sets that keys and ciphertext files may name: none other ever reaches SEAL."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.parameters import SealParameters, data_primes
from fedpriv.he.primes import batching_prime

Purpose = Literal["faces", "images", "table"]
PURPOSES: tuple[Purpose, ...] = ("faces", "images", "table")


@dataclass(frozen=True)
class ParameterSet:
    """Parameters under a name, all at 128-bit security with ternary secrets.

    Attributes:
        name: at most 24 ASCII characters.
        purpose: what keys of this set are for.
        seal: the parameters.
        scale_log2: log2 of the scale of fresh CKKS ciphertexts; 0 for BFV.
        relinearises: whether the owner publishes relinearisation keys.
        splits: whether the modulus leaves room for the smudging of several key holders.
    """

    name: str
    purpose: Purpose
    seal: SealParameters
    scale_log2: int
    relinearises: bool
    splits: bool

    @property
    def ckks(self) -> bool:
        """Whether values are floats (CKKS) and not integers (BFV)."""
        return self.seal.scheme == "ckks"

    @property
    def slots(self) -> int:
        """Values per ciphertext: N for BFV, N / 2 for CKKS."""
        return self.seal.poly_degree // (2 if self.ckks else 1)

    @property
    def primes(self) -> int:
        """Primes of a fresh ciphertext's modulus; the special one is not among them."""
        return len(self.seal.coeff_bits) - 1

    @property
    def scale(self) -> float:
        """Scale of a fresh ciphertext; 1 for BFV."""
        return 2.0**self.scale_log2

    def moduli(self, primes: int | None = None) -> NDArray[np.uint64]:
        """Return the first ``primes`` primes of the modulus (all of them by default), (primes, 1) uint64."""
        return data_primes(self.seal)[:primes, np.newaxis]


def _bfv(log2_plain: int, degree: int, bits: tuple[int, ...]) -> SealParameters:
    return SealParameters(batching_prime(1 << log2_plain, degree), degree, bits)


SETS: dict[str, ParameterSet] = {
    each.name: each
    for each in (
        # scores of unit vectors to about 1e-10; blinding takes the 10 bits that a product leaves
        ParameterSet(
            "faces",
            "faces",
            SealParameters(0, 8192, (60, 60, 60), "ckks"),
            55,
            relinearises=True,
            splits=False,
        ),
        # a score keeps the scale 2^110, of which smudging takes about 2^75
        ParameterSet(
            "faces-split",
            "faces",
            SealParameters(0, 16384, (60, 60, 50, 60), "ckks"),
            80,
            relinearises=True,
            splits=True,
        ),
        # differences only: one addition costs a bit of the noise budget
        ParameterSet("images", "images", _bfv(40, 4096, (54, 54)), 0, relinearises=False, splits=False),
        ParameterSet(
            "images-split", "images", _bfv(40, 8192, (54, 54, 54)), 0, relinearises=False, splits=True
        ),
        # one product leaves about 100 bits of noise budget, for sums, flooding and smudging
        ParameterSet("table", "table", _bfv(58, 16384, (60,) * 5), 0, relinearises=True, splits=True),
    )
}


def parameter_set(name: str) -> ParameterSet:
    """Return the set of this name.

    Raises:
        UserError: when there is none.
    """
    if name not in SETS:
        raise UserError(f"{name[:40]}: no such parameter set; choose one of {', '.join(SETS)}")
    return SETS[name]
