"""What a key holder did, in a file that only grows: the memory that makes "once per round" hold.

One JSON object per line. Each line holds the SHA-256 of the line before it (Haber and Stornetta 1991, How to
time-stamp a digital document). A second file beside it, ``<name>.head``, holds how many lines there are and
the digest of the last one, signed by the holder: without it a file cut at the end of a line would look
whole, and without the signature whoever can write both files could make up another chain.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from fedpriv.errors import UserError
from fedpriv.he.identity import SigningKey
from fedpriv.he.transcript_head import TranscriptHead, write_synced

MOST_REFUSALS = 100
"""Refusals of one cause that are written down per run; a note that there were more follows."""

_FIRST = "0" * 64
_MOST_LINE_BYTES = 1 << 24
_EVENTS = ("key", "release", "answer", "failure", "refusal", "torn")


class Transcript:
    """Decisions of one key holder.

    Guarantee:
        - :meth:`claim` is true at most once per run and round, and :meth:`claim_key` once per run, over
          all processes, threads and restarts that use the same file.
        - Only who has the holder's signing key can change a line, take one out or make up another chain.
        - A line is on disk (synced) before the call that writes it returns.
        - It holds no secret: runs, rounds, client numbers, digests of signed headers, of answers and of the
          commitment to a share, causes, times.
        - Its files have mode 0600 from their first byte.
        - Refused requests add at most ``MOST_REFUSALS + 1`` lines per run and cause.

    Edge cases:
        - A changed, missing, added or reordered line is refused, naming the line.
        - A file cut at the end of a line, emptied or removed is refused by its ``.head``.
        - A last line without newline was being written when the machine or process stopped, and its
          writer never got to act on it: it is cut off, and a ``torn`` line says so.
        - A file that others may access, a link, and what is no regular file are refused.
        - A head that is not signed, such as an earlier version's, or by another key is refused.
        - A crash can come between a line and its head, so one line may follow those that are signed for.
          Who can write the file can add that one, and with it use up a round; more are refused.
        - Removing or restoring both files together cannot be noticed: keys are made per run, so
          remove them together with the transcript and never restore them from a copy.
    """

    def __init__(self, path: Path, signer: SigningKey) -> None:
        """Name the file, which appears when it is first used, and the key of its holder."""
        self.path = path
        self._head = TranscriptHead(path, signer)
        self._lines, self._offset, self._last = 0, 0, _FIRST
        self._inode = 0
        self._claimed: set[tuple[str, int]] = set()
        self._keys: set[str] = set()
        self._refusals: Counter[tuple[str, str]] = Counter()

    def answered(self, run_id: bytes, server_round: int) -> bool:
        """Whether the round was claimed, by whichever process.

        Raises:
            UserError: when the file is damaged or cannot be used.
        """
        with self._locked():
            return (run_id.hex(), server_round) in self._claimed

    def claim(
        self, run_id: bytes, server_round: int, clients: Sequence[int], signed: Sequence[bytes | memoryview]
    ) -> bool:
        """Take the round, once and for all, for the sum over ``clients``.

        Args:
            run_id: 16 bytes.
            server_round: round number.
            clients: numbers of the clients in the sum.
            signed: their signed headers, of which the digests are kept.

        Returns:
            False when the round was claimed before; nothing is written then.

        Raises:
            UserError: when the file is damaged or cannot be written.
        """
        with self._locked() as file:
            if (run_id.hex(), server_round) in self._claimed:
                return False
            digests = [hashlib.sha256(header).hexdigest() for header in signed]
            self._append(
                file, "release", run=run_id.hex(), round=server_round, clients=list(clients), signed=digests
            )
            return True

    def has_key(self, run_id: bytes) -> bool:
        """Whether a share of the run's key was committed to, by whichever process.

        Raises:
            UserError: when the file is damaged or cannot be used.
        """
        with self._locked():
            return run_id.hex() in self._keys

    def claim_key(self, run_id: bytes, commitment: bytes) -> bool:
        """Take the making of the run's key, once and for all, for the share committed to.

        Returns:
            False when it was claimed before; nothing is written then.

        Raises:
            UserError: when the file is damaged or cannot be written.
        """
        with self._locked() as file:
            if run_id.hex() in self._keys:
                return False
            self._append(file, "key", run=run_id.hex(), commitment=commitment.hex())
            return True

    def note_answer(self, run_id: bytes, server_round: int, answer: bytes) -> None:
        """Write the SHA-256 of what was answered."""
        digest = hashlib.sha256(answer).hexdigest()
        with self._locked() as file:
            self._append(file, "answer", run=run_id.hex(), round=server_round, sha256=digest)

    def note_failure(self, run_id: bytes, server_round: int, cause: str) -> None:
        """Write that a claimed round could not be opened."""
        with self._locked() as file:
            self._append(file, "failure", run=run_id.hex(), round=server_round, cause=cause)

    def note_refusal(self, run_id: bytes, server_round: int, cause: str) -> None:
        """Write that a request was refused, unless as many of that run and cause were written."""
        with self._locked() as file:
            written = self._refusals[run_id.hex(), cause]
            if written < MOST_REFUSALS:
                self._append(file, "refusal", run=run_id.hex(), round=server_round, cause=cause)
            elif written == MOST_REFUSALS:
                self._append(
                    file, "refusal", run=run_id.hex(), round=server_round, cause=cause, further="not written"
                )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Hold the file against every other user of it and bring what is known of it up to date."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            # A lock belongs to this opening of the file, so that it holds between threads as well.
            with os.fdopen(os.open(self.path, flags, 0o600), "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._catch_up(file)
                yield file
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot keep the transcript: {error.strerror}; nothing is opened without it"
            ) from error

    def _catch_up(self, file: BinaryIO) -> None:
        """Check the lines that were added since this object last looked."""
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise UserError(f"{self.path}: not a file of its owner's alone; run chmod 600 on it")
        self._inode = self._inode or status.st_ino
        if self._inode != status.st_ino or status.st_size < self._offset:
            raise UserError(f"{self.path}: replaced or cut while in use; nothing is opened with it")
        if not status.st_size:
            os.fchmod(file.fileno(), 0o600)
        lines, digest = self._read_head(empty=not status.st_size)
        self._check_last(lines, digest)
        torn = b""
        file.seek(self._offset)
        with os.fdopen(file.fileno(), "rb", closefd=False) as reader:
            while line := reader.readline(_MOST_LINE_BYTES):
                if not line.endswith(b"\n"):
                    torn = line
                    break
                self._take(line)
                self._check_last(lines, digest)
        if self._lines < lines:
            raise UserError(f"{self.path}: {self._lines} lines of {lines}: cut; nothing is opened with it")
        if self._lines > lines + 1:
            raise self._damaged(lines + 2)
        if torn:
            self._cut_off(file, torn)
        elif self._lines > lines:
            self._head.write(self._lines, self._last)

    def _take(self, line: bytes) -> None:
        """Check one line against the chain and remember what it says."""
        try:
            entry = json.loads(line)
            if entry["previous"] != self._last or entry["event"] not in _EVENTS:
                raise ValueError
            if entry["event"] == "release":
                self._claimed.add((entry["run"], entry["round"]))
            elif entry["event"] == "key":
                self._keys.add(entry["run"])
            elif entry["event"] == "refusal":
                self._refusals[entry["run"], entry["cause"]] += 1
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._damaged(self._lines + 1) from None
        self._last = hashlib.sha256(line).hexdigest()
        self._lines += 1
        self._offset += len(line)

    def _check_last(self, lines: int, digest: str) -> None:
        """Compare with the head where it points: the chain itself says nothing of its last line."""
        if self._lines == lines and self._last != digest:
            raise self._damaged(lines)

    def _damaged(self, line: int) -> UserError:
        return UserError(f"{self.path}: line {line}: damaged; nothing is opened with this transcript")

    def _cut_off(self, file: BinaryIO, torn: bytes) -> None:
        """Take away a line that its writer never finished, and say so."""
        if os.fstat(file.fileno()).st_size != self._offset + len(torn):
            raise self._damaged(self._lines + 1)
        file.truncate(self._offset)
        self._append(file, "torn", bytes=len(torn), sha256=hashlib.sha256(torn).hexdigest())

    def _append(self, file: BinaryIO, event: str, **facts: Any) -> None:
        """Write one line and sync it; then the head, which may lag behind but never run ahead."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"previous": self._last, "time": time, "event": event, **facts}
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        write_synced(file, line)
        self._take(line)
        self._head.write(self._lines, self._last)

    def _read_head(self, empty: bool) -> tuple[int, str]:
        """Return how many lines there must be at least, and the digest of the last of them."""
        if not self._head.path.exists():
            if not empty:
                raise UserError(f"{self._head.path}: missing; nothing is opened with a transcript without it")
            self._head.write(self._lines, self._last)
        return self._head.read()
