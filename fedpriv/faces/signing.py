"""Requests that carry their sender's signature, so that a service knows who asks.

``faces-signature`` = Ed25519 over method, path with query, time and SHA-256 of the body. A signature is good
once, and only where its time is within :data:`SKEW_MS` of the service's clock when the headers arrive: a body
may take longer. The SHA-256 is sent ahead as ``faces-body``, so that the signature is checked before the body
is received.
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

_WHO, _TIME, _BODY, _SIGNATURE = "faces-sender", "faces-time", "faces-body", "faces-signature"
_SIGNED = b"fedpriv-faces-request-1\0"
_MOST_SEEN = 1 << 18
_TIMES = re.compile("[0-9]{1,15}")
_DIGEST = re.compile("[0-9a-f]{64}")


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
    digest = hashlib.sha256(body).hexdigest()
    signature = key.sign(_message(method, path, str(now_ms), digest))
    return {_WHO: who, _TIME: str(now_ms), _BODY: digest, _SIGNATURE: signature.hex()}


def request_name(method: str, path: str, body: bytes) -> str:
    """Return a SHA-256 of a request, 64 hexadecimal digits: what is asked, whenever it is asked."""
    return hashlib.sha256(_message(method, path, "", hashlib.sha256(body).hexdigest())).hexdigest()


class Gatekeeper:
    """Knows the owner and, by their cards, the callers; takes every signature once.

    ``now_ms`` of its methods is when the headers of the request arrived, in milliseconds since 1970.

    Edge cases:
        - Started anew it has forgotten which signatures it saw: what a second one can do is bounded
          elsewhere (an enrolment and a ticket are each good once, over any number of starts).
    """

    def __init__(self, verify_key: bytes, body_s: float = 0.0) -> None:
        """Know the owner.

        Args:
            verify_key: Ed25519, of ``public.key``.
            body_s: longest that a body takes after its headers: a signature is remembered as much longer.
        """
        self._verify_key, self._kept_ms = verify_key, 2 * SKEW_MS + round(1000 * body_s)
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def announced(self, headers: Mapping[str, str], method: str, path: str, now_ms: int) -> None:
        """Let the body of a request be received: the owner or a caller signed for it just now.

        Who it is, and that it is for the first time, is checked with the body.

        Raises:
            Unsigned: nobody known did.
        """
        public = self._verify_key if headers.get(_WHO) == OWNER else self._card(headers).public
        digest = headers.get(_BODY, "")
        if not _DIGEST.fullmatch(digest):
            raise Unsigned("the body's SHA-256 is not announced; send faces-body")
        self._check(public, headers, method, path, digest, now_ms)

    def owner(self, headers: Mapping[str, str], method: str, path: str, body: bytes, now_ms: int) -> str:
        """Let the owner pass, and return :data:`OWNER`.

        Raises:
            Unsigned: otherwise.
        """
        if headers.get(_WHO) != OWNER:
            raise Unsigned("only the gallery's owner may ask for this; use the folder with its secret.key")
        self._once(
            self._check(self._verify_key, headers, method, path, hashlib.sha256(body).hexdigest(), now_ms),
            now_ms,
        )
        return OWNER

    def caller(self, headers: Mapping[str, str], method: str, path: str, body: bytes, now_ms: int) -> str:
        """Let a caller pass, and return its number.

        Raises:
            Unsigned: otherwise.
        """
        card = self._card(headers)
        self._once(
            self._check(card.public, headers, method, path, hashlib.sha256(body).hexdigest(), now_ms), now_ms
        )
        return card.caller

    def _card(self, headers: Mapping[str, str]) -> Card:
        card = Card.read(headers.get(_WHO, ""), self._verify_key)
        if card is None:
            raise Unsigned("no caller of this gallery's owner; have `fedpriv faces caller` make a card")
        return card

    def _check(
        self, public: bytes, headers: Mapping[str, str], method: str, path: str, digest: str, now_ms: int
    ) -> str:
        """Return the signature that checks."""
        time, text = headers.get(_TIME, ""), headers.get(_SIGNATURE, "")
        if not _TIMES.fullmatch(time) or abs(int(time) - now_ms) > SKEW_MS:
            raise Unsigned(f"signed at another time than now; set the clocks to within {SKEW_MS // 1000} s")
        try:
            signature = bytes.fromhex(text) if len(text) == 2 * SIGNATURE_BYTES else b""
        except ValueError:
            signature = b""
        if not verify(public, _message(method, path, time, digest), signature):
            raise Unsigned("the signature does not check; sign this very request with the sender's key")
        return signature.hex()

    def _once(self, signature: str, now_ms: int) -> None:
        with self._lock:
            if signature in self._seen:
                raise Unsigned("this very request was made before; make a new one")
            if len(self._seen) >= _MOST_SEEN:
                self._seen = {each: until for each, until in self._seen.items() if until >= now_ms}
            if len(self._seen) >= _MOST_SEEN:
                raise Unsigned("too many requests within minutes; come again later")
            self._seen[signature] = now_ms + self._kept_ms


def _message(method: str, path: str, time: str, digest: str) -> bytes:
    fields = b"".join(field.encode("utf-8", "replace") + b"\0" for field in (method, path, time))
    return _SIGNED + fields + bytes.fromhex(digest)
