"""Reading cipher sets, one ciphertext at a time: a gallery of gigabytes needs no memory.

The layout is in :mod:`fedpriv.he.users.cipher_heads`. The bytes of a file are those of a request's body.
"""

import contextlib
import hashlib
import hmac
import os
import stat
from collections.abc import Iterator
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any, BinaryIO

from fedpriv.errors import FormatError, UserError
from fedpriv.he.identity import SIGNATURE_BYTES, verify
from fedpriv.he.sealio import SealDataError
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.cipher_heads import HEAD_BYTES, MAGIC, SIGNED, read_head, read_metadata
from fedpriv.he.users.public_keys import PublicKeys

_DIGEST_BYTES = 32
_CHUNK = 1 << 20


class CipherReader:
    """Reads a cipher set from a stream, one ciphertext in memory at a time.

    Guarantee:
        - The header is checked on construction: magic, version, key, parameters, shape, counts against what
          the caller allows, metadata. Nothing is allocated for what it merely claims.
        - SEAL sees a ciphertext only with every coefficient below its prime, under a frame written here.
        - After the last one, signature or checksum and the end of the stream are checked.

    Edge cases:
        - What has been yielded is authentic only when the iteration has ended: commit nothing before.
        - ``unsigned`` is no authentication: whoever carries it can replace it. So is a signed set that is an
          older one: bind names and dates by the metadata.

    Attributes:
        head: of the set.
    """

    def __init__(
        self,
        stream: BinaryIO,
        keys: PublicKeys,
        *,
        source: object,
        most: int,
        polynomials: tuple[int, ...] = (2,),
        primes: tuple[int, ...] | None = None,
        require_signed: bool = False,
    ) -> None:
        """Read and check the header.

        Args:
            stream: of bytes; it may return fewer than asked for.
            keys: that the set must be under.
            source: names the stream, for messages.
            most: ciphertexts.
            polynomials: of a ciphertext, the numbers that will do.
            primes: levels that will do; None for any.
            require_signed: refuse a set that the owner has not signed.

        Raises:
            FormatError: saying what is wrong, at which byte.
        """
        self._stream, self._keys, self._source = stream, keys, source
        self._digest, self._offset = hashlib.sha256(), 0
        begin = self._exactly(len(MAGIC))
        if begin == MAGIC:  # a short file of another kind is not one that was cut
            begin += self._exactly(HEAD_BYTES - len(MAGIC))
        head, size = read_head(source, begin, keys)
        if head.count > most:
            raise FormatError(source, 96, f"{head.count} ciphertexts, at most {most} allowed")
        if head.shape.polynomials not in polynomials:
            raise FormatError(
                source, 104, f"{head.shape.polynomials} polynomials, {_either(polynomials)} expected"
            )
        if primes is not None and head.shape.primes not in primes:
            raise FormatError(source, 105, f"level of {head.shape.primes} primes, {_either(primes)} expected")
        if require_signed and not head.signed:
            raise FormatError(source, 6, "not signed; its owner's is needed")
        self.head = replaced(head, metadata=read_metadata(source, self._exactly(size)))
        self._bodies, self._begin = Bodies(keys.set, head.shape), self._offset
        self._tail_bytes = SIGNATURE_BYTES if head.signed else _DIGEST_BYTES

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole set if its header tells the truth."""
        return self._begin + self.head.count * self._bodies.size + self._tail_bytes

    def __iter__(self) -> Iterator[Any]:
        """Yield each ``Ciphertext``, once; see the guarantee.

        Raises:
            FormatError: for a set that is cut short, damaged, or followed by anything.
        """
        for body in self._each():
            with self._located():
                ciphertext = self._bodies.unpack(body)
            yield ciphertext

    def bodies(self) -> Iterator[bytes]:
        """Yield each ciphertext packed and checked, but not seen by SEAL; once, instead of the iteration.

        Raises:
            FormatError: as the iteration.
        """
        for body in self._each():
            with self._located():
                self._bodies.check(body)
            yield body

    def verify(self) -> None:
        """Read the whole rest without keeping any, and check signature or checksum; instead of the iteration.

        Raises:
            FormatError: as the iteration, coefficients excepted.
        """
        remaining = self.head.count * self._bodies.size
        while remaining:
            remaining -= len(self._exactly(min(remaining, _CHUNK)))
        self._finish()

    def _each(self) -> Iterator[bytes]:
        for _ in range(self.head.count):
            yield self._exactly(self._bodies.size)
        self._finish()

    def _finish(self) -> None:
        digest, tail = self._digest.digest(), self._exactly(self._tail_bytes)
        if self.head.signed and not verify(self._keys.verify_key, SIGNED + digest, tail):
            raise FormatError(
                self._source, None, "the signature of the key's owner does not check; get it again"
            )
        if not self.head.signed and not hmac.compare_digest(digest, tail):
            raise FormatError(self._source, None, "damaged (its checksum differs); get it again")
        if self._stream.read(1):
            raise FormatError(self._source, self._offset, "followed by other bytes; get it again")

    def _exactly(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            part = self._stream.read(min(missing, _CHUNK))
            if not part:
                raise FormatError(self._source, self._offset + size - missing, "cut short; get it again")
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self._digest.update(data)
        self._offset += size
        return data

    @contextlib.contextmanager
    def _located(self) -> Iterator[None]:
        try:
            yield
        except SealDataError as error:
            raise FormatError(self._source, self._offset - self._bodies.size, str(error)) from error


@contextlib.contextmanager
def open_ciphers(
    path: Path,
    keys: PublicKeys,
    *,
    most: int,
    polynomials: tuple[int, ...] = (2,),
    primes: tuple[int, ...] | None = None,
    require_signed: bool = False,
) -> Iterator[CipherReader]:
    """Open a file as :class:`CipherReader` does a stream.

    Guarantee:
        - The file's size is compared with its header before a ciphertext is read, and its signature or
          checksum is checked before the first one is parsed. The file is read twice for that.

    Edge cases:
        - A folder, a named pipe, a device and a missing file are refused at once.

    Raises:
        FormatError: as :class:`CipherReader`.
        UserError: when it cannot be read.
    """

    def reader(stream: BinaryIO) -> CipherReader:
        return CipherReader(
            stream,
            keys,
            source=path,
            most=most,
            polynomials=polynomials,
            primes=primes,
            require_signed=require_signed,
        )

    with contextlib.ExitStack() as stack:
        try:
            # non-blocking, so that a named pipe is refused and not waited for
            file = stack.enter_context(
                open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
            )
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path}: not a regular file; name the file itself")
            first = reader(file)
            if status.st_size != first.total_bytes:
                cut = "cut short" if status.st_size < first.total_bytes else "followed by other bytes"
                raise FormatError(
                    path,
                    None,
                    f"{status.st_size} bytes, its header says {first.total_bytes}: {cut}; get it again",
                )
            first.verify()
            file.seek(0)
            opened = reader(file)
        except OSError as error:
            raise UserError(f"{path}: cannot read: {error.strerror}; name another") from error
        yield opened


def _either(numbers: tuple[int, ...]) -> str:
    return " or ".join(str(number) for number in numbers)
