"""How many coordinates share a plaintext slot: planned, and refused, before the run.

A digit is as wide as the largest sum of levels and noise that ``max_clients`` clients and the server
can make, so that no sum carries into a neighbour; :mod:`fedpriv.he.packing` fills them.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.noise_bounds import symmetric_noise
from fedpriv.he.primes import batching_prime

NoiseFrom = Literal["epsilon", "noise_multiplier"]

MAX_BITS = 24
"""A float32 has no more bits of precision than that."""
MAX_CLIENTS = 1000
"""Largest federation that the noise rule below was measured for."""
LARGEST_NOISE = 1 << 30
"""A noisy level is a word of 32 bits, and samplers end below this."""
_BLOCK = 1 << 16
_DATA_MODULUS_BITS = 54
_LARGEST_CAPACITY_BITS = 58
"""Wider slots have no plaintext modulus: SEAL's end at 60 bits, one of them spare."""


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
        client_noise_bound: largest magnitude, in steps, of the noise that each client adds to a
            coordinate; 0: clients add none.
        server_noise_bound: the same of the noise that the server adds to the sum.
    """

    bits: int
    max_clients: int
    values_per_slot: int
    value_range: float
    slots: int
    plain_modulus: int
    client_noise_bound: int = 0
    server_noise_bound: int = 0

    @property
    def digit_bits(self) -> int:
        """Bits between neighbours in a slot."""
        return _digit_bits(self.bits, self.max_clients, self.client_noise_bound, self.server_noise_bound)

    @property
    def offset(self) -> int:
        """The level of zero."""
        return 1 << (self.bits - 1)

    @property
    def step(self) -> float:
        """Distance between neighbouring levels, in units of the coordinates."""
        return quantisation_step(self.bits, self.value_range)

    @property
    def values_per_plaintext(self) -> int:
        """Coordinates that one plaintext of ``slots`` slots carries."""
        return self.slots * self.values_per_slot

    def plaintexts(self, length: int) -> int:
        """Return how many plaintexts ``length`` coordinates fill."""
        return -(-length // self.values_per_plaintext)


def quantisation_step(bits: int, value_range: float) -> float:
    """Return the distance between neighbouring levels: value_range / (2^(bits-1) - 1)."""
    return value_range / ((1 << (bits - 1)) - 1)


def coarse_fraction(vector: NDArray[np.float32], step: float) -> float:
    """Return the share of a vector's non-zero coordinates that lie within half a step of zero.

    Rounding at random keeps their mean and drowns them: each becomes 0, or rarely a whole step.

    Args:
        vector: (P,) finite.
        step: distance of neighbouring levels, > 0.

    Returns:
        In [0, 1]; 0 for a vector of zeros.
    """
    there = near = 0
    for start in range(0, len(vector), _BLOCK):  # so that no copy of a whole update is made
        block = vector[start : start + _BLOCK]
        nonzero = int(np.count_nonzero(block))
        there += nonzero
        near += nonzero - int(np.count_nonzero(np.abs(block) >= step / 2))
    return near / there if there else 0.0


def plan_packing(
    bits: int,
    max_clients: int,
    values_per_slot: int | None = None,
    value_range: float = 0.5,
    slots: int = 4096,
    capacity_bits: int | None = None,
    client_noise_bound: int = 0,
    server_noise_bound: int = 0,
    noise_from: NoiseFrom = "noise_multiplier",
) -> PackingPlan:
    """Choose the packing and the smallest plaintext modulus that carries it.

    A digit holds the largest sum, n (2^bits - 1 + 2 client_noise_bound) + 2 server_noise_bound:
    without noise it has bits + ceil(log2(n)) bits. The digits of a slot need values_per_slot *
    digit_bits <= log2(t) - 1; the spare bit lets the key holder recognise garbage. The encryption
    noise of n fresh symmetric encryptions must stay below q / (2t) (Fan and Vercauteren, eprint
    2012/144, section 4, lemma 1): each adds a centred binomial error of variance 10.5 and a rounding
    error of at most 1/2, so the rule is 12 * sqrt(10.5 n) + n / 2 <= q / (2t), q of 54 bits.

    Args:
        bits: bits per coordinate, 2 to 24.
        max_clients: largest number of updates in a sum, 1 to 1000.
        values_per_slot: coordinates per slot; None takes as many as fit.
        value_range: largest magnitude that is represented, > 0.
        slots: slots per plaintext, the ring degree.
        capacity_bits: bits of a slot that digits may fill, log2(t) - 1; None takes the rule above.
        client_noise_bound: largest noise of a client, in steps.
        server_noise_bound: largest noise of the server, in steps.
        noise_from: the setting of ``privacy`` that the noise follows from, for messages.

    Raises:
        UserError: when a value is out of its range, or the digits do not fit.
        ValueError: when a noise bound is out of its range.
    """
    _check_range("secure.bits", bits, 2, MAX_BITS)
    _check_range("federation.clients", max_clients, 1, MAX_CLIENTS)
    if not (math.isfinite(value_range) and value_range > 0):
        raise UserError(f"secure.value_range={value_range}: choose a positive finite number")
    for bound in (client_noise_bound, server_noise_bound):
        if not 0 <= bound <= LARGEST_NOISE:
            raise ValueError(f"noise bound {bound}: must lie between 0 and {LARGEST_NOISE} steps")
    digit = _digit_bits(bits, max_clients, client_noise_bound, server_noise_bound)
    if capacity_bits is None:
        # the server's noise is one more plaintext, which is rounded once more
        capacity_bits = _capacity_bits(max_clients, 0.5 if server_noise_bound else 0.0)
    capacity = min(capacity_bits, _LARGEST_CAPACITY_BITS)
    largest = capacity // digit
    chosen = max(largest, 1) if values_per_slot is None else values_per_slot
    if chosen < 1:
        raise UserError(f"secure.values_per_slot={chosen}: choose at least 1, or null for as many as fit")
    if chosen > largest:
        raise _too_little_room(
            bits, max_clients, chosen, largest, capacity, client_noise_bound, server_noise_bound, noise_from
        )
    return PackingPlan(
        bits=bits,
        max_clients=max_clients,
        values_per_slot=chosen,
        value_range=float(value_range),
        slots=slots,
        plain_modulus=batching_prime(1 << (chosen * digit + 1), slots),
        client_noise_bound=client_noise_bound,
        server_noise_bound=server_noise_bound,
    )


def _digit_bits(bits: int, max_clients: int, client_noise: int, server_noise: int) -> int:
    """Bits that hold n (2^bits - 1 + 2 client_noise) + 2 server_noise; bits + ceil(log2(n)) without noise."""
    return (max_clients * ((1 << bits) + 2 * client_noise) + 2 * server_noise - 1).bit_length()


def _capacity_bits(max_clients: int, rounding: float) -> int:
    """Largest k * digit_bits whose plaintext modulus, about 2^(k * digit_bits + 1), survives the noise."""
    noise = symmetric_noise(max_clients) + rounding
    return math.floor(_DATA_MODULUS_BITS - 1 - math.log2(noise) - 1e-3) - 1


def _too_little_room(
    bits: int,
    max_clients: int,
    chosen: int,
    largest: int,
    capacity: int,
    client_noise: int,
    server_noise: int,
    noise_from: NoiseFrom,
) -> UserError:
    """Return the refusal of digits that do not fit, with a mend.

    Fewer bits make steps longer and so the noise, in steps, smaller: bits that hold the noise of now
    hold the noise of then.
    """
    needed = chosen * _digit_bits(bits, max_clients, client_noise, server_noise)
    fitting = max(
        (
            fewer
            for fewer in range(2, bits)
            if chosen * _digit_bits(fewer, max_clients, client_noise, server_noise) <= capacity
        ),
        default=0,
    )
    mends = [f"secure.values_per_slot={largest}"] if largest else []
    if fitting:
        mends.append(f"secure.bits={fitting}")
    noise = ""
    if client_noise or server_noise:
        each = f"{client_noise} steps each" if client_noise else f"{server_noise} steps"
        noise = f" and the noise of privacy.{noise_from} (up to {each})"
        less = f"a {'larger' if noise_from == 'epsilon' else 'smaller'} privacy.{noise_from}"
        mends += [less] if fitting else ["fewer secure.bits", less]
    if not mends:
        mends = ["fewer federation.clients"]
    return UserError(
        f"secure.bits={bits} with secure.values_per_slot={chosen} cannot hold "
        f"federation.clients={max_clients}{noise}: {needed} bits needed, {capacity} there; "
        f"set {' or '.join(mends)}"
    )


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    """Refuse an integer outside [lowest, highest]."""
    if not lowest <= value <= highest:
        raise UserError(f"{name}={value}: choose {lowest} to {highest}")
