"""Searches recorded bytes for pieces of what must not be there, at any offset."""


def windows(data: bytes, size: int = 12, stride: int = 12) -> set[bytes]:
    """Return pieces of ``data``: whatever holds any ``size + stride - 1`` bytes of it in a row holds one."""
    return {data[at : at + size] for at in range(0, len(data) - size + 1, stride)} - {bytes(size)}


def found_in(seen: bytes, needles: set[bytes]) -> set[bytes]:
    """Return the needles, of one length, that occur in ``seen``."""
    (size,) = {len(each) for each in needles}
    return {piece for at in range(len(seen) - size + 1) if (piece := seen[at : at + size]) in needles}
