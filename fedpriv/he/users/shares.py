"""A secret key split among n key holders, all of whom are needed to decrypt.

The secret s is the sum of n polynomials modulo every prime, the first n - 1 of them uniform: any n - 1 shares
are independent of s. To decrypt (c0, c1), each holder returns d_i = c1 s_i + r_i with smudging r_i, and
c0 + d_1 + ... + d_n is message and noise (Asharov et al., EUROCRYPT 2012; Boneh et al., eprint 2017/956).

Trust: whoever ran the split saw the key, and keeps it unless it is deleted; a key that nobody ever has is
made by :mod:`fedpriv.he.ceremony`, for federated runs. A holder opens whatever ciphertext it answers for: it
must answer for none but those that it was to open.
"""

import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fedpriv.errors import FormatError, UserError
from fedpriv.he.key_files import read_private, write_private
from fedpriv.he.ring import add, multiply, negate, smudging
from fedpriv.he.sealio import SealDataError
from fedpriv.he.users.bodies import polynomials, shape_of
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import OVERHEAD, KeyHead, open_head
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.levels import LevelRing
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys, public_beside
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.sets import SETS, ParameterSet, Purpose
from fedpriv.he.users.shapes import Words
from fedpriv.he.users.smudging_room import require_room, width_log2

SHARE_FILE = "share.key"
MOST_HOLDERS = 100


def split_words(secret: Words, moduli: Words, holders: int) -> list[Words]:
    """Return ``holders`` polynomials whose sum is ``secret`` modulo each prime; all but the last are uniform.

    Args:
        secret: (L, N) residues.
        moduli: (L, 1).
        holders: at least 2.
    """
    shares = [_uniform(moduli, secret.shape[1]) for _ in range(holders - 1)]
    last = secret.copy()
    for share in shares:
        add(last, negate(share, moduli), moduli)
    return [*shares, last]


def split(keys: UserKeys, folder: Path, holders: int) -> list[Path]:
    """Write ``FOLDER/holder-1/share.key`` (0600) and ``public.key``, and so on; return the share files.

    Guarantee:
        - Folders are made, mode 0700, and never reused: one that exists is refused.

    Edge cases:
        - What was written before a failure is taken away again.

    Raises:
        UserError: when the parameters leave no room for smudging, for fewer than 2 or too many holders, and
            when something exists or cannot be written.
    """
    if not keys.set.splits:
        raise UserError(
            f"{keys.set.name}: these parameters leave no room for the noise of several key holders; make a "
            f"key with `fedpriv keys new {keys.set.purpose} --to-split`"
        )
    if not 2 <= holders <= MOST_HOLDERS:
        raise UserError(f"--holders {holders}: choose 2 to {MOST_HOLDERS}")
    secret = KeyBodies(keys.set).secret_words(keys.secret_key())[:-1]
    moduli, public = keys.set.moduli(), keys.public
    rows = RowPacking(moduli, keys.set.seal.poly_degree)
    made: list[Path] = []
    try:
        for number, share in enumerate(split_words(secret, moduli, holders), 1):
            place = folder / f"holder-{number}"
            place.mkdir(mode=0o700)
            made.append(place)
            head = KeyHead("share", keys.set, keys.fingerprint, public.verify_key, number, holders)
            write_private(place / PUBLIC_FILE, public.to_bytes())
            (place / PUBLIC_FILE).chmod(0o644)
            write_private(place / SHARE_FILE, head.seal(rows.pack(share), keys.signer))
    except BaseException as error:
        for place in made:
            for name in (SHARE_FILE, PUBLIC_FILE):
                (place / name).unlink(missing_ok=True)
            place.rmdir()
        if isinstance(error, OSError):
            raise UserError(
                f"{error.filename or folder}: {error.strerror or error}; choose another folder"
            ) from error
        raise
    return [place / SHARE_FILE for place in made]


class UserShare:
    """One holder's share. Does not show itself, is not copied and is not pickled.

    Attributes:
        public: the key that it is a share of.
        number: of the holder, from 1.
        holders: how many there are.
    """

    __slots__ = ("_words", "holders", "number", "public")

    def __init__(self, public: PublicKeys, number: int, holders: int, words: Words) -> None:
        """Hold a checked share; use :meth:`load`."""
        self.public, self.number, self.holders, self._words = public, number, holders, words

    @property
    def set(self) -> ParameterSet:
        """The parameters."""
        return self.public.set

    @classmethod
    def load(cls, path: Path, purpose: Purpose | None = None) -> "UserShare":
        """Read ``share.key``, or the one in a folder, and the ``public.key`` beside it.

        Raises:
            UserError: when it is missing, damaged, open to others, of another purpose or another key.
        """
        file = path / SHARE_FILE if path.is_dir() else path
        largest = OVERHEAD + max(each.seal.key_bytes for each in SETS.values())
        head, body = open_head(file, read_private(file, largest), ("share",), purpose)
        public = public_beside(file, head, purpose)
        try:
            words = RowPacking(head.set.moduli(), head.set.seal.poly_degree).unpack(body)
        except SealDataError:
            raise FormatError(file, None, "damaged share; ask for it again") from None
        return cls(public, head.number, head.holders, words)

    def partial(self, ciphertext: Any, log2_noise: int) -> bytes:
        """Return d = c1 s_i + r, one packed polynomial; see :mod:`fedpriv.he.users.combining`.

        The smudging r is uniform on [-2^(w-1), 2^(w-1)), w = log2_noise + 41, of the operating system's
        randomness. The answers of all holders show noise below 2^log2_noise with statistical distance at most
        N 2^-40 / 2.

        Args:
            ciphertext: of 2 polynomials, at any level.
            log2_noise: a bound of the noise of a coefficient; see :func:`noise_log2`.

        Raises:
            UserError: when the level has no room for that smudging.
            ValueError: for 3 polynomials.
        """
        shape = shape_of(self.set, ciphertext)
        require_room(self.set, shape, self.holders, log2_noise)
        if shape.polynomials != 2:
            raise ValueError(f"{shape.polynomials} polynomials: relinearise first")
        moduli, ring = self.set.moduli(shape.primes), LevelRing(self.set.seal, shape.primes)
        answer = polynomials(self.set, ciphertext)[1]
        noise = smudging(width_log2(log2_noise), moduli, self.set.seal.poly_degree)
        if self.set.ckks:
            answer = multiply(answer, self._words[: shape.primes], moduli)
            noise = ring.to_ntt(noise, np.ones_like(noise))[0]
        else:
            answer = ring.to_ntt(np.ones_like(noise), answer)[1]
            answer = multiply(answer, self._words[: shape.primes], moduli)
            answer = ring.from_ntt(answer, np.ones_like(noise))[0]
        add(answer, noise, moduli)
        return RowPacking(moduli, self.set.seal.poly_degree).pack(answer)

    def __repr__(self) -> str:
        """Show the public part only."""
        return (
            f"UserShare(number={self.number}, holders={self.holders}, fingerprint={self.public.fingerprint})"
        )

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: shares travel as files."""
        raise TypeError("UserShare: cannot be pickled or copied; pass the path of its file")


def _uniform(moduli: Words, degree: int) -> Words:
    """Return (L, N) residues, uniform by rejection, of the operating system's randomness."""
    rows = []
    for modulus in moduli[:, 0]:
        mask = np.uint64((1 << int(modulus).bit_length()) - 1)
        kept = np.empty(0, np.uint64)
        while len(kept) < degree:
            drawn = np.frombuffer(os.urandom(8 * degree), "<u8") & mask
            kept = np.concatenate([kept, drawn[drawn < modulus]])
        rows.append(kept[:degree])
    return np.stack(rows)
