"""A result on its way from the server to the key holder, through the caller who asked.

Layout: Ed25519 signature of the server 64 bytes, bytes of the header u32 little-endian, the header, a JSON
object, then the question, a cipher set. The signature is over all that follows it.
"""

import hashlib
import struct
from dataclasses import asdict, dataclass
from json import dumps

from fedpriv.errors import UserError
from fedpriv.he.identity import SIGNATURE_BYTES, SigningKey, verify
from fedpriv.he.strict_json import parse_object

KINDS = ("verify", "identify", "scores")

_SIGNED = b"fedpriv-faces-ticket-1\0"
_SIZE = struct.Struct("<I")
_MOST_HEADER = 4096


@dataclass(frozen=True)
class Ticket:
    """What the server says of a result.

    Attributes:
        kind: ``verify``, ``identify`` or ``scores``.
        caller: for whom it was computed.
        person: id of who is claimed, for ``verify``; else "".
        threshold: that the scores were compared with.
        made_ms: when, in milliseconds since 1970.
        request: name of the request that it answers, see :func:`~fedpriv.faces.signing.request_name`: the key
            holder repeats it to the caller, who knows by it that this is the answer to its own question.
    """

    kind: str
    caller: str
    person: str
    threshold: float
    made_ms: int
    request: str

    def seal(self, question: bytes, server: SigningKey) -> bytes:
        """Return the ticket with its question, signed."""
        header = dumps(asdict(self), sort_keys=True).encode()
        content = _SIZE.pack(len(header)) + header + question
        return server.sign(_SIGNED + hashlib.sha256(content).digest()) + content


def open_ticket(data: bytes, server: bytes) -> tuple[Ticket, bytes]:
    """Return the ticket that ``data`` is, and its question.

    Guarantee:
        - Nothing of it is looked at before the server's signature was found to be on it.

    Args:
        data: as it came.
        server: the server's Ed25519 key.

    Raises:
        UserError: when the server did not sign it, or it is no ticket.
    """
    signature, content = data[:SIGNATURE_BYTES], memoryview(data)[SIGNATURE_BYTES:]
    if not verify(server, _SIGNED + hashlib.sha256(content).digest(), signature):
        raise UserError("ticket: not signed by the server of this gallery; ask that one")
    size = _SIZE.unpack_from(content)[0] if len(content) >= _SIZE.size else _MOST_HEADER + 1
    if size > min(_MOST_HEADER, len(content) - _SIZE.size):
        raise UserError("ticket: has no header; ask the server again")
    end = _SIZE.size + size
    found = parse_object("ticket", bytes(content[_SIZE.size : end]), "ticket")
    types = {
        "kind": str,
        "caller": str,
        "person": str,
        "threshold": float,
        "made_ms": int,
        "request": str,
    }
    if {name: type(value) for name, value in found.items()} != types or found["kind"] not in KINDS:
        raise UserError("ticket: says other things than tickets of this version do; ask the server again")
    return Ticket(**found), bytes(content[end:])


def ticket_name(data: bytes) -> str:
    """Return the SHA-256 of a ticket: it is opened once under it."""
    return hashlib.sha256(data).hexdigest()
