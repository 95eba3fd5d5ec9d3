"""Update vectors as integers that can be added inside plaintext slots, and back.

A coordinate x becomes an offset-binary level, level = stochastic_round(x / step) + offset with
step = value_range / (2^(bits-1) - 1) and offset = 2^(bits-1), so that zero is exact and a sum of n
levels is at most n * (2^bits - 1). One slot carries ``values_per_slot`` digits of
bits + ceil(log2(max_clients)) bits each: sums of up to ``max_clients`` updates never carry into a
neighbour (as in BatchCrypt: Zhang et al., USENIX ATC 2020, section 4.2, with offsets in place of
two's complement).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.primes import batching_prime
from fedpriv.types import FloatVector

MAX_BITS = 24
"""A float32 has no more bits of precision than that."""
MAX_CLIENTS = 1000
"""Largest federation that the noise rule below was measured for."""
_NOISE_DEVIATION = math.sqrt(10.5)
_TAIL_DEVIATIONS = 12.0


class NonFiniteUpdate(ValueError):
    """An update that holds NaN or infinity, which no integer stands for."""


@dataclass(frozen=True)
class PackingPlan:
    """How updates become slots; made by :func:`plan_packing`, which checks that everything fits.

    Attributes:
        bits: bits of one quantised coordinate.
        max_clients: most updates that one sum may hold.
        values_per_slot: coordinates that share one slot.
        value_range: coordinates outside [-value_range, value_range] saturate.
        slots: slots of one plaintext: its coefficients, the ring degree N.
        plain_modulus: t, a prime = 1 mod 2N with values_per_slot * digit_bits <= log2(t) - 1.
    """

    bits: int
    max_clients: int
    values_per_slot: int
    value_range: float
    slots: int
    plain_modulus: int

    @property
    def digit_bits(self) -> int:
        """Bits between neighbours in a slot."""
        return _digit_bits(self.bits, self.max_clients)

    @property
    def offset(self) -> int:
        """The level of zero."""
        return 1 << (self.bits - 1)

    @property
    def step(self) -> float:
        """Distance between neighbouring levels, in units of the coordinates."""
        return self.value_range / (self.offset - 1)

    @property
    def values_per_plaintext(self) -> int:
        """Coordinates that one plaintext of ``slots`` slots carries."""
        return self.slots * self.values_per_slot

    def plaintexts(self, length: int) -> int:
        """Return how many plaintexts ``length`` coordinates fill."""
        return -(-length // self.values_per_plaintext)


def plan_packing(
    bits: int,
    max_clients: int,
    values_per_slot: int | None = None,
    value_range: float = 0.5,
    slots: int = 4096,
    data_modulus_bits: int = 54,
) -> PackingPlan:
    """Choose the packing and the smallest plaintext modulus that carries it.

    The digits need k * (bits + ceil(log2(max_clients))) <= log2(t) - 1; the spare bit lets the key
    holder recognise garbage. The noise of n fresh symmetric encryptions must stay below q / (2t)
    (Fan and Vercauteren, eprint 2012/144, section 4, lemma 1): each adds a centred binomial error of
    variance 10.5 and a rounding error of at most 1/2, so the rule is
    12 * sqrt(10.5 n) + n / 2 <= q / (2t).

    Args:
        bits: bits per coordinate, 2 to 24.
        max_clients: largest number of updates in a sum, 1 to 1000.
        values_per_slot: coordinates per slot; None takes as many as fit.
        value_range: largest magnitude that is represented, > 0.
        slots: slots per plaintext, the ring degree.
        data_modulus_bits: log2 of the modulus q of fresh ciphertexts.

    Raises:
        UserError: when a value is out of its range, or the digits do not fit.
    """
    _check_range("secure.bits", bits, 2, MAX_BITS)
    _check_range("federation.clients", max_clients, 1, MAX_CLIENTS)
    if not (math.isfinite(value_range) and value_range > 0):
        raise UserError(f"secure.value_range={value_range}: choose a positive finite number")
    digit = _digit_bits(bits, max_clients)
    capacity = _capacity_bits(max_clients, data_modulus_bits)
    largest = capacity // digit
    chosen = largest if values_per_slot is None else values_per_slot
    if chosen < 1:
        raise UserError(f"secure.values_per_slot={chosen}: choose at least 1, or null for as many as fit")
    if chosen > largest:
        fitting = max(
            (b for b in range(2, bits) if chosen * _digit_bits(b, max_clients) <= capacity), default=0
        )
        fewer_bits = f" or secure.bits={fitting}" if fitting else ""
        raise UserError(
            f"secure.bits={bits} with secure.values_per_slot={chosen} cannot hold "
            f"federation.clients={max_clients}: {chosen * digit} bits needed, {capacity} there; "
            f"set secure.values_per_slot={largest}{fewer_bits}"
        )
    return PackingPlan(
        bits=bits,
        max_clients=max_clients,
        values_per_slot=chosen,
        value_range=float(value_range),
        slots=slots,
        plain_modulus=batching_prime(1 << (chosen * digit + 1), slots),
    )


def quantise(
    vector: FloatVector, plan: PackingPlan, random: np.random.Generator
) -> tuple[NDArray[np.uint32], int]:
    """Round coordinates to levels at random, without bias.

    Guarantee:
        E[level] = x / step + offset for |x| <= value_range, and |level - offset - x / step| < 1.

    Edge cases:
        |x| > value_range saturates to the nearer end and is counted.
        NaN or infinity anywhere raises :class:`NonFiniteUpdate`.
        0, value_range and -value_range are exact.

    Args:
        vector: (P,) float32.
        plan: the packing.
        random: draws one number per coordinate.

    Returns:
        Levels (P,) in [1, 2^bits - 1], and how many coordinates saturated.
    """
    if not np.isfinite(vector).all():
        raise NonFiniteUpdate("update: holds NaN or infinity")
    saturated = int(np.count_nonzero(np.abs(vector) > plan.value_range))
    scaled = vector.astype(np.float64)
    scaled /= plan.step
    # A float32 draw is at most 1 - 2^-24, so that the float64 sum never rounds an exact level upwards.
    scaled += random.random(len(vector), dtype=np.float32)
    np.floor(scaled, out=scaled)
    limit = plan.offset - 1
    np.clip(scaled, -limit, limit, out=scaled)
    scaled += plan.offset
    return scaled.astype(np.uint32), saturated


def pack(levels: NDArray[np.uint32], plan: PackingPlan) -> NDArray[np.uint64]:
    """Put ``values_per_slot`` neighbouring levels into each slot, the first one lowest.

    Returns:
        (ceil(P / values_per_slot),) uint64, the last slot filled up with zeros.
    """
    per_slot = plan.values_per_slot
    slots = np.zeros(-(-len(levels) // per_slot), np.uint64)
    for position in range(per_slot):
        digits = levels[position::per_slot]
        slots[: len(digits)] |= digits.astype(np.uint64) << np.uint64(position * plan.digit_bits)
    return slots


def unpack_sum(slots: NDArray[np.uint64], plan: PackingPlan, count: int, length: int) -> NDArray[np.float64]:
    """Turn a sum of ``count`` packed updates into the sum of their quantised coordinates.

    Args:
        slots: (S,) sums of slots, S * values_per_slot >= length.
        plan: the packing they were made with.
        count: how many updates were added.
        length: P, coordinates per update.

    Returns:
        (P,) float64: step * (sum of levels - count * offset).

    Raises:
        ValueError: when the slots are no sum of ``count`` updates: a digit outside
            [count, count * (2^bits - 1)], or something where the padding is zero. A wrong key
            gives uniform slots, of which almost half exceed what the digits can hold.
    """
    per_slot, width = plan.values_per_slot, plan.digit_bits
    sums = np.empty(len(slots) * per_slot, np.int64)
    mask = np.uint64((1 << width) - 1)
    for position in range(per_slot):
        sums[position::per_slot] = (slots >> np.uint64(position * width)) & mask
    used, padding = sums[:length], sums[length:]
    highest = count * ((1 << plan.bits) - 1)
    overflow = bool((slots >> np.uint64(per_slot * width)).any())
    if overflow or padding.any() or int(used.min()) < count or int(used.max()) > highest:
        raise ValueError(f"slots: not a sum of {count} updates")
    used -= count * plan.offset
    return np.multiply(used, plan.step, dtype=np.float64)


def _digit_bits(bits: int, max_clients: int) -> int:
    """Bits that a sum of ``max_clients`` levels needs."""
    return bits + (max_clients - 1).bit_length()


def _capacity_bits(max_clients: int, data_modulus_bits: int) -> int:
    """Largest k * digit_bits whose plaintext modulus, about 2^(k * digit_bits + 1), survives the noise."""
    noise = _TAIL_DEVIATIONS * _NOISE_DEVIATION * math.sqrt(max_clients) + max_clients / 2
    return math.floor(data_modulus_bits - 1 - math.log2(noise) - 1e-3) - 1


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    """Refuse an integer outside [lowest, highest]."""
    if not lowest <= value <= highest:
        raise UserError(f"{name}={value}: choose {lowest} to {highest}")
