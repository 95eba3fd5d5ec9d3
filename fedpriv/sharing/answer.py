"""The sealed answer to one image, and the records in which relays carry answers and refusals.

The answer is sealed under the server-to-client key with the image's number as nonce and
``session || image id || "answer"`` as associated data. Its size is fixed, so that it tells nothing.
One record per envelope: a status byte (0, or a :class:`~fedpriv.sharing.causes.Cause`) and an answer;
where there is none, zeros.
"""

from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.handshake import nonce

ANSWER_BYTES = 512
"""Size of a sealed answer."""
MAX_CONTENT_BYTES = ANSWER_BYTES - 16 - 2
RECORD_BYTES = 1 + ANSWER_BYTES
_NONE = bytes(ANSWER_BYTES)


class Record(NamedTuple):
    """What came back for one envelope.

    Attributes:
        cause: why it was refused; None when it was answered.
        answer: the sealed answer; may stand beside ``already_used``.
    """

    cause: Cause | None
    answer: bytes | None


def seal_answer(cipher: ChaCha20Poly1305, session: bytes, image: bytes, number: int, content: bytes) -> bytes:
    """Return the sealed answer, ``ANSWER_BYTES`` long.

    Guarantee:
        - The caller never seals two answers under one ``number``.

    Raises:
        ValueError: when ``content`` has more than ``MAX_CONTENT_BYTES``.
    """
    if len(content) > MAX_CONTENT_BYTES:
        raise ValueError(f"answer of {len(content)} bytes, at most {MAX_CONTENT_BYTES} fit")
    padded = len(content).to_bytes(2, "big") + content.ljust(MAX_CONTENT_BYTES, b"\0")
    return cipher.encrypt(nonce(number), padded, session + image + b"answer")


def open_answer(cipher: ChaCha20Poly1305, session: bytes, image: bytes, number: int, sealed: bytes) -> bytes:
    """Return the content of a sealed answer.

    Guarantee:
        - Only the server's answer to this very image of this session opens.

    Raises:
        SharingError: ``not_authentic``.
    """
    try:
        padded = cipher.decrypt(nonce(number), sealed, session + image + b"answer")
    except InvalidTag as error:
        raise SharingError(
            Cause.NOT_AUTHENTIC, "answer sealed by another key, or to another image"
        ) from error
    return padded[2 : 2 + int.from_bytes(padded[:2], "big")]


def pack_records(records: list[Record]) -> bytes:
    """Return the records back to back, ``RECORD_BYTES`` each.

    Raises:
        ValueError: when a record has neither cause nor answer, or an answer of another size.
    """
    packed = []
    for cause, answer in records:
        if (cause is None and answer is None) or len(answer or _NONE) != ANSWER_BYTES:
            raise ValueError("a record has a cause or a sealed answer")
        packed.append(bytes([cause or 0]) + (answer or _NONE))
    return b"".join(packed)


def unpack_records(body: bytes, count: int) -> list[Record]:
    """Read the records of ``count`` envelopes, from a relay that may lie.

    Edge cases:
        - A cause that this program does not know is read as ``malformed``.

    Raises:
        SharingError: ``wrong_size`` when there are more or fewer.
    """
    if len(body) != count * RECORD_BYTES:
        raise SharingError(Cause.WRONG_SIZE, f"{len(body)} bytes of records, {count * RECORD_BYTES} expected")
    records = []
    for start in range(0, len(body), RECORD_BYTES):
        status, answer = body[start], body[start + 1 : start + RECORD_BYTES]
        cause = None if not status else Cause(status) if status in _STATUSES else Cause.MALFORMED
        records.append(Record(cause, None if cause and answer == _NONE else answer))
    return records


_STATUSES = frozenset(Cause)
