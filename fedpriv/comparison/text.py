"""Names and reasons that others wrote, as text that cannot do anything."""

from collections.abc import Sequence

LISTED = 6
"""Things that are named one by one in a sentence."""

_LONGEST = 120


def shown(text: str, longest: int = _LONGEST) -> str:
    """Return ``text`` on one line, at most ``longest`` characters, with what is not printable escaped.

    Escaped too are the signs that turn the direction of writing around: none of them is printable.
    """
    folded = " ".join(text.split())
    plain = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in folded)
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."


def listed(things: Sequence[str]) -> str:
    """Return the first :data:`LISTED` things on one line; three dots stand for the others."""
    return ", ".join([*things[:LISTED], *(["..."] if len(things) > LISTED else [])])
