"""What the server does with what it is sent: bytes in, bytes out."""

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.he.pictures.difference import subtracted
from fedpriv.he.pictures.packing import ValuePacking
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.imagediff.protocol import PART, ReferenceHead
from fedpriv.imagediff.store import ReferenceStore


class UnknownKey(UserError):
    """The public key has to be sent first."""


class NotServed(UserError):
    """The server serves certain keys only, and this is none of them."""


class DifferenceServer:
    """What the routes do, without HTTP: bytes in, bytes out; from any thread; ciphertexts only."""

    def __init__(self, store: ReferenceStore, most_keys: int, only: Iterable[Path] = ()) -> None:
        """Read the keys that are served.

        Args:
            store: of references.
            most_keys: in memory; those not used for longest go, and their owners send them again.
            only: files of public keys, none for anybody's.

        Raises:
            UserError: when one cannot be read.
        """
        self._store, self._most_keys, self._lock = store, most_keys, threading.Lock()
        self._keys: OrderedDict[str, Evaluation] = OrderedDict()
        self._only = {PublicKeys.load(path, "images").fingerprint for path in only}

    def add_key(self, body: bytes) -> str:
        """Take a public key and return its fingerprint.

        Raises:
            UserError: when it is none, or not for pictures.
            NotServed: when it is not among those served.
        """
        keys = PublicKeys.from_bytes(body, "public key", "images")
        if self._only and keys.fingerprint not in self._only:
            raise NotServed("public key: this server serves other keys only; have its operator add this one")
        with self._lock:
            self._keys[keys.fingerprint] = Evaluation(keys)
            self._keys.move_to_end(keys.fingerprint)
            if len(self._keys) > self._most_keys:
                self._keys.popitem(last=False)
        return keys.fingerprint

    def difference(self, key: str, body: bytes) -> bytes:
        """Return the differences second - first of the pairs in a cipher set, as a cipher set.

        Raises:
            UserError: for what is no such set.
        """
        evaluation = self._evaluation(key)
        head, ciphertexts = _read(evaluation, body, "difference", 2 * PART)
        if head.count % 2:
            raise UserError(f"request: {head.count} ciphertexts, pairs expected")
        return _answer(evaluation, head, ciphertexts[::2], ciphertexts[1::2])

    def add_reference(self, key: str, name: str, body: bytes) -> bool:
        """Keep one part of a reference, and tell whether it is complete.

        Raises:
            UserError: for what is no such part; :class:`Outdated` and :class:`StoreFull` are the store's.
        """
        evaluation = self._evaluation(key)
        reader = _reader(evaluation, body, "reference", PART)
        head = ReferenceHead.read("request", reader.head.metadata)
        if head.name != name:
            raise UserError(f"request: a part of {head.name}, sent as one of {name}")
        values, size = head.rows * head.columns * head.channels, ValuePacking(evaluation.set)
        ciphertexts = size.ciphertexts(values)
        expected = min(PART, ciphertexts - head.part * PART)
        if head.parts != -(-ciphertexts // PART) or reader.head.count != expected:
            raise UserError(f"request: {reader.head.count} ciphertexts in part {head.part} of {head.parts}")
        for _ in reader.bodies():
            pass
        return self._store.add(key, head, body)

    def reference(self, key: str, name: str) -> ReferenceHead:
        """Return what the owner said of a reference, in its first part.

        Raises:
            NoReference: when there is none.
        """
        reader = _reader(self._evaluation(key), self._store.part(key, name, 0), "reference", PART)
        return ReferenceHead.read("reference", reader.head.metadata)

    def changes(self, key: str, name: str, body: bytes) -> bytes:
        """Return the differences of what is sent, minus the reference's part, as a cipher set.

        Raises:
            NoReference: when there is none, or another version.
            UserError: for what does not fit it.
        """
        evaluation = self._evaluation(key)
        head, seconds = _read(evaluation, body, "changes", PART)
        wanted = ReferenceHead.read("request", head.metadata)
        if wanted.name != name:
            raise UserError(f"request: compares with {wanted.name}, sent for {name}")
        kept = self._store.part(key, name, wanted.part, wanted.made)
        of_kept, firsts = _read(evaluation, kept, "reference", PART)
        if ReferenceHead.read("reference", of_kept.metadata).shape != wanted.shape or len(firsts) != len(
            seconds
        ):
            raise UserError(f"reference {name}: is of another size")
        return _answer(evaluation, head, firsts, seconds)

    def forget(self, key: str, name: str, body: bytes) -> None:
        """Delete a reference at its owner's word.

        Raises:
            NoReference: when there is none, or another version.
            UserError: when the request is not the owner's, or for another reference.
        """
        head, _ = _read(self._evaluation(key), body, "delete", 0)
        wanted = ReferenceHead.read("request", head.metadata)
        if wanted.name != name:
            raise UserError(f"request: deletes {wanted.name}, sent for {name}")
        self._store.forget(key, name, wanted.made)

    def _evaluation(self, key: str) -> Evaluation:
        with self._lock:
            if key not in self._keys:
                raise UnknownKey("key: not known here; send the public key first")
            self._keys.move_to_end(key)
            return self._keys[key]


def _reader(evaluation: Evaluation, body: bytes, purpose: str, most: int) -> CipherReader:
    """Return the reader of a set that its key's owner signed for this purpose."""
    reader = CipherReader(io.BytesIO(body), evaluation.keys, source="request", most=most, require_signed=True)
    if reader.head.metadata.get("for") != purpose:
        raise UserError(
            f"request: made for {str(reader.head.metadata.get('for'))[:20]!r}, not for {purpose!r}"
        )
    return reader


def _read(evaluation: Evaluation, body: bytes, purpose: str, most: int) -> tuple[CipherHead, list[Any]]:
    reader = _reader(evaluation, body, purpose, most)
    return reader.head, list(reader)


def _answer(evaluation: Evaluation, asked: CipherHead, firsts: list[Any], seconds: list[Any]) -> bytes:
    """Return second - first of all pairs, with the number that the request gave itself."""
    found = list(subtracted(evaluation, seconds, firsts))
    if not found:
        raise UserError("request: no ciphertexts")
    head = CipherHead(
        evaluation.set,
        evaluation.keys.fingerprint,
        evaluation.shape(found[0]),
        len(found),
        {"for": "answer", "nonce": str(asked.metadata.get("nonce"))[:64]},
        signed=False,
    )
    stream = CipherStream(head)
    return b"".join([stream.head(), *(stream.body(evaluation.dump(each)) for each in found), stream.tail()])
