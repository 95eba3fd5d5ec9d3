"""N key holders with additive shares of a key that nobody has: no N - 1 of them decrypt anything.

Clients encrypt under the joint public key (:mod:`fedpriv.he.ceremony`). The mask of an update is its c1,
the body its c0. A holder adds the c1 of the clients whose signatures it has checked, itself, and answers
with d_j = c1 s_j + r_j, the smudging r_j uniform and 2^smudging_bits times as wide as all noise that
the ciphertexts hold. The server computes c0 + d_1 + ... + d_N, which is the plaintext and noise, rounds,
and has the sum (Asharov et al., EUROCRYPT 2012, smudging: lemma 2.1; Boneh et al., eprint 2017/956).

Figure: the answers of one round show the noise, and with it anything about a key, with statistical distance
at most (coefficients of the update) * 2^-smudging_bits / 2. With the default 56 bits, a model of 1.1 M
parameters (2^19.1 coefficients at two values each) and 1,000 rounds that is 2^-28.

Trust: any N - 1 holders, any clients and the server together learn nothing but sums, as long as clients
encrypt as they should. A client that sends a mask of its own choosing instead (say q / 3) and colludes with
the server reads the joint key from the opened sum: nothing here proves that a ciphertext is honest.
"""

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.body_sum import BodyAggregator
from fedpriv.he.ceremony import Ceremony
from fedpriv.he.codec import (
    Aggregator,
    Buffer,
    Holder,
    PayloadError,
    SumError,
    UpdateCodec,
    checked_vector,
    positive,
    require_size,
)
from fedpriv.he.committee_member import CommitteeMember
from fedpriv.he.encoding import Encoding
from fedpriv.he.fitting import cheapest
from fedpriv.he.fixed_bytes import FixedBytes
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import JointKey, check_joint_key
from fedpriv.he.key_files import forget_share
from fedpriv.he.key_share import KeyShare, load_share
from fedpriv.he.noise_bounds import SHORTEST_PRIME, public_key_noise, smudging_log2
from fedpriv.he.packing_plan import NoiseFrom, PackingPlan, plan_packing
from fedpriv.he.parameters import LONGEST_MODULUS, SealParameters, seal_context
from fedpriv.he.polynomial_sum import PolynomialSum, check_polynomials
from fedpriv.he.ring import Ring, add, smudging
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.privacy.canaries import SparseUpdate
from fedpriv.privacy.noise import RandomSource, SecureSource
from fedpriv.types import FloatVector

DEGREE = 8192
_LONGEST_PRIME = 60
_LARGEST_PLAIN = 59


class CommitteeCodec(UpdateCodec):
    """Public-key ciphertexts under a joint key.

    Guarantee:
        - Nothing that a client has decrypts another client's update.
        - The digest binds the joint key: an update under another key is refused before it is parsed.
    """

    needs_public_key = True

    def __init__(
        self, encoding: Encoding, holders: int, smudge_log2: int, joint: JointKey | None = None
    ) -> None:
        """Bind an encoding; :meth:`with_public_key` gives it its key."""
        if holders < 2:
            raise UserError(
                f"secure.holders={holders}: a committee has at least 2; or use secure.keys=authority"
            )
        self._encoding, self.holders, self.smudge_log2, self._joint = encoding, holders, smudge_log2, joint
        self.scheme = encoding.scheme
        self.max_clients, self.step = encoding.max_clients, encoding.step
        self._wire = encoding.wire()

    @property
    def figures(self) -> dict[str, float]:
        """See :class:`UpdateCodec`."""
        return self._encoding.figures

    @property
    def digest(self) -> bytes:
        """See :class:`UpdateCodec`."""
        return codec_digest(
            self._encoding, self.holders, self.smudge_log2, self._joint.digest if self._joint else None
        )

    def encode_into(
        self,
        vector: FloatVector,
        mask: memoryview,
        body: memoryview,
        random: np.random.Generator,
        source: RandomSource | None = None,
    ) -> int:
        """See :class:`UpdateCodec`; one plaintext after the other."""
        if self._joint is None:
            raise UserError("secure.keys=committee: the key holders' joint key has not come yet")
        encoding = self._encoding
        encryptor = sealapi.Encryptor(seal_context(encoding.parameters), self._joint.public)
        checked_vector(vector)
        size, clipped = self._wire.polynomial_bytes, 0
        ciphertext = sealapi.Ciphertext()
        with SealBuffer() as buffer:
            for index, (item, saturated) in enumerate(
                encoding.items_of(vector, random, source or SecureSource())
            ):
                encryptor.encrypt(encoding.plaintext(buffer, item), ciphertext)
                c0, c1 = self._wire.split(buffer, ciphertext)
                body[index * size : (index + 1) * size] = self._wire.pack(c0)
                mask[index * size : (index + 1) * size] = self._wire.pack(c1)
                clipped += saturated
        return clipped

    def carrying(self, updates: Sequence[SparseUpdate]) -> UpdateCodec:
        """See :class:`UpdateCodec`."""
        made = copy.copy(self)
        made._encoding = self._encoding.carrying(updates)
        return made

    def mask_bytes(self, length: int) -> int:
        """Return a packed polynomial per ciphertext."""
        return self.body_bytes(length)

    def check_mask(self, mask: Buffer, length: int) -> None:
        """Refuse a mask with a residue that is not below its prime, mostly by its highest bits."""
        check_polynomials(self._wire, mask, self._encoding.plaintexts(positive(length)))

    def body_bytes(self, length: int) -> int:
        """Return a packed polynomial per ciphertext."""
        return self._wire.polynomial_bytes * self._encoding.plaintexts(length)

    def aggregator(self, length: int, source: RandomSource | None = None) -> Aggregator:
        """See :class:`UpdateCodec`."""
        return CommitteeAggregator(self._encoding, self.holders, length, source or SecureSource())

    def holder(self, folder: Path) -> Holder:
        """See :class:`UpdateCodec`."""
        share = load_share(folder, self._encoding.parameters, self.holders)
        digest = codec_digest(self._encoding, self.holders, self.smudge_log2, share.digest)
        return CommitteeHolder(self._encoding, share, self.smudge_log2, digest, folder)

    def member(
        self, folder: Path, number: int, run_id: bytes, signer: SigningKey, enrolment: Enrolment
    ) -> CommitteeMember:
        """Return holder ``number``'s side of making the key."""
        ceremony = Ceremony(self._encoding.parameters, self.holders, run_id, enrolment)
        return CommitteeMember(folder, number, ceremony, signer)

    def with_public_key(self, data: Buffer, run_id: bytes, enrolment: Enrolment) -> UpdateCodec:
        """See :class:`UpdateCodec`."""
        ceremony = Ceremony(self._encoding.parameters, self.holders, run_id, enrolment)
        joint = check_joint_key(data, ceremony)
        return CommitteeCodec(self._encoding, self.holders, self.smudge_log2, joint)


class CommitteeAggregator(BodyAggregator):
    """Adds c0, and the holders' answers to it."""

    def __init__(self, encoding: Encoding, holders: int, length: int, source: RandomSource) -> None:
        """Start from zero."""
        super().__init__(encoding, length, source)
        self._holders = holders

    def open(self, answers: Sequence[Buffer]) -> NDArray[np.float64]:
        """Round c0 + d_1 + ... + d_N to the sum."""
        if not self.count:
            raise SumError("too_few_clients", "nothing was added")
        if len(answers) != self._holders:
            raise SumError("malformed", f"{len(answers)} answers, {self._holders} expected")
        encoding, wire = self._encoding, self._encoding.wire()
        size, block = wire.polynomial_bytes, encoding.values_per_plaintext
        ring, bodies = Ring(encoding.parameters), self.finished().total
        total = np.empty(self.length, np.float64)
        try:
            views = [require_size(answer, len(bodies) * size) for answer in answers]
            with SealBuffer() as buffer:
                for index, body in enumerate(bodies):
                    phase = np.zeros_like(body)
                    for view in views:
                        add(phase, wire.unpack(view[index * size : (index + 1) * size]), wire.moduli)
                    if encoding.scheme == "ckks":
                        phase = ring.to_ntt(buffer, phase)
                    add(phase, body, wire.moduli)
                    part = total[index * block : (index + 1) * block]
                    plaintext = encoding.from_phase(buffer, phase)
                    part[:] = encoding.values(buffer, plaintext, self.count, len(part))
        except (PayloadError, SealDataError) as error:
            raise SumError("malformed", f"answer: {error}") from error
        except ValueError as error:
            raise SumError("not_a_sum", f"{error}; wrong shares, other clients, or tampered") from error
        return total


class CommitteeHolder(Holder):
    """Answers d_j = c1 s_j + r_j for the sum of the c1 it was shown, in coefficients."""

    def __init__(
        self, encoding: Encoding, share: KeyShare, smudge_log2: int, digest: bytes, folder: Path
    ) -> None:
        """Hold the share, which is in ``folder``."""
        self._folder = folder
        self._encoding, self._share, self._smudge_log2, self.digest = encoding, share, smudge_log2, digest

    def require(self, run_id: bytes, number: int) -> None:
        """See :class:`Holder`."""
        self._share.require(run_id, number)

    def forget(self) -> None:
        """See :class:`Holder`."""
        forget_share(self._folder)

    def open(self, masks: Sequence[Buffer], body_sum: Buffer, length: int) -> bytes:
        """See :class:`Holder`; ``body_sum`` is not needed."""
        encoding, wire = self._encoding, self._encoding.wire()
        ring, count = Ring(encoding.parameters), encoding.plaintexts(positive(length))
        if not masks:
            raise SumError("too_few_clients", "no masks")
        require_size(body_sum, 0)
        total = PolynomialSum(wire, count)
        for mask in masks:
            total.add(mask)
        size, ntt = wire.polynomial_bytes, encoding.scheme == "ckks"
        out = FixedBytes(count * size)
        try:
            with SealBuffer() as buffer:
                factor = ring.factor(buffer, self._share.secret)
                for index, polynomial in enumerate(total.total):
                    answer = ring.times(buffer, polynomial, factor, ntt)
                    add(answer, smudging(self._smudge_log2, wire.moduli, ring.degree), wire.moduli)
                    out.view[index * size : (index + 1) * size] = wire.pack(answer)
        except SealDataError as error:
            raise SumError("malformed", str(error)) from error
        return out.take()


def codec_digest(encoding: Encoding, holders: int, smudge_log2: int, key: bytes | None) -> bytes:
    """Return what :attr:`UpdateCodec.digest` is for a committee."""
    fields = [
        "committee",
        holders,
        smudge_log2,
        encoding.parameters.fingerprint.hex(),
        key.hex() if key else None,
    ]
    text = json.dumps([*fields, encoding.fields], sort_keys=True)
    return hashlib.sha256(b"fedpriv-codec-2" + text.encode()).digest()


def plan_committee(
    holders: int,
    bits: int,
    max_clients: int,
    values_per_slot: int | None,
    value_range: float,
    smudging_bits: int,
    client_noise_bound: int = 0,
    server_noise_bound: int = 0,
    noise_from: NoiseFrom = "noise_multiplier",
) -> tuple[PackingPlan, SealParameters, int]:
    """Choose packing, parameters and smudging for the fewest bytes per coordinate.

    The noise bound B of a sum (:func:`public_key_noise`), the N smudgings of width
    2^w >= 2^(smudging_bits + 1) B and the plaintext must fit the modulus: B + N 2^(w-1) <= q / (2t).

    Returns:
        The packing, the parameters, and w.

    Raises:
        UserError: when nothing at 128-bit security carries them.
    """
    noise = public_key_noise(max_clients, DEGREE, holders)
    width = smudging_log2(noise, smudging_bits)
    reach = math.log2(noise + holders * 2.0 ** (width - 1))

    def packing(per_slot: int | None) -> PackingPlan:
        return plan_packing(
            bits,
            max_clients,
            per_slot,
            value_range,
            slots=DEGREE,
            capacity_bits=_LARGEST_PLAIN,
            client_noise_bound=client_noise_bound,
            server_noise_bound=server_noise_bound,
            noise_from=noise_from,
        )

    def moduli(plan: PackingPlan) -> Iterator[tuple[float, SealParameters]]:
        needed = math.log2(plan.plain_modulus) + 1 + reach
        # a third prime costs time: it must save more than a twentieth of the bytes
        for primes, dearer in ((2, 1.05), (3, 1.1)):
            # a prime of b bits may be a little below 2^b
            each = max(math.ceil(needed / primes + 0.01), SHORTEST_PRIME)
            if each <= _LONGEST_PRIME and (primes + 1) * each <= LONGEST_MODULUS[DEGREE]:
                parameters = SealParameters(plan.plain_modulus, DEGREE, (each,) * (primes + 1))
                yield primes * each * dearer, parameters

    try:
        return *cheapest(packing, values_per_slot, moduli), width
    except LookupError:
        raise UserError(
            f"secure.bits={bits} with secure.smudging_bits={smudging_bits}, secure.holders={holders} and "
            f"federation.clients={max_clients}: do not fit a modulus of 128-bit security; lower "
            "secure.smudging_bits or secure.bits"
        ) from None
