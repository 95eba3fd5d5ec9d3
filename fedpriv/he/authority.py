"""One key holder, and one symmetric key that it shares with all clients: the smallest wire.

A fresh symmetric ciphertext's c1 is uniform and grows from a seed (:mod:`fedpriv.he.symmetric`), so a packed
update is smaller than its float32. The mask of an update is that seed, 32 bytes. The server adds the c0 and
sends the holder that sum and all seeds; the holder grows and adds the c1 of the clients whose signatures
it has checked, so a sum of other clients, or a single one, decrypts to garbage.

Trust: the server alone learns nothing but sums. A client together with the server reads every update, for
the client has the key. Where that is too much, use :mod:`fedpriv.he.committee`.
"""

import copy
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.body_sum import BodyAggregator
from fedpriv.he.codec import (
    Aggregator,
    Buffer,
    Holder,
    SumError,
    UpdateCodec,
    checked_vector,
    positive,
    require_size,
)
from fedpriv.he.encoding import Encoding
from fedpriv.he.fitting import cheapest
from fedpriv.he.fixed_bytes import FixedBytes
from fedpriv.he.key_files import SHARED_KEY
from fedpriv.he.keys import SecretKey, generate_key, load_key, save_key
from fedpriv.he.noise_bounds import symmetric_noise
from fedpriv.he.packing_plan import NoiseFrom, PackingPlan, plan_packing
from fedpriv.he.parameters import LONGEST_MODULUS, SealParameters
from fedpriv.he.ring import add
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.symmetric import SEED_BYTES, SymmetricCipher, UniformHalf
from fedpriv.privacy.canaries import SparseUpdate
from fedpriv.privacy.noise import RandomSource, SecureSource
from fedpriv.types import FloatVector

if TYPE_CHECKING:
    from fedpriv.he.identity import Enrolment

DEGREE = 4096
LONGEST_PRIME = 60


class AuthorityCodec(UpdateCodec):
    """Seeded symmetric ciphertexts under a key that one holder and all clients share.

    Randomness: seed and errors come from the operating system. Nothing here can seed them: equal updates give
    unrelated ciphertexts.

    Guarantee:
        - A codec without the key neither encodes nor opens, and nothing it makes holds a key.
        - The digest binds the key: an update under another key is refused before it is parsed.
    """

    holders = 1

    def __init__(
        self, encoding: Encoding, secret_key: SecretKey | None = None, fingerprint: str | None = None
    ) -> None:
        """Bind an encoding; the server knows the ``fingerprint`` of the key and not the key."""
        self._encoding = encoding
        self.scheme = encoding.scheme
        self.max_clients, self.step = encoding.max_clients, encoding.step
        self._secret_key = secret_key
        self._fingerprint = secret_key.fingerprint if secret_key else fingerprint
        self._wire = encoding.wire()
        self._cipher: SymmetricCipher | None = None

    @property
    def figures(self) -> dict[str, float]:
        """See :class:`UpdateCodec`."""
        return self._encoding.figures

    @property
    def digest(self) -> bytes:
        """See :class:`UpdateCodec`."""
        fields = ["authority", self._encoding.parameters.fingerprint.hex(), self._fingerprint]
        text = json.dumps([*fields, self._encoding.fields], sort_keys=True)
        return hashlib.sha256(b"fedpriv-codec-2" + text.encode()).digest()

    def encode_into(
        self,
        vector: FloatVector,
        mask: memoryview,
        body: memoryview,
        random: np.random.Generator,
        source: RandomSource | None = None,
    ) -> int:
        """See :class:`UpdateCodec`; one plaintext after the other."""
        if self._secret_key is None:
            raise UserError("secure.key_folder: holds no key for this client; give it shared.key")
        encoding, size = self._encoding, self._wire.polynomial_bytes
        if self._cipher is None:
            self._cipher = SymmetricCipher(self._secret_key.coefficients(), self._wire.moduli)
        seed, clipped = os.urandom(SEED_BYTES), 0
        checked_vector(vector)
        mask[:] = seed
        with SealBuffer() as buffer:
            for index, (item, saturated) in enumerate(
                encoding.items_of(vector, random, source or SecureSource())
            ):
                c0 = self._cipher.encrypt(encoding.message(buffer, item), seed, index)
                body[index * size : (index + 1) * size] = self._wire.pack(c0)
                clipped += saturated
        return clipped

    def carrying(self, updates: Sequence[SparseUpdate]) -> UpdateCodec:
        """See :class:`UpdateCodec`."""
        made = copy.copy(self)
        made._encoding = self._encoding.carrying(updates)
        return made

    def mask_bytes(self, length: int) -> int:
        """Return the bytes of one seed."""
        positive(length)
        return SEED_BYTES

    def body_bytes(self, length: int) -> int:
        """Return a packed polynomial per ciphertext."""
        return self._wire.polynomial_bytes * self._encoding.plaintexts(length)

    def aggregator(self, length: int, source: RandomSource | None = None) -> Aggregator:
        """See :class:`UpdateCodec`."""
        return AuthorityAggregator(self._encoding, length, source or SecureSource())

    def holder(self, folder: Path) -> Holder:
        """See :class:`UpdateCodec`."""
        key = load_key(folder / SHARED_KEY, self._encoding.parameters)
        return AuthorityHolder(self._encoding, key, AuthorityCodec(self._encoding, key).digest)

    def with_key_folder(self, folder: Path) -> UpdateCodec:
        """See :class:`UpdateCodec`."""
        return AuthorityCodec(self._encoding, load_key(folder / SHARED_KEY, self._encoding.parameters))

    def with_public_key(self, data: Buffer, run_id: bytes, enrolment: "Enrolment") -> UpdateCodec:
        """Return the codec that knows which key was enrolled, by its fingerprint."""
        if self._secret_key is not None:
            return self
        return AuthorityCodec(self._encoding, fingerprint=enrolment.shared_key)

    def make_shared_key(self, path: Path) -> str:
        """Write a new key of mode 0600 and return its fingerprint.

        Raises:
            UserError: when the file exists or cannot be written.
        """
        key = generate_key(self._encoding.parameters)
        save_key(key, path)
        return key.fingerprint


class AuthorityAggregator(BodyAggregator):
    """Adds c0; memory is the sum and one polynomial, whatever the number of clients."""

    def body_sum(self) -> bytes:
        """Return the sum of the c0, with the server's noise if there is any."""
        return self.finished().packed()

    def open(self, answers: Sequence[Buffer]) -> NDArray[np.float64]:
        """Read the holder's float64."""
        if not self.count:
            raise SumError("too_few_clients", "nothing was added")
        if len(answers) != 1 or len(answers[0]) != 8 * self.length:
            raise SumError("malformed", f"{len(answers)} answers, 1 of {8 * self.length} bytes expected")
        total = np.frombuffer(answers[0], "<f8").astype(np.float64)
        if not np.isfinite(total).all():
            raise SumError("not_a_sum", "holds NaN or infinity")
        return total


class AuthorityHolder(Holder):
    """Decrypts sums; floods them where the scheme is CKKS.

    Edge cases:
        - A sum of other clients than the masks say, or under another key, decrypts to uniform slots and is
          refused as ``not_a_sum``.
        - A sum of c0 that was shifted by less than a step of the plaintext decrypts, and is refused as
          ``not_a_sum`` too: its noise would tell whoever shifted it about the ciphertexts' errors.
    """

    def __init__(self, encoding: Encoding, secret_key: SecretKey, digest: bytes) -> None:
        """Hold the key."""
        self._encoding, self.digest = encoding, digest
        self._cipher = SymmetricCipher(secret_key.coefficients(), encoding.wire().moduli)

    def open(self, masks: Sequence[Buffer], body_sum: Buffer, length: int) -> bytes:
        """See :class:`Holder`; the answer is the sum, (P,) little-endian float64."""
        encoding, wire, cipher = self._encoding, self._encoding.wire(), self._cipher
        count, block = encoding.plaintexts(positive(length)), encoding.values_per_plaintext
        seeds = [bytes(require_size(mask, SEED_BYTES)) for mask in masks]
        if not seeds:
            raise SumError("too_few_clients", "no masks")
        size, bodies = wire.polynomial_bytes, require_size(body_sum, count * wire.polynomial_bytes)
        halves = [UniformHalf(seed, wire.moduli, encoding.parameters.poly_degree) for seed in seeds]
        out, source = FixedBytes(8 * length), SecureSource()
        total = np.frombuffer(out.view, "<f8")
        try:
            with SealBuffer() as buffer:
                for index in range(count):
                    c0 = wire.unpack(bodies[index * size : (index + 1) * size])
                    c1 = np.zeros(wire.shape, np.uint64)
                    for half in halves:
                        add(c1, half.polynomial(index), wire.moduli)
                    phase = cipher.phase(c0, c1)
                    part = total[index * block : (index + 1) * block]
                    part[:] = encoding.release(buffer, phase, len(masks), len(part), source)
        except SealDataError as error:
            raise SumError("malformed", str(error)) from error
        except ValueError as error:
            raise SumError("not_a_sum", f"{error}; wrong key, other clients, or tampered") from error
        del total, part
        return out.take()


def plan_authority(
    bits: int,
    max_clients: int,
    values_per_slot: int | None,
    value_range: float,
    client_noise_bound: int = 0,
    server_noise_bound: int = 0,
    noise_from: NoiseFrom = "noise_multiplier",
) -> tuple[PackingPlan, SealParameters]:
    """Choose packing and modulus for the fewest bytes per coordinate.

    The noise bound B of a sum (:func:`symmetric_noise`, and what :meth:`Encoding.release` lets pass
    besides) must stay below q / (2t), for one prime q of at most 60 bits; the whole modulus has at most 109.

    Raises:
        UserError: when the values do not fit together.
    """
    reach = 1 + math.log2(symmetric_noise(max_clients) + 3) + 0.01

    def packing(per_slot: int | None) -> PackingPlan:
        return plan_packing(
            bits,
            max_clients,
            per_slot,
            value_range,
            slots=DEGREE,
            # the modulus t is a little longer than its digits and one spare bit
            capacity_bits=math.floor(LONGEST_PRIME - reach - 0.01) - 1,
            client_noise_bound=client_noise_bound,
            server_noise_bound=server_noise_bound,
            noise_from=noise_from,
        )

    def moduli(plan: PackingPlan) -> Iterator[tuple[float, SealParameters]]:
        length = math.ceil(math.log2(plan.plain_modulus) + reach)
        special = min(length, LONGEST_MODULUS[DEGREE] - length)
        yield length, SealParameters(plan.plain_modulus, DEGREE, (length, special))

    return cheapest(packing, values_per_slot, moduli)
