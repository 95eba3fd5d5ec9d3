"""How the model server knows which relay forwarded a body.

``Relay-Mac`` = HMAC-SHA256(key, name | path | time | SHA-256(body)), each of the texts ended by a zero byte.
It authenticates the relay, not the client: the envelopes are sealed, and a body that is replayed within the
clock's skew holds envelopes that were used.
"""

import hashlib
import hmac
from collections.abc import Mapping

KEY_BYTES = 32
NAME, TIME, MAC = "relay", "relay-time", "relay-mac"


def sign(name: str, key: bytes, path: str, body: bytes, now_ms: int) -> dict[str, str]:
    """Return the headers that authenticate ``body`` as forwarded by relay ``name``."""
    return {NAME: name, TIME: str(now_ms), MAC: _mac(name, key, path, body, str(now_ms))}


def verify(
    headers: Mapping[str, str],
    keys: Mapping[str, bytes],
    path: str,
    body: bytes,
    now_ms: int,
    max_skew_ms: int,
) -> str | None:
    """Return the name of the relay that forwarded ``body``, or None when no enrolled relay did just now.

    Args:
        headers: of the request, by lower-case name; untrusted.
        keys: key by name of relay.
        path: of the request.
        body: of the request.
        now_ms: the server's clock.
        max_skew_ms: how far the relay's clock may be off.
    """
    name, time, mac = headers.get(NAME, ""), headers.get(TIME, ""), headers.get(MAC, "")
    key = keys.get(name)
    if key is None or not (time.isascii() and time.isdigit() and len(time) <= 20):
        return None
    if not mac.isascii() or not hmac.compare_digest(mac, _mac(name, key, path, body, time)):
        return None
    return name if abs(int(time) - now_ms) <= max_skew_ms else None


def _mac(name: str, key: bytes, path: str, body: bytes, time: str) -> str:
    fields = b"".join(field.encode() + b"\0" for field in (name, path, time))
    return hmac.new(key, fields + hashlib.sha256(body).digest(), "sha256").hexdigest()
