"""The key holder's signature on an answer: nobody on the way turns a no into a yes.

It is over what was asked, too: the name of the request and, of ``verify``, the name of the person. So neither
another's id nor another question's ticket, put in its place on the way, comes through.
"""

import hashlib

from fedpriv.he.identity import SIGNATURE_BYTES, SigningKey, verify

SIGNATURE = "faces-answer-signature"
"""Header of the reply."""

_SIGNED = b"fedpriv-faces-answer-1\0"


def sign_answer(owner: SigningKey, ticket: bytes, answer: bytes) -> str:
    """Return the signature of an answer to a ticket, as hexadecimal digits."""
    return owner.sign(_message(ticket, answer)).hex()


def answer_signed(verify_key: bytes, ticket: bytes, answer: bytes, signature: str) -> bool:
    """Whether ``signature`` is the owner's on this answer to this ticket."""
    try:
        data = bytes.fromhex(signature) if len(signature) == 2 * SIGNATURE_BYTES else b""
    except ValueError:
        return False
    return verify(verify_key, _message(ticket, answer), data)


def _message(ticket: bytes, answer: bytes) -> bytes:
    return _SIGNED + hashlib.sha256(ticket).digest() + hashlib.sha256(answer).digest()
