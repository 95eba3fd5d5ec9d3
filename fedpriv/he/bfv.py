"""Exact sums: quantised, packed integers in the plaintexts of BFV.

The update is quantised and packed across all layers (:mod:`fedpriv.he.packing`); each plaintext of N
coefficients, its slots, becomes one ciphertext (Brakerski, CRYPTO 2012; Fan and Vercauteren, eprint
2012/144). Sums need no batching encoder: adding polynomials adds their coefficients.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.he.encoding import Encoding
from fedpriv.he.noise_bounds import symmetric_noise
from fedpriv.he.packing import PackingPlan, add_client_noise, pack, quantise, server_noise_levels, unpack_sum
from fedpriv.he.parameters import SealParameters, data_primes, seal_context
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import Words, dump_plaintext, load_plaintext
from fedpriv.privacy.canaries import SparseUpdate
from fedpriv.privacy.noise import RandomSource
from fedpriv.privacy.sum_plan import SumPlan
from fedpriv.seeding import generator
from fedpriv.types import FloatVector


class IntegerEncoding(Encoding):
    """Offset-binary levels, several to a slot.

    Guarantee:
        The decoded sum is exactly step * (sum of the clients' rounded coordinates).

    Edge cases:
        Garbage, as another key gives, is uniform: each slot exceeds what its digits can hold with
        probability near 1/2, which :meth:`values` refuses.
    """

    scheme = "bfv"

    def __init__(self, plan: PackingPlan, parameters: SealParameters, noise: SumPlan | None = None) -> None:
        """Bind a packing to parameters with the same plaintext modulus and degree.

        Args:
            plan: the packing; it has room for the noise.
            parameters: of the scheme.
            noise: discrete noise that clients or server add under encryption; None for none.
        """
        self.plan, self.noise = plan, noise
        self.parameters = parameters
        self.max_clients = plan.max_clients
        self.values_per_plaintext = plan.values_per_plaintext
        self.step = plan.step
        self._carried: Sequence[SparseUpdate] | None = None

    def carrying(self, updates: Sequence[SparseUpdate]) -> "IntegerEncoding":
        """See :class:`Encoding`.

        Guarantee:
            - Each of ``updates`` is rounded, and its norm bounded, by itself, as if its client had sent it,
              by random numbers of its own, whatever the vector and the other updates are.
            - Each moves the integers that are sent by at most its own: cutting their sum to the range of one
              update brings no two sums farther apart. So sums need no more room.
        """
        if self.noise is None:
            raise ValueError("bfv: has no noise that could drown other clients' updates")
        made = copy.copy(self)
        made._carried = tuple(updates)
        return made

    @property
    def fields(self) -> dict[str, Any]:
        """See :class:`Encoding`."""
        noise = None if self.noise is None else [str(self.noise.variance), self.noise.norm_bound]
        packing = {name: getattr(self.plan, name) for name in self.plan.__dataclass_fields__}
        return {**packing, "noise": noise}

    def items_of(
        self, vector: FloatVector, random: np.random.Generator, source: RandomSource
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`Encoding`; an item is packed slots, (N,) uint64 or fewer."""
        if self.noise is None:
            for chunk in self.blocks(vector):
                levels, saturated = quantise(chunk, self.plan, random)
                yield pack(levels, self.plan), saturated
            return
        # drawn before anything that depends on data, and also where nobody is carried
        seed = 0 if self._carried is None else int(random.integers(1 << 63))
        # the norm is bounded over the whole update, so the whole is rounded at once
        levels, saturated = quantise(vector, self.plan, random, self.noise.norm_bound)
        for places, values in self._carried or ():
            # zeros are exact: left out, they change neither the norm nor the rounding of the others; places
            # are one update's alone, so that its numbers do not depend on which others are there
            own = generator(seed, "carried", int(places[0]))
            moved, _ = quantise(values, self.plan, own, self.noise.norm_bound)
            together = levels[places].astype(np.int64) + moved - self.plan.offset
            levels[places] = np.clip(together, 1, 2 * self.plan.offset - 1)
        for block in self.blocks(levels):
            noisy = block
            if self.plan.client_noise_bound:
                noisy = add_client_noise(block, self.noise.draw(len(block), source), self.plan)
            yield pack(noisy, self.plan), saturated
            saturated = 0

    def plaintext(self, buffer: SealBuffer, item: Any) -> Any:
        """See :class:`Encoding`."""
        return load_plaintext(buffer, seal_context(self.parameters), item)

    def message(self, buffer: SealBuffer, item: Any) -> Words:
        """Return floor(q / t) m + round((q mod t) m / t): q m / t to within 1, for q of one prime."""
        del buffer
        whole, rest = divmod(self._prime(), self.plan.plain_modulus)
        scaled = np.zeros((1, self.plan.slots), np.uint64)
        part = scaled[0, : len(item)]
        np.multiply(item, np.uint64(whole), out=part)
        # the float64 product is off by far less than 1/2 for m below 2^50
        part += np.rint(item * (rest / self.plan.plain_modulus)).astype(np.uint64)
        return scaled

    def add_noise(
        self, buffer: SealBuffer, bodies: NDArray[np.uint64], length: int, source: RandomSource
    ) -> None:
        """See :class:`Encoding`; noise is a plaintext that SEAL adds to a ciphertext with these c0."""
        if self.noise is None or not self.plan.server_noise_bound:
            return
        evaluator, wire = sealapi.Evaluator(seal_context(self.parameters)), self.wire()
        per_plaintext = self.values_per_plaintext
        for index, body in enumerate(bodies):
            drawn = self.noise.draw(min(per_plaintext, length - index * per_plaintext), source)
            plaintext = self.plaintext(buffer, pack(server_noise_levels(drawn, self.plan), self.plan))
            ciphertext = wire.join(buffer, body, np.ones_like(body))
            evaluator.add_plain_inplace(ciphertext, plaintext)
            body[:] = wire.split(buffer, ciphertext)[0]

    def values(self, buffer: SealBuffer, plaintext: Any, count: int, length: int) -> NDArray[np.float64]:
        """See :class:`Encoding`."""
        return self._sums(dump_plaintext(buffer, plaintext, self.plan.slots), count, length)

    def release(
        self, buffer: SealBuffer, phase: Words, count: int, length: int, source: RandomSource
    ) -> NDArray[np.float64]:
        """See :class:`Encoding`; noise is phase - q m / t."""
        del buffer, source
        plain = self.plan.plain_modulus
        slots, rest = rounded(phase[0], self._prime(), plain)
        largest = int(np.abs(rest).max()) / plain
        # the server's noise is rounded as every client's message is
        bound = symmetric_noise(count) + 2
        if largest > bound:
            raise ValueError(f"noise of {largest:.0f}, at most {bound:.0f} in a sum of {count}")
        return self._sums(slots, count, length)

    def from_phase(self, buffer: SealBuffer, phase: Words) -> Any:
        """Return round(t phase / q) mod t, by SEAL: a ciphertext whose c1 is zero decrypts under any key."""
        context = seal_context(self.parameters)
        decryptor = sealapi.Decryptor(context, _any_key(self.parameters))
        plaintext = sealapi.Plaintext()
        decryptor.decrypt(self.wire().join(buffer, phase, np.zeros_like(phase)), plaintext)
        return plaintext

    def _prime(self) -> int:
        moduli = data_primes(self.parameters)
        if len(moduli) != 1:
            raise ValueError(f"{len(moduli)} primes: symmetric updates have one")
        return int(moduli[0])

    def _sums(self, slots: NDArray[np.uint64], count: int, length: int) -> NDArray[np.float64]:
        return unpack_sum(slots, self.plan, count, length, self.plan.server_noise_bound > 0)


def rounded(
    phase: NDArray[np.uint64], prime: int, plain: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return m = round(t x / q) mod t and the rest t x - q round(t x / q), both exact.

    The quotient from floating point is off by 1/2 + 3 t / 2^53 at most. So the rest lies within 2^63, where
    arithmetic modulo 2^64 has it exactly, and says by how much the quotient is to be mended.

    Args:
        phase: x, (n,) below q.
        prime: q, odd, below 2^60.
        plain: t, at most 2^53.

    Returns:
        (n,) in [0, t), and (n,) in (-q / 2, q / 2).
    """
    quotient = np.rint(phase * (plain / prime)).astype(np.int64)
    rest = phase.view(np.int64) * np.int64(plain) - quotient * np.int64(prime)
    half = prime // 2
    while max(rest.max(), -rest.min()) > half:
        off = (rest > half).astype(np.int64) - (rest < -half)
        quotient += off
        rest -= off * np.int64(prime)
    quotient[quotient == plain] = 0
    return quotient.view(np.uint64), rest


_KEYS: dict[SealParameters, Any] = {}


def _any_key(parameters: SealParameters) -> Any:
    """Return a key that protects nothing."""
    if parameters not in _KEYS:
        _KEYS[parameters] = sealapi.KeyGenerator(seal_context(parameters)).secret_key()
    return _KEYS[parameters]
