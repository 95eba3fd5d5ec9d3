"""Envelopes around any mask and body."""

from fedpriv.he.envelope import Draft, Header
from fedpriv.he.identity import SigningKey


def seal(header: Header, mask: bytes, body: bytes, key: SigningKey) -> bytes:
    """Return the envelope of a copy of mask and body."""
    draft = Draft(len(mask), len(body))
    draft.mask[:], draft.body[:] = mask, body
    return draft.seal(header, key)
