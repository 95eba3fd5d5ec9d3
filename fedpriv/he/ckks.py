"""Sums of floats: CKKS (Cheon, Kim, Kim, Song 2017, eprint 2016/421), with room to release them safely.

Whoever sees CKKS ciphertexts and their exact decryption can compute the secret key (Li and Micciancio
2021, eprint 2020/1533). So nobody does: key holders add noise 2^smudging_bits times as large as the
ciphertexts' own before anything leaves them (Li, Micciancio, Schultz, Sorrell 2022, eprint 2022/816), and
the scale is chosen so large that this noise is one quantisation step of the same ``bits``.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.encoding import Encoding
from fedpriv.he.noise_bounds import SHORTEST_PRIME, public_key_noise, smudging_log2, symmetric_noise
from fedpriv.he.packing import MAX_BITS, MAX_CLIENTS, NonFiniteUpdate
from fedpriv.he.parameters import LONGEST_MODULUS, SealParameters, seal_context
from fedpriv.he.ring import Ring
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import CiphertextWire, Words
from fedpriv.privacy.noise import RandomSource
from fedpriv.types import FloatVector

DEGREE = 8192


class FloatEncoding(Encoding):
    """Coordinates in CKKS slots, N / 2 to a plaintext.

    Guarantee:
        - A released sum carries Gaussian-like noise of standard deviation :attr:`release_deviation`, per
          coordinate, which hides the ciphertexts' noise by a factor of at least 2^smudging_bits.

    Edge cases:
        - Coordinates beyond value_range saturate and are counted, as with integers: a client's
          contribution is bounded, and the sum cannot wrap around the modulus.

    Attributes:
        release_deviation: value_range / 2^bits, in units of the coordinates.
        flooding: standard deviation of what a single key holder adds to each slot, in the units of the
            scale; 0 where several holders smudge.
        smudge_log2: width of the smudging of one of several holders, see :func:`smudging_log2`.
    """

    scheme = "ckks"

    def __init__(
        self, max_clients: int, bits: int, value_range: float, smudging_bits: int, holders: int = 0
    ) -> None:
        """Choose the scale and the smallest modulus that carries it.

        Args:
            max_clients: most updates in one sum.
            bits: the precision of a released sum, as that of a quantised coordinate.
            value_range: coordinates beyond it, in magnitude, saturate.
            smudging_bits: log2 of noise added over noise hidden.
            holders: of the key that clients encrypt under; 0 for a symmetric one.

        Raises:
            UserError: when a value is out of its range, or no modulus carries them.
        """
        if not 2 <= bits <= MAX_BITS:
            raise UserError(f"secure.bits={bits}: choose 2 to {MAX_BITS}")
        if not 1 <= max_clients <= MAX_CLIENTS:
            raise UserError(f"federation.clients={max_clients}: choose 1 to {MAX_CLIENTS}")
        if not (math.isfinite(value_range) and value_range > 0):
            raise UserError(f"secure.value_range={value_range}: choose a positive finite number")
        self.max_clients = max_clients
        self.release_deviation = value_range * 2.0**-bits
        self._bits, self._range, self._smudging = bits, float(value_range), smudging_bits
        # a slot is a sum of N coefficients times roots of unity, whose real parts' squares have mean 1/2
        to_slot = math.sqrt(DEGREE / 2)
        if holders:
            noise = public_key_noise(max_clients, DEGREE, holders)
            self.smudge_log2, self.flooding = smudging_log2(noise, smudging_bits), 0.0
            deviation = to_slot * math.sqrt(holders / 12) * 2.0**self.smudge_log2
            reach = noise + holders * 2.0 ** (self.smudge_log2 - 1)
        else:
            noise = symmetric_noise(max_clients)
            self.smudge_log2 = 0
            deviation = self.flooding = to_slot * noise * 2.0**smudging_bits
            reach = noise
        self.scale = deviation / self.release_deviation
        # SEAL's slots hold coordinates / value_range: it wants a scale below the modulus, whatever the range
        self._slot_scale = deviation * 2.0**bits
        needed = math.log2(2 * (max_clients * self._slot_scale + reach)) + 1
        self.parameters = _parameters(needed, bits, smudging_bits, max_clients)
        self.values_per_plaintext = DEGREE // 2
        self._ring = Ring(self.parameters)

    @property
    def fields(self) -> dict[str, Any]:
        """See :class:`Encoding`."""
        return {
            "bits": self._bits,
            "value_range": self._range,
            "max_clients": self.max_clients,
            "smudging_bits": self._smudging,
            "scale": self.scale,
        }

    def items_of(
        self, vector: FloatVector, random: np.random.Generator, source: RandomSource
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`Encoding`; an item is a ``sealapi.Plaintext``, nothing is drawn."""
        del random, source
        encoder, plaintext = self._encoder(), sealapi.Plaintext()
        for chunk in self.blocks(vector):
            if not np.isfinite(chunk).all():
                raise NonFiniteUpdate("update: holds NaN or infinity")
            saturated = int(np.count_nonzero(np.abs(chunk) > self._range))
            values = np.clip(chunk.astype(np.float64) / self._range, -1.0, 1.0)
            encoder.encode(values.tolist(), self._slot_scale, plaintext)
            yield plaintext, saturated

    def plaintext(self, buffer: SealBuffer, item: Any) -> Any:
        """See :class:`Encoding`."""
        del buffer
        return item

    def message(self, buffer: SealBuffer, item: Any) -> Words:
        """See :class:`Encoding`."""
        return self._ring.from_ntt(buffer, self.wire().residues(buffer, item))

    def values(self, buffer: SealBuffer, plaintext: Any, count: int, length: int) -> NDArray[np.float64]:
        """See :class:`Encoding`; garbage exceeds what ``count`` clipped updates and empty slots can hold."""
        del buffer
        return self._checked(self._decode(plaintext), count, length)

    def release(
        self, buffer: SealBuffer, phase: Words, count: int, length: int, source: RandomSource
    ) -> NDArray[np.float64]:
        """See :class:`Encoding`; the noise comes first, so that no refusal depends on an exact decryption.

        The result is rounded to a grid of 2^-12 or less of the noise: the last bits of a floating-point sum
        tell which terms were possible (Mironov, CCS 2012), and here one term is the ciphertexts' error.
        """
        deviation = 2.0**-self._bits
        slots = self._decode(self.from_phase(buffer, self._ring.to_ntt(buffer, phase)))
        grid = deviation * 2.0**-12
        noisy = np.rint((slots + deviation * source.normal(len(slots))) / grid) * grid
        return self._checked(noisy, count, length)

    def from_phase(self, buffer: SealBuffer, phase: Words) -> Any:
        """Return the plaintext of a phase in the NTT domain: in CKKS they are the same."""
        return self.wire().plaintext(buffer, phase)

    def wire(self) -> CiphertextWire:
        """See :class:`Encoding`."""
        return CiphertextWire(self.parameters, self._slot_scale)

    def _decode(self, plaintext: Any) -> NDArray[np.float64]:
        """Return all slots, in units of value_range."""
        return np.array(self._encoder().decode_double(plaintext), np.float64)

    def _checked(self, slots: NDArray[np.float64], count: int, length: int) -> NDArray[np.float64]:
        noise = 64 * 2.0**-self._bits
        used, empty = slots[:length], slots[length:]
        if not ((np.abs(used) <= count + noise).all() and (np.abs(empty) <= noise).all()):
            raise ValueError(f"slots: not a sum of {count} updates")
        return used * self._range

    def _encoder(self) -> Any:
        return sealapi.CKKSEncoder(seal_context(self.parameters))


def _parameters(needed: float, bits: int, smudging_bits: int, clients: int) -> SealParameters:
    """Return the parameters of the shortest data modulus above 2^needed."""
    for primes in (2, 3):
        # a prime of b bits may be a little below 2^b
        each = max(math.ceil(needed / primes + 0.01), SHORTEST_PRIME)
        if each <= 60 and (primes + 1) * each <= LONGEST_MODULUS[DEGREE]:
            return SealParameters(0, DEGREE, (each,) * (primes + 1), "ckks")
    raise UserError(
        f"secure.bits={bits} with secure.smudging_bits={smudging_bits} and federation.clients={clients}: "
        f"needs a modulus of {needed:.0f} bits, too long for 128-bit security; lower secure.smudging_bits "
        "or secure.bits"
    )
