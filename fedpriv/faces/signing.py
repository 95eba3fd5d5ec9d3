"""Requests that carry their sender's signature, so that a service knows who asks.

``faces-signature`` = Ed25519 over method, path with query, time and SHA-256 of the body. A signature is good
once, and only while its time is within :data:`SKEW_MS` of the service's clock.
"""

import hashlib
import re
import threading
from collections.abc import Mapping

from fedpriv.errors import UserError
from fedpriv.faces.cards import Caller, Card
from fedpriv.he.identity import SIGNATURE_BYTES, SigningKey, verify

SKEW_MS = 60_000
OWNER = "owner"

_WHO, _TIME, _SIGNATURE = "faces-sender", "faces-time", "faces-signature"
_SIGNED = b"fedpriv-faces-request-1\0"
_MOST_SEEN = 1 << 18
_TIMES = re.compile("[0-9]{1,15}")


class Unsigned(UserError):
    """A request that no known sender signed just now."""


def signed_headers(
    sender: Caller | SigningKey, method: str, path: str, body: bytes, now_ms: int
) -> dict[str, str]:
    """Return the headers of a request.

    Args:
        sender: a caller, or the owner's key.
        method: of HTTP.
        path: with its query.
        body: of the request.
        now_ms: milliseconds since 1970.
    """
    key, who = (sender.key, sender.card.text()) if isinstance(sender, Caller) else (sender, OWNER)
    signature = key.sign(_message(method, path, str(now_ms), body))
    return {_WHO: who, _TIME: str(now_ms), _SIGNATURE: signature.hex()}


class Gatekeeper:
    """Knows the owner and, by their cards, the callers; takes every signature once.

    Edge cases:
        - Started anew it has forgotten which signatures it saw: what a second one can do is bounded
          elsewhere (an enrolment and a ticket are each good once, over any number of starts).
    """

    def __init__(self, verify_key: bytes) -> None:
        """Know the owner by the Ed25519 key of ``public.key``."""
        self._verify_key = verify_key
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def owner(self, headers: Mapping[str, str], method: str, path: str, body: bytes, now_ms: int) -> None:
        """Let the owner pass.

        Raises:
            Unsigned: otherwise.
        """
        if headers.get(_WHO) != OWNER:
            raise Unsigned("only the gallery's owner may ask for this; use the folder with its secret.key")
        self._check(self._verify_key, headers, method, path, body, now_ms)

    def caller(self, headers: Mapping[str, str], method: str, path: str, body: bytes, now_ms: int) -> str:
        """Let a caller pass, and return its number.

        Raises:
            Unsigned: otherwise.
        """
        card = Card.read(headers.get(_WHO, ""), self._verify_key)
        if card is None:
            raise Unsigned("no caller of this gallery's owner; have `fedpriv faces caller` make a card")
        self._check(card.public, headers, method, path, body, now_ms)
        return card.caller

    def _check(
        self, public: bytes, headers: Mapping[str, str], method: str, path: str, body: bytes, now_ms: int
    ) -> None:
        time, text = headers.get(_TIME, ""), headers.get(_SIGNATURE, "")
        if not _TIMES.fullmatch(time) or abs(int(time) - now_ms) > SKEW_MS:
            raise Unsigned(f"signed at another time than now; set the clocks to within {SKEW_MS // 1000} s")
        try:
            signature = bytes.fromhex(text) if len(text) == 2 * SIGNATURE_BYTES else b""
        except ValueError:
            signature = b""
        if not verify(public, _message(method, path, time, body), signature):
            raise Unsigned("the signature does not check; sign this very request with the sender's key")
        self._once(signature.hex(), now_ms)

    def _once(self, signature: str, now_ms: int) -> None:
        with self._lock:
            if signature in self._seen:
                raise Unsigned("this very request was made before; make a new one")
            if len(self._seen) >= _MOST_SEEN:
                self._seen = {each: until for each, until in self._seen.items() if until >= now_ms}
            if len(self._seen) >= _MOST_SEEN:
                raise Unsigned("too many requests within a minute; come again later")
            self._seen[signature] = now_ms + 2 * SKEW_MS


def _message(method: str, path: str, time: str, body: bytes) -> bytes:
    fields = b"".join(field.encode("utf-8", "replace") + b"\0" for field in (method, path, time))
    return _SIGNED + fields + hashlib.sha256(body).digest()
