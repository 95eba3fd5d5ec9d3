"""Encrypted updates with BFV: exact sums, smaller on the wire than the plain float32 update.

The update is quantised and packed across all layers (:mod:`fedpriv.he.packing`), each plaintext of
N coefficients, its slots, becomes one symmetric ciphertext (Brakerski, CRYPTO 2012; Fan and
Vercauteren, eprint 2012/144) whose uniform half travels as a seed. Sums need no batching encoder:
adding polynomials adds their coefficients.

Randomness: SEAL draws a fresh 64-byte seed from /dev/urandom for every ciphertext and expands it
with Blake2xb. Nothing here can seed it: equal updates give unrelated ciphertexts.

Trust: all clients share one key. The server alone learns nothing; the server together with ONE
client or the key holder reads every update. SEAL's ciphertexts carry no authentication: they belong
into an envelope that does.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.codec import (
    Aggregator,
    Encoded,
    PayloadCause,
    PayloadError,
    SumDecoder,
    SumError,
    UpdateCodec,
    checked_vector,
)
from fedpriv.he.keys import SecretKey
from fedpriv.he.packing import PackingPlan, pack, plan_packing, quantise, unpack_sum
from fedpriv.he.parameters import BFVParameters, seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.wire import CiphertextWire, dump_plaintext, load_plaintext
from fedpriv.types import FloatVector


class BFVCodec(UpdateCodec):
    """Payload: seeded BFV ciphertexts of the packed, quantised update.

    Clients and key holder construct it with the secret key, the server without.

    Guarantee:
        The decoded sum is exactly step * (sum of the clients' rounded coordinates).
        A codec built without the key neither encodes nor decodes, and what it makes holds no key.
    """

    scheme: ClassVar[str] = "bfv"
    needs_keyholder: ClassVar[bool] = True

    def __init__(
        self,
        max_clients: int,
        bits: int = 16,
        value_range: float = 0.5,
        values_per_slot: int | None = None,
        secret_key: SecretKey | None = None,
    ) -> None:
        """Plan the packing and check that the key fits it.

        Args:
            max_clients: most updates in one sum.
            bits: bits per coordinate.
            value_range: coordinates beyond it, in magnitude, saturate.
            values_per_slot: coordinates per slot; None takes as many as fit.
            secret_key: the shared key; None on the server.

        Raises:
            UserError: when the values do not fit together, or the key was made for others.
        """
        self.max_clients = max_clients
        self.plan = plan_packing(bits, max_clients, values_per_slot, value_range)
        self.parameters = BFVParameters(self.plan.plain_modulus, self.plan.slots)
        if secret_key is not None and secret_key.parameters != self.parameters:
            raise UserError(
                f"secure.key_file: {secret_key.fingerprint} was made for other parameters than "
                f"secure.bits={bits}, secure.values_per_slot={self.plan.values_per_slot}, "
                f"federation.clients={max_clients}; make a new key"
            )
        self._secret_key = secret_key

    def encode(self, vector: FloatVector, random: np.random.Generator) -> Encoded:
        """Quantise, pack and encrypt, one plaintext after the other.

        Raises:
            NonFiniteUpdate: when the vector holds NaN or infinity.
            UserError: when this party has no key.
        """
        if self._secret_key is None:
            raise UserError("secure.key: none given, and only a client with the key encrypts; set secure.key")
        checked_vector(vector)
        context, wire = seal_context(self.parameters), CiphertextWire(self.parameters)
        encryptor = self._secret_key.encryptor()
        block = self.plan.values_per_plaintext
        ciphertexts, clipped = [], 0
        with SealBuffer() as buffer:
            for start in range(0, len(vector), block):
                levels, saturated = quantise(vector[start : start + block], self.plan, random)
                clipped += saturated
                plaintext = load_plaintext(buffer, context, pack(levels, self.plan))
                ciphertexts.append(wire.write_fresh(buffer, encryptor.encrypt_symmetric(plaintext)))
        return Encoded(b"".join(ciphertexts), clipped)

    def max_payload_bytes(self, length: int) -> int:
        """Return the bytes of the ciphertexts, which is exact."""
        return self.plan.plaintexts(length) * CiphertextWire(self.parameters).fresh_bytes

    def aggregator(self, length: int) -> Aggregator:
        """Return a sum of ciphertexts that holds the public parameters only."""
        return BFVAggregator(self.parameters, self.plan.plaintexts(length), length)

    def decoder(self, min_clients: int) -> SumDecoder:
        """Return the key holder's decoder.

        Raises:
            UserError: when this party has no key, or fewer than two clients would be decoded.
        """
        if self._secret_key is None:
            raise UserError("secure.key: none given, and only the key holder reads sums; set secure.key")
        if min_clients < 2:
            raise UserError(
                f"secure.min_clients={min_clients}: a sum of one is that client's update; choose 2 or more"
            )
        return BFVSumDecoder(self.plan, self._secret_key, min_clients)


class BFVAggregator(Aggregator):
    """Adds ciphertexts in place; memory is the sum and one update, whatever the number of clients."""

    def __init__(self, parameters: BFVParameters, ciphertexts: int, length: int) -> None:
        """Expect ``ciphertexts`` per payload, for updates of ``length`` coordinates."""
        super().__init__(length)
        self._wire = CiphertextWire(parameters)
        self._evaluator = sealapi.Evaluator(seal_context(parameters))
        self._ciphertexts = ciphertexts
        self._sum: list[Any] = []

    def add(self, payload: bytes | memoryview) -> None:
        """Add one client's ciphertexts, once the size and all coefficients are checked."""
        items = split_payload(payload, self._ciphertexts, self._wire.fresh_bytes)
        try:
            with SealBuffer() as buffer:
                update = [self._wire.load(buffer, self._wire.unpack(item)) for item in items]
        except SealDataError as error:
            raise PayloadError("malformed", str(error)) from error
        if not self.count:
            self._sum = update
        else:
            for total, ciphertext in zip(self._sum, update, strict=True):
                self._evaluator.add_inplace(total, ciphertext)
        self.count += 1

    def result(self) -> bytes:
        """Return both polynomials of every ciphertext of the sum, for the key holder."""
        if not self.count:
            raise ValueError("sum: nothing was added")
        with SealBuffer() as buffer:
            return b"".join([self._wire.write_sum(buffer, ciphertext) for ciphertext in self._sum])


class BFVSumDecoder(SumDecoder):
    """The key holder: decrypts sums.

    Edge cases:
        Another key of the same parameters gives uniform slots, recognised and refused as
        ``not_a_sum``: each slot exceeds what its digits can hold with probability near 1/2.
        A wrong ``count`` is NOT recognised in general, nor a sum that holds one client twice:
        only what the clients sign can show that.
    """

    def __init__(self, plan: PackingPlan, secret_key: SecretKey, min_clients: int) -> None:
        """Decode sums of ``min_clients`` to ``plan.max_clients`` updates."""
        super().__init__(min_clients, plan.max_clients)
        self._plan = plan
        self._secret_key = secret_key

    def _decode(self, payload: bytes | memoryview, count: int, length: int) -> NDArray[np.float64]:
        """Decrypt and unpack, one ciphertext after the other."""
        wire, decryptor = CiphertextWire(self._secret_key.parameters), self._secret_key.decryptor()
        plaintext = sealapi.Plaintext()
        total = np.empty(length, np.float64)
        block = self._plan.values_per_plaintext
        try:
            items = split_payload(payload, self._plan.plaintexts(length), wire.sum_bytes)
            with SealBuffer() as buffer:
                for index, item in enumerate(items):
                    decryptor.decrypt(wire.load(buffer, wire.unpack(item)), plaintext)
                    slots = dump_plaintext(buffer, plaintext, self._plan.slots)
                    part = total[index * block : (index + 1) * block]
                    part[:] = unpack_sum(slots, self._plan, count, len(part))
        except (PayloadError, SealDataError) as error:
            raise SumError("malformed", str(error)) from error
        except ValueError as error:
            raise SumError("not_a_sum", f"{error}; wrong key, wrong count or tampered") from error
        return total


def split_payload(payload: bytes | memoryview, count: int, item_bytes: int) -> list[memoryview]:
    """Return views of the ``count`` items of ``item_bytes`` each; nothing is copied.

    Raises:
        PayloadError: ``truncated`` or ``oversized`` unless the size is exactly that.
    """
    expected = count * item_bytes
    if len(payload) != expected:
        cause: PayloadCause = "truncated" if len(payload) < expected else "oversized"
        raise PayloadError(cause, f"{len(payload)} bytes, {expected} expected")
    view = memoryview(payload)
    return [view[start : start + item_bytes] for start in range(0, expected, item_bytes)]
