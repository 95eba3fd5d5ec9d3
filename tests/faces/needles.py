"""Looks for secrets in bytes, in every form that they could have slipped out in."""

import base64
from collections.abc import Iterator, Mapping

import numpy as np

from fedpriv.he.keys import SecretKey
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.keys import UserKeys

_WORD = 8


class Needles:
    """Pieces of ``window`` bytes of some secrets, at every ``step`` bytes of each of their forms.

    What holds window + step - 1 bytes of a form in one piece is found, at any offset.
    """

    def __init__(self, forms: Mapping[str, bytes], window: int, step: int) -> None:
        self._window, self._names = window, dict[bytes, str]()
        for form, data in forms.items():
            for name, text in _written(form, data):
                for start in range(0, len(text) - window + 1, step):
                    piece = text[start : start + window]
                    # zeros and the like stand in every file
                    if len(set(piece)) > 2:
                        self._names.setdefault(piece, name)
        begins = np.frombuffer(b"".join(each[:_WORD] for each in self._names), np.uint64)
        self._begins = np.unique(begins)
        self._likely = np.zeros(1 << 24, bool)
        self._likely[self._begins & np.uint64(0xFFFFFF)] = True

    def __len__(self) -> int:
        return len(self._names)

    def found_in(self, hay: bytes) -> str | None:
        """Return the name of a form that stands in ``hay``, at any offset; None where none does."""
        for offset in range(_WORD):
            words = np.frombuffer(hay, np.uint64, (len(hay) - offset) // _WORD, offset)
            (at,) = np.nonzero(self._likely[words & np.uint64(0xFFFFFF)])
            for index in at[np.isin(words[at], self._begins)]:
                start = offset + _WORD * int(index)
                name = self._names.get(hay[start : start + self._window])
                if name:
                    return name
        return None


def key_forms(keys: UserKeys) -> dict[str, bytes]:
    """Return a secret key as SEAL holds it, as the file packs it and as ternary coefficients; the seed."""
    bodies, secret = KeyBodies(keys.set), keys.secret_key()
    words, packed = bodies.secret_words(secret), bodies.pack_secret(secret)
    ternary = SecretKey(keys.set.seal, bytes(16), secret).coefficients()
    forms = {"seed": keys._seed, "packed": packed}
    for order in "<>":
        forms[f"words {order}"] = words.astype(f"{order}u8").tobytes()
    for kind in ("i1", "<i2", "<i4", "<i8", ">i8", "<f4", "<f8"):
        forms[f"ternary {kind}"] = ternary.astype(kind).tobytes()
    return forms


def embedding_forms(vectors: np.ndarray) -> dict[str, bytes]:
    """Return embeddings, and what the slots hold of them, as floats of any size; by rows and by columns."""
    forms = {}
    for name, values in (("rows", vectors), ("scaled", vectors * 2.0**-8), ("columns", vectors.T)):
        for kind in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
            forms[f"{name} {kind}"] = values.astype(kind).tobytes()
    return forms


def _written(form: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield form, data
    yield f"{form} hex", data.hex().encode()
    yield f"{form} HEX", data.hex().upper().encode()
    for skipped in range(3):
        text = base64.b64encode(data[skipped:])
        yield f"{form} base64", text
        yield f"{form} base64url", text.replace(b"+", b"-").replace(b"/", b"_")
