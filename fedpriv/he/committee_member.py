"""One key holder's side of making a committee's key, see :mod:`fedpriv.he.ceremony`."""

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.ceremony import Ceremony
from fedpriv.he.codec import Buffer, KeyRefused
from fedpriv.he.identity import SIGNATURE_BYTES, SigningKey
from fedpriv.he.key_files import DRAFT_FILE, SHARE_FILE, read_private, write_private
from fedpriv.he.key_share import save_share
from fedpriv.he.parameters import seal_context
from fedpriv.he.provision import transcript_file
from fedpriv.he.ring import add, multiply, negate
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.transcript import Transcript
from fedpriv.he.wire import Words

_COMMITMENTS_FILE = "commitments"
_NONCE_BYTES = 32
_HASH_BYTES = 32


class CommitteeMember:
    """One holder's side of making the key; what it must remember between the steps is in its folder, 0600.

    Guarantee:
        - Its share is drawn here, from the operating system's randomness, and never leaves the folder.
        - It draws one share per run, over all processes and restarts: the commitment to it is on the
          transcript before anybody has it. A second ``commit`` gets that commitment again, and once the key
          is made, or the draft of its share lost, nothing (``already_made``).
        - It reveals its share to one set of commitments only.
        - It endorses a key only if every holder's share is the one committed to before any was shown.
        - What the server asks of it never takes a finished share away before the next is complete.

    Edge cases:
        - It keeps one share: a run's key, once complete, takes the place of the run's before it, and a run
          that begins removes the drafts of others. A server can so make a holder useless to a run, which
          it can in any case by not asking it; it cannot make it reveal or sign anything twice.
        - A holder that is killed between transcript and draft cannot take part in that run any more.
    """

    def __init__(self, folder: Path, number: int, ceremony: Ceremony, signer: SigningKey) -> None:
        """Serve holder ``number``, whose secrets and transcript lie in ``folder``."""
        self._folder, self._number, self._ceremony, self._signer = folder, number, ceremony, signer
        self._size = ceremony.wire.polynomial_bytes
        self._transcript = Transcript(transcript_file(folder), signer)

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
        ceremony, run_id = self._ceremony, self._ceremony.run_id
        if self._path(DRAFT_FILE).exists():
            nonce, share, _ = self._draft()
            return self._signed_commitment(ceremony.commitment(self._number, share, nonce))
        if self._transcript.has_key(run_id):
            raise KeyRefused("already_made", "this run's share was drawn before")
        share, secret = self._draw()
        nonce = os.urandom(_NONCE_BYTES)
        commitment = ceremony.commitment(self._number, share, nonce)
        if not self._transcript.claim_key(run_id, commitment):
            raise KeyRefused("already_made", "this run's share was drawn meanwhile")
        # what runs that broke off have left, hidden files of a kill while they were written among it
        left = (f"*.{DRAFT_FILE}", f"*.{_COMMITMENTS_FILE}", f".*.{DRAFT_FILE}.*", f".{SHARE_FILE}.*")
        for pattern in left:
            for old in self._folder.glob(pattern):
                old.unlink(missing_ok=True)
        write_private(self._path(DRAFT_FILE), nonce + share + secret.tobytes(), durable=False)
        return self._signed_commitment(commitment)

    def _draw(self) -> tuple[bytes, Words]:
        """Return (b_j packed, s_j), fresh."""
        ceremony, context = self._ceremony, seal_context(self._ceremony.parameters)
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
            return ceremony.wire.pack(negate(share, primes)), secret

    def _signed_commitment(self, commitment: bytes) -> bytes:
        return commitment + self._signer.sign(self._ceremony.statement("commit", self._number, commitment))

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
        path, text = self._path(_COMMITMENTS_FILE), b"".join(commitments)
        if not path.exists():
            write_private(path, text, durable=False)
        elif not hmac.compare_digest(read_private(path, len(text)), text):
            raise KeyRefused("wrong_commitment", "others were shown before")
        return nonce + share

    def _endorse(self, blobs: Sequence[Buffer]) -> bytes:
        ceremony, path = self._ceremony, self._path(_COMMITMENTS_FILE)
        _, _, secret = self._draft()
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
        digest = ceremony.key_digest(packed)
        save_share(self._folder, ceremony, self._number, digest, secret)
        for name in (DRAFT_FILE, _COMMITMENTS_FILE):
            self._path(name).unlink()
        return self._signer.sign(ceremony.statement("endorse", self._number, digest)) + packed

    def _draft(self) -> tuple[bytes, bytes, bytes]:
        """Return (nonce, packed public share, secret share) of this run."""
        path, words = self._path(DRAFT_FILE), 8 * self._ceremony.wire.moduli.size
        secret_bytes = words * self._ceremony.parameters.poly_degree
        total = _NONCE_BYTES + self._size + secret_bytes
        if not path.exists():
            if self._transcript.has_key(self._ceremony.run_id):
                raise KeyRefused("already_made", "this run's share is a draft no more")
            raise KeyRefused("malformed", "no commitment was asked for")
        data = read_private(path, total)
        if len(data) != total:
            raise UserError(f"{path}: damaged; start the run again")
        middle = _NONCE_BYTES + self._size
        return data[:_NONCE_BYTES], data[_NONCE_BYTES:middle], data[middle:]

    def _path(self, name: str) -> Path:
        """Return the file of this run's ``name``."""
        return self._folder / f"{self._ceremony.run_id.hex()}.{name}"
