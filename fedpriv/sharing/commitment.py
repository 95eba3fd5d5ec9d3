"""A commitment to a payload: SHA-256(salt || payload).

It stands in the clear header of every share, so that shares of two payloads cannot be mixed, and the
salt travels inside every sealed share: without it the hash tells nothing, not even whether a guessed
image is the right one.
"""

import hashlib
import hmac

SALT_BYTES = 32
COMMITMENT_BYTES = 32


def commit(salt: bytes, payload: bytes) -> bytes:
    """Return SHA-256(salt || payload).

    Guarantee:
        - Binding: another payload with the same commitment is a collision of SHA-256.
        - Hiding, as long as the 32-byte salt is random, secret and used once.

    Raises:
        ValueError: for a salt of another size, since the boundary to the payload would move.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt of {len(salt)} bytes, {SALT_BYTES} are needed")
    return hashlib.sha256(salt + payload).digest()


def opens(commitment: bytes, salt: bytes, payload: bytes) -> bool:
    """Tell whether ``commitment`` is the one to ``payload`` under ``salt``."""
    return hmac.compare_digest(commitment, commit(salt, payload))
