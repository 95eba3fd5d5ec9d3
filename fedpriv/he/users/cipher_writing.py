"""Writing cipher sets, one ciphertext at a time; the layout is in :mod:`fedpriv.he.users.cipher_heads`."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from types import TracebackType

from fedpriv.errors import UserError
from fedpriv.he.identity import SigningKey
from fedpriv.he.key_files import sync_folder
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.cipher_heads import SIGNED, CipherHead
from fedpriv.uninterrupted import uninterrupted


class CipherStream:
    """Produces a cipher set piece by piece, for whatever carries it: head, each body, tail."""

    def __init__(self, head: CipherHead, signer: SigningKey | None = None) -> None:
        """Begin a set.

        Args:
            head: what it says of itself.
            signer: the owner's key, if ``head.signed``.

        Raises:
            ValueError: when there is a signer and the head says unsigned, or the other way round.
        """
        if head.signed != (signer is not None):
            raise ValueError("signer: needed if, and only if, the head says signed")
        self._head, self._signer = head, signer
        self._digest, self._done = hashlib.sha256(), 0
        self._size = Bodies(head.set, head.shape).size

    def head(self) -> bytes:
        """Return header and metadata."""
        return self._counted(self._head.to_bytes())

    def body(self, body: bytes) -> bytes:
        """Return a packed ciphertext as it is to be sent.

        Raises:
            ValueError: when it has another size, or there is one too many.
        """
        if len(body) != self._size or self._done == self._head.count:
            raise ValueError(
                f"body {self._done}: {len(body)} bytes, {self._head.count} of {self._size} expected"
            )
        self._done += 1
        return self._counted(body)

    def tail(self) -> bytes:
        """Return signature or checksum.

        Raises:
            ValueError: when ciphertexts are missing.
        """
        if self._done != self._head.count:
            raise ValueError(f"{self._done} ciphertexts, the head says {self._head.count}")
        digest = self._digest.digest()
        return digest if self._signer is None else self._signer.sign(SIGNED + digest)

    def _counted(self, data: bytes) -> bytes:
        self._digest.update(data)
        return data


class CipherWriter:
    """Writes a cipher set to a file; use it in ``with``.

    Guarantee:
        - It appears under its name complete and synced to disk, or not at all; an exception in the block, a
          missing ciphertext or a kill leaves nothing there (a kill leaves a hidden ``.NAME.*`` beside it).
        - An existing file is left alone unless ``replace``, and then replaced at once.
    """

    def __init__(
        self, path: Path, head: CipherHead, signer: SigningKey | None = None, replace: bool = False
    ) -> None:
        """Say where and what; see :class:`CipherStream`."""
        self._path, self._replace = path, replace
        self._stream = CipherStream(head, signer)
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")

    def write(self, body: bytes) -> None:
        """Append a packed ciphertext.

        Raises:
            ValueError: as :meth:`CipherStream.body`.
            UserError: when it cannot be written.
        """
        self._put(self._stream.body(body))

    def __enter__(self) -> "CipherWriter":
        """Create the hidden file and write the header."""
        if not self._replace and self._path.exists():
            raise UserError(f"{self._path}: exists already; choose another name")
        try:
            with uninterrupted():  # between the file and its name here
                self._file = self._temporary.open("xb")
            self._put(self._stream.head())
        except OSError as error:
            raise self._refusal(error) from error
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the complete file its name, or remove it."""
        try:
            if kind is None:
                self._put(self._stream.tail())
                self._publish()
        finally:
            self._discard()

    def _publish(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._replace:
                self._temporary.rename(self._path)
            else:
                # a hard link fails where the name exists; a rename would replace what appeared meanwhile
                os.link(self._temporary, self._path)
            sync_folder(self._path.parent)
        except FileExistsError as error:
            raise UserError(f"{self._path}: exists already; choose another name") from error
        except OSError as error:
            raise self._refusal(error) from error

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._refusal(error) from error

    def _discard(self) -> None:
        # what is buffered may not fit on a full disk either
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _refusal(self, error: OSError) -> UserError:
        return UserError(f"{self._path}: cannot write: {error.strerror}; choose another folder")
