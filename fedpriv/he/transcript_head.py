"""How far a transcript goes, signed: how many lines it has and the digest of the last of them."""

import json
import os
import struct
from pathlib import Path
from typing import BinaryIO

from fedpriv.errors import UserError
from fedpriv.he.identity import SigningKey, verify
from fedpriv.he.key_files import read_private, sync_folder

_MOST_BYTES = 400


class TranscriptHead:
    """The file ``<name>.head`` beside a transcript, one JSON object.

    Guarantee:
        - It is replaced as a whole, synced, with mode 0600 from its first byte.
        - What is read was signed with the key of the holder that reads it.
    """

    def __init__(self, transcript: Path, signer: SigningKey) -> None:
        """Name the transcript and the key of the holder that it belongs to."""
        self.path = transcript.with_name(f"{transcript.name}.head")
        self._signer = signer

    def read(self) -> tuple[int, str]:
        """Return (lines, SHA-256 of the last of them, 64 hexadecimal digits).

        Raises:
            UserError: when it is damaged, cannot be read, or is not signed by this holder.
        """
        try:
            head = json.loads(read_private(self.path, _MOST_BYTES))
            lines, digest = head["lines"], str(head["sha256"])
            if type(lines) is not int:
                raise ValueError(lines)
            signature = bytes.fromhex(head.get("signature", ""))
            statement = _statement(lines, digest)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
            raise UserError(f"{self.path}: damaged; nothing is opened with this transcript") from None
        if not verify(self._signer.public, statement, signature):
            raise UserError(
                f"{self.path}: is not signed by this key holder, but by another, an earlier version or "
                "nobody; nothing is opened with this transcript"
            )
        return lines, digest

    def write(self, lines: int, digest: str) -> None:
        """Replace it.

        Raises:
            OSError: when it cannot be written.
        """
        signature = self._signer.sign(_statement(lines, digest)).hex()
        text = json.dumps({"lines": lines, "sha256": digest, "signature": signature})
        temporary = self.path.with_name(f".{self.path.name}")
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            write_synced(file, text.encode())
        temporary.rename(self.path)
        sync_folder(self.path.parent)


def write_synced(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file and sync it."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())


def _statement(lines: int, digest: str) -> bytes:
    return b"fedpriv-transcript-1\0" + struct.pack("<Q", lines) + digest.encode()
