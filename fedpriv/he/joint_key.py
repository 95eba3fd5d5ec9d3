"""A public key that N holders make together, so that nobody ever has its secret key.

The secret key is s = s_1 + ... + s_N, each s_j ternary and known to holder j alone; the public key is
(b, a) with b = b_1 + ... + b_N and b_j = -(a s_j + e_j) (threshold key generation as in Asharov et al.,
EUROCRYPT 2012, section 3; Mouchet et al., eprint 2020/304, section 4). a is expanded from a hash of the run,
so that nobody chooses it. Three steps, relayed by the server, which nobody has to trust:

    commit    H(b_j, nonce), signed: nobody can choose a share after having seen the others'
    reveal    b_j and nonce
    endorse   each holder checks all commitments, adds, and signs the joint key; clients encrypt only
              under a key that every enrolled holder has signed for this run

Security: RLWE at 128 bits for each honest s_j, whatever the others choose. Edge: the last to reveal can
refuse, which stops the run; a holder that lies about its share spoils the sums.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.codec import Buffer, KeyRefused
from fedpriv.he.identity import SIGNATURE_BYTES, Enrolment, SigningKey, verify
from fedpriv.he.key_files import read_private, write_private
from fedpriv.he.parameters import SealParameters, key_primes, seal_context
from fedpriv.he.ring import add, expand, multiply, negate
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.wire import CiphertextWire, Words

Step = Literal["commit", "reveal", "endorse"]
STEPS: tuple[Step, ...] = ("commit", "reveal", "endorse")
SHARE_FILE = "share.key"

_DRAFT_FILE, _COMMITMENTS_FILE = "share.draft", "commitments"
_NONCE_BYTES = 32
_HASH_BYTES = 32
_SHARE = struct.Struct("<8sI16sII32s32s")
_MAGIC = b"FPSHARE\0"
_VERSION = 1


@dataclass(frozen=True)
class Ceremony:
    """What all parties of one key know before it is made.

    Attributes:
        parameters: of the scheme.
        holders: N.
        run_id: 16 bytes.
        enrolment: who the holders are.
    """

    parameters: SealParameters
    holders: int
    run_id: bytes
    enrolment: Enrolment

    def __post_init__(self) -> None:
        """Check the run and that every holder is enrolled."""
        if len(self.run_id) != 16:
            raise ValueError(f"run_id: {len(self.run_id)} bytes, 16 expected")
        surplus = sorted(set(self.enrolment.keyholders) - set(range(self.holders)))
        if surplus:
            raise UserError(
                f"secure.holders={self.holders}: key holder {surplus[0]} is enrolled too, and some of the "
                "holders must not make a key alone; set secure.holders to their number"
            )
        missing = sorted(set(range(self.holders)) - set(self.enrolment.keyholders))
        if missing:
            raise UserError(
                f"secure.holders={self.holders}: key holder {missing[0]} is not enrolled; "
                "enrol it or lower secure.holders"
            )

    @property
    def wire(self) -> CiphertextWire:
        """How key polynomials travel."""
        return CiphertextWire(self.parameters, level="key")

    @property
    def common(self) -> Words:
        """a, in the NTT domain, (L + 1, N): anybody computes it, nobody chooses it."""
        seed = b"fedpriv-common-1" + self.parameters.fingerprint + self.run_id
        return expand(seed, key_primes(self.parameters)[:, np.newaxis], self.parameters.poly_degree)

    def statement(self, step: str, number: int, content: bytes) -> bytes:
        """Return what a holder signs."""
        head = f"fedpriv-joint-key-1 {step}\0".encode() + struct.pack(
            "<16sII", self.run_id, self.holders, number
        )
        return head + self.enrolment.digest + self.parameters.fingerprint + content

    def commitment(self, number: int, share: Buffer, nonce: Buffer) -> bytes:
        """Return H(share, nonce), bound to run and holder."""
        return hashlib.sha256(self.statement("commitment", number, bytes(nonce)) + bytes(share)).digest()

    def require_signed(self, step: str, number: int, content: bytes, signature: bytes) -> None:
        """Refuse what holder ``number`` has not signed.

        Raises:
            KeyRefused: ``forged``.
        """
        public = self.enrolment.keyholders[number]
        if not verify(public, self.statement(step, number, content), signature):
            raise KeyRefused("forged", f"{step} of key holder {number} is not signed by it")


class CommitteeMember:
    """One holder's side of making the key; what it must remember between the steps is in its folder, 0600.

    Guarantee:
        - Its share is drawn here, from the operating system's randomness, and never leaves the folder.
        - It endorses a key only if every holder's share is the one committed to before any was shown.
        - It answers each step once per run: a second, other set of commitments is refused.
    """

    def __init__(self, folder: Path, number: int, ceremony: Ceremony, signer: SigningKey) -> None:
        """Serve holder ``number``, whose secrets lie in ``folder``."""
        self._folder, self._number, self._ceremony, self._signer = folder, number, ceremony, signer
        self._size = ceremony.wire.polynomial_bytes

    def step(self, step: str, blobs: Sequence[Buffer]) -> bytes:
        """Take the next step and return what the other parties need of it.

        Args:
            step: ``commit``, ``reveal`` or ``endorse``.
            blobs: what all holders returned in the step before, in the order of their numbers; first nothing.

        Raises:
            KeyRefused: when a blob does not check, or the steps come in another order.
            UserError: when the folder cannot be used.
        """
        if step == "commit" and not blobs:
            return self._commit()
        if step in ("reveal", "endorse") and len(blobs) == self._ceremony.holders:
            return self._reveal(blobs) if step == "reveal" else self._endorse(blobs)
        raise KeyRefused("malformed", f"step {step[:20]!r} with {len(blobs)} blobs")

    def _commit(self) -> bytes:
        ceremony, context = self._ceremony, seal_context(self._ceremony.parameters)
        # also what a run that broke off has left
        for name in (SHARE_FILE, f"*.{_DRAFT_FILE}", f"*.{_COMMITMENTS_FILE}"):
            for old in self._folder.glob(name):
                old.unlink()
        primes = ceremony.wire.moduli
        generator, public = sealapi.KeyGenerator(context), sealapi.PublicKey()
        generator.create_public_key(public)
        with SealBuffer() as buffer:
            body = buffer.dump(generator.secret_key(), ceremony.parameters.key_bytes)
            secret = np.frombuffer(body, "<u8")[-primes.size * ceremony.parameters.poly_degree :]
            secret = secret.reshape(primes.size, -1)
            # SEAL's own key pair has its fresh error in it: e = -(b' + a' s)
            error, own = (part.copy() for part in ceremony.wire.split(buffer, public))
            add(error, multiply(own, secret, primes), primes)
            share = multiply(ceremony.common, secret, primes)
            add(share, negate(error, primes), primes)
            packed = ceremony.wire.pack(negate(share, primes))
        nonce = os.urandom(_NONCE_BYTES)
        write_private(
            self._folder / self._name(_DRAFT_FILE), nonce + packed + secret.tobytes(), durable=False
        )
        commitment = ceremony.commitment(self._number, packed, nonce)
        return commitment + self._signer.sign(ceremony.statement("commit", self._number, commitment))

    def _reveal(self, blobs: Sequence[Buffer]) -> bytes:
        commitments = []
        for number, blob in enumerate(blobs):
            if len(blob) != _HASH_BYTES + SIGNATURE_BYTES:
                raise KeyRefused("malformed", f"commitment of key holder {number} has {len(blob)} bytes")
            content, signature = bytes(blob[:_HASH_BYTES]), bytes(blob[_HASH_BYTES:])
            self._ceremony.require_signed("commit", number, content, signature)
            commitments.append(content)
        nonce, share, _ = self._draft()
        if commitments[self._number] != self._ceremony.commitment(self._number, share, nonce):
            raise KeyRefused("wrong_commitment", "mine is not the one that I made")
        path, text = self._folder / self._name(_COMMITMENTS_FILE), b"".join(commitments)
        if not path.exists():
            write_private(path, text, durable=False)
        elif not hmac.compare_digest(read_private(path, len(text)), text):
            raise KeyRefused("wrong_commitment", "others were shown before")
        return nonce + share

    def _endorse(self, blobs: Sequence[Buffer]) -> bytes:
        ceremony, path = self._ceremony, self._folder / self._name(_COMMITMENTS_FILE)
        if not path.exists():
            raise KeyRefused("malformed", "endorse before reveal")
        commitments = read_private(path, _HASH_BYTES * ceremony.holders)
        joint = np.zeros((len(ceremony.wire.moduli), ceremony.parameters.poly_degree), np.uint64)
        for number, blob in enumerate(blobs):
            if len(blob) != _NONCE_BYTES + self._size:
                raise KeyRefused("malformed", f"share of key holder {number} has {len(blob)} bytes")
            nonce, share = memoryview(blob)[:_NONCE_BYTES], memoryview(blob)[_NONCE_BYTES:]
            expected = commitments[number * _HASH_BYTES : (number + 1) * _HASH_BYTES]
            if ceremony.commitment(number, share, nonce) != expected:
                raise KeyRefused("wrong_share", f"key holder {number} committed to another share")
            try:
                add(joint, ceremony.wire.unpack(share), ceremony.wire.moduli)
            except SealDataError as error:
                raise KeyRefused("wrong_share", f"key holder {number}: {error}") from error
        packed = ceremony.wire.pack(joint)
        _, _, secret = self._draft()
        head = _SHARE.pack(
            _MAGIC,
            _VERSION,
            ceremony.run_id,
            self._number,
            ceremony.holders,
            ceremony.parameters.fingerprint,
            key_digest(ceremony, packed),
        )
        content = head + secret
        (self._folder / SHARE_FILE).unlink(missing_ok=True)
        write_private(self._folder / SHARE_FILE, content + hashlib.sha256(content).digest(), durable=False)
        for name in (_DRAFT_FILE, _COMMITMENTS_FILE):
            (self._folder / self._name(name)).unlink()
        signed = ceremony.statement("endorse", self._number, key_digest(ceremony, packed))
        return self._signer.sign(signed) + packed

    def _draft(self) -> tuple[bytes, bytes, bytes]:
        """Return (nonce, packed public share, secret share) of this run."""
        path, words = self._folder / self._name(_DRAFT_FILE), 8 * self._ceremony.wire.moduli.size
        secret_bytes = words * self._ceremony.parameters.poly_degree
        total = _NONCE_BYTES + self._size + secret_bytes
        if not path.exists():
            raise KeyRefused("malformed", "no commitment was asked for")
        data = read_private(path, total)
        if len(data) != total:
            raise UserError(f"{path}: damaged; start the run again")
        middle = _NONCE_BYTES + self._size
        return data[:_NONCE_BYTES], data[_NONCE_BYTES:middle], data[middle:]

    def _name(self, name: str) -> str:
        return f"{self._ceremony.run_id.hex()}.{name}"


@dataclass(frozen=True)
class KeyShare:
    """A holder's share of the secret key, in the NTT domain. Does not show itself.

    Attributes:
        number: of the holder.
        digest: of the joint public key that it belongs to.
        secret: (L, N) uint64, under the data primes.
    """

    number: int
    digest: bytes
    secret: Words

    def __repr__(self) -> str:
        """Show the public part only."""
        return f"KeyShare(number={self.number}, digest={self.digest.hex()})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: shares travel as files."""
        raise TypeError("KeyShare: cannot be pickled or copied; pass the path of its file")


def load_share(folder: Path, parameters: SealParameters, holders: int) -> KeyShare:
    """Read the share that :class:`CommitteeMember` left in ``folder``.

    Raises:
        UserError: when there is none, or it is damaged or of other parameters.
    """
    path, primes = folder / SHARE_FILE, len(parameters.coeff_bits)
    size = _SHARE.size + 8 * primes * parameters.poly_degree + _HASH_BYTES
    data = read_private(path, size)
    content = data[:-_HASH_BYTES]
    if len(data) != size or not hmac.compare_digest(hashlib.sha256(content).digest(), data[-_HASH_BYTES:]):
        raise UserError(f"{path}: damaged key share; start the run again, which makes a new one")
    magic, version, _, number, of, fingerprint, digest = _SHARE.unpack_from(content)
    if (magic, version) != (_MAGIC, _VERSION):
        raise UserError(f"{path}: no key share of this version; start the run again")
    if fingerprint != parameters.fingerprint or of != holders:
        raise UserError(f"{path}: made for other parameters or another committee; start the run again")
    secret = np.frombuffer(content, "<u8", offset=_SHARE.size).reshape(primes, -1)
    return KeyShare(number, digest, secret[:-1].astype(np.uint64))


@dataclass(frozen=True)
class JointKey:
    """A public key that all holders have signed.

    Attributes:
        digest: SHA-256 that names it.
        public: ``sealapi.PublicKey``.
    """

    digest: bytes
    public: object


def assemble(reveals: Sequence[Buffer], endorsements: Sequence[Buffer]) -> bytes:
    """Return the joint key with its endorsements, for clients: what the server passes on.

    Raises:
        KeyRefused: when the holders do not endorse one key.
    """
    keys = {bytes(blob[SIGNATURE_BYTES:]) for blob in endorsements}
    if len(keys) != 1 or len(reveals) != len(endorsements):
        raise KeyRefused("wrong_key", "the key holders endorse different keys")
    return b"".join([*(bytes(blob[:SIGNATURE_BYTES]) for blob in endorsements), keys.pop()])


def check_joint_key(data: Buffer, ceremony: Ceremony) -> JointKey:
    """Return the joint key once every endorsement has been checked.

    Raises:
        KeyRefused: ``malformed`` or ``forged``.
    """
    signatures = ceremony.holders * SIGNATURE_BYTES
    if len(data) != signatures + ceremony.wire.polynomial_bytes:
        raise KeyRefused("malformed", f"joint key of {len(data)} bytes")
    packed = bytes(data[signatures:])
    digest = key_digest(ceremony, packed)
    for number in range(ceremony.holders):
        signature = bytes(data[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES])
        ceremony.require_signed("endorse", number, digest, signature)
    try:
        with SealBuffer() as buffer:
            polynomial = ceremony.wire.unpack(packed)
            public = ceremony.wire.join(buffer, polynomial, ceremony.common, target=sealapi.PublicKey())
    except SealDataError as error:
        raise KeyRefused("malformed", str(error)) from error
    return JointKey(digest, public)


def key_digest(ceremony: Ceremony, packed: Buffer) -> bytes:
    """Return the name of a joint key."""
    return hashlib.sha256(ceremony.statement("key", 0, bytes(packed))).digest()
