"""Update vectors as integers that can be added inside plaintext slots, and back.

A coordinate x becomes an offset-binary level, level = stochastic_round(x / step) + offset with
step = value_range / (2^(bits-1) - 1) and offset = 2^(bits-1), so that zero is exact and a sum of n
levels is at most n * (2^bits - 1). One slot carries ``values_per_slot`` digits of
bits + ceil(log2(max_clients)) bits each: sums of up to ``max_clients`` updates never carry into a
neighbour (as in BatchCrypt: Zhang et al., USENIX ATC 2020, section 4.2, with offsets in place of
two's complement).

Noise for differential privacy is added to the levels as integers (:mod:`fedpriv.privacy.sum_plan`),
with an offset of its own bound, so that no digit is ever negative; the digits are wide enough for
the largest noise that can be drawn, and what does not fit is refused before the run.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.packing_plan import MAX_BITS, MAX_CLIENTS, PackingPlan, plan_packing, quantisation_step
from fedpriv.types import FloatVector

__all__ = [
    "MAX_BITS",
    "MAX_CLIENTS",
    "NonFiniteUpdate",
    "PackingPlan",
    "add_client_noise",
    "pack",
    "plan_packing",
    "quantisation_step",
    "quantise",
    "server_noise_levels",
    "unpack_sum",
]

_ROUNDINGS = 256
"""Conditional rounding fails by bad luck less often than 0.61^256 < 1e-54."""
_NORM_BLOCK = 1 << 16


class NonFiniteUpdate(ValueError):
    """An update that holds NaN or infinity, which no integer stands for."""


def quantise(
    vector: FloatVector, plan: PackingPlan, random: np.random.Generator, norm_bound: float | None = None
) -> tuple[NDArray[np.uint32], int]:
    """Round coordinates to levels at random, without bias.

    Guarantee:
        E[level] = x / step + offset for |x| <= value_range, and |level - offset - x / step| < 1.
        With ``norm_bound`` the L2 norm of (levels - offset), integers, is at most that, whatever the
        draws: the rounding is repeated until it is (conditional rounding: Kairouz, Liu, Steinke 2021,
        arXiv 2102.06387, section 4). This is what the sensitivity of a noisy sum rests on.

    Edge cases:
        |x| > value_range saturates to the nearer end and is counted.
        NaN or infinity anywhere raises :class:`NonFiniteUpdate`.
        0, value_range and -value_range are exact.
        With ``norm_bound`` each level is biased as far as draws were refused. At the bound of
        :func:`fedpriv.privacy.sum_plan.sensitivity` a draw is refused with probability below 0.61.

    Args:
        vector: (P,) float32; the WHOLE update where ``norm_bound`` is given, no block of it.
        plan: the packing.
        random: draws one number per coordinate and attempt.
        norm_bound: largest L2 norm in steps; None does not bound it.

    Returns:
        Levels (P,) in [1, 2^bits - 1], and how many coordinates saturated.

    Raises:
        NonFiniteUpdate: see above.
        ValueError: when the vector is too long for ``norm_bound``: it was not clipped.
    """
    if not np.isfinite(vector).all():
        raise NonFiniteUpdate("update: holds NaN or infinity")
    saturated = int(np.count_nonzero(np.abs(vector) > plan.value_range))
    scaled = vector.astype(np.float64)
    scaled /= plan.step
    if norm_bound is None:
        return _rounded(scaled, plan, random), saturated
    limit = plan.offset - 1
    norm = float(np.linalg.norm(np.clip(scaled, -limit, limit)))
    if norm <= norm_bound:
        squared_bound = math.floor(Fraction(norm_bound) ** 2)
        for _ in range(_ROUNDINGS):
            levels = _rounded(scaled.copy(), plan, random)
            if _squared_norm(levels, plan.offset) <= squared_bound:
                return levels, saturated
    raise ValueError(f"update: norm of {norm:.6g} steps, too long for a bound of {norm_bound:.6g}; clip it")


def _rounded(
    scaled: NDArray[np.float64], plan: PackingPlan, random: np.random.Generator
) -> NDArray[np.uint32]:
    """Round steps to levels; ``scaled`` is overwritten."""
    # A float32 draw is at most 1 - 2^-24, so that the float64 sum never rounds an exact level upwards.
    scaled += random.random(len(scaled), dtype=np.float32)
    np.floor(scaled, out=scaled)
    limit = plan.offset - 1
    np.clip(scaled, -limit, limit, out=scaled)
    scaled += plan.offset
    return scaled.astype(np.uint32)


def _squared_norm(levels: NDArray[np.uint32], offset: int) -> int:
    """Return the exact sum of (level - offset)^2; a block of 2^16 squares below 2^46 fits int64."""
    total = 0
    for start in range(0, len(levels), _NORM_BLOCK):
        centred = levels[start : start + _NORM_BLOCK].astype(np.int64) - offset
        total += int(np.dot(centred, centred))
    return total


def add_client_noise(
    levels: NDArray[np.uint32], noise: NDArray[np.int64], plan: PackingPlan
) -> NDArray[np.uint32]:
    """Return levels + noise + client_noise_bound: a noisy update, ready for :func:`pack`.

    Args:
        levels: (P,) of :func:`quantise`.
        noise: (P,) in steps.
        plan: the packing.

    Returns:
        (P,) in [1, 2^bits - 1 + 2 client_noise_bound].

    Raises:
        ValueError: when the shapes differ or noise exceeds the bound: it would run into a neighbour.
    """
    return _with_offset(noise + levels, noise, plan.client_noise_bound)


def server_noise_levels(noise: NDArray[np.int64], plan: PackingPlan) -> NDArray[np.uint32]:
    """Return noise + server_noise_bound: what the server packs and adds to a sum once.

    Args:
        noise: (P,) in steps.
        plan: the packing.

    Returns:
        (P,) in [0, 2 server_noise_bound].

    Raises:
        ValueError: when noise exceeds the bound.
    """
    return _with_offset(noise, noise, plan.server_noise_bound)


def _with_offset(values: NDArray[np.int64], noise: NDArray[np.int64], bound: int) -> NDArray[np.uint32]:
    """Return values + bound as levels, once the noise in them is known to stay within the bound."""
    if values.shape != noise.shape:
        raise ValueError(f"noise: shape {noise.shape} for levels that broadcast it to {values.shape}")
    if len(noise) and (int(noise.min()) < -bound or int(noise.max()) > bound):
        raise ValueError(f"noise: beyond the {bound} steps that the packing has room for")
    return (values + bound).astype(np.uint32)


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


def unpack_sum(
    slots: NDArray[np.uint64], plan: PackingPlan, count: int, length: int, server_noise: bool = False
) -> NDArray[np.float64]:
    """Turn a sum of ``count`` packed updates into the sum of their quantised, noisy coordinates.

    Args:
        slots: (S,) sums of slots, S * values_per_slot >= length.
        plan: the packing they were made with.
        count: how many updates were added, each with its noise where the plan has room for it.
        length: P, coordinates per update.
        server_noise: whether the server's noise was added too, once.

    Returns:
        (P,) float64: step * (sum of levels - count * (offset + client_noise_bound)
        - server_noise_bound), the last term only with ``server_noise``.

    Raises:
        ValueError: when the slots are no sum of ``count`` updates: a digit outside
            [count, count * (2^bits - 1 + 2 client_noise_bound) + 2 server_noise_bound], or something
            where the padding is zero. A wrong key gives uniform slots, of which almost half exceed
            what the digits can hold.
    """
    per_slot, width = plan.values_per_slot, plan.digit_bits
    sums = np.empty(len(slots) * per_slot, np.int64)
    mask = np.uint64((1 << width) - 1)
    for position in range(per_slot):
        sums[position::per_slot] = (slots >> np.uint64(position * width)) & mask
    used, padding = sums[:length], sums[length:]
    server_bound = plan.server_noise_bound if server_noise else 0
    highest = count * ((1 << plan.bits) - 1 + 2 * plan.client_noise_bound) + 2 * server_bound
    overflow = bool((slots >> np.uint64(per_slot * width)).any())
    if overflow or padding.any() or int(used.min()) < count or int(used.max()) > highest:
        raise ValueError(f"slots: not a sum of {count} updates")
    used -= count * (plan.offset + plan.client_noise_bound) + server_bound
    return np.multiply(used, plan.step, dtype=np.float64)
