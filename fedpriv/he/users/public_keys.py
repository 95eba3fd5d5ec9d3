"""The public half of a key pair, and its file."""

import hmac
from pathlib import Path
from typing import Any, NoReturn

from tenseal import sealapi

from fedpriv.errors import FormatError, UserError
from fedpriv.he.key_files import read_public
from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealDataError
from fedpriv.he.users.encrypting import Encryptor
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import OVERHEAD, KeyHead, fingerprint, grouped, open_head
from fedpriv.he.users.sets import SETS, ParameterSet, Purpose

PUBLIC_FILE = "public.key"


class PublicKeys:
    """What a server or a caller holds: it encrypts and evaluates, and cannot decrypt.

    Attributes:
        set: the parameters.
        fingerprint: names the pair, 64 hexadecimal digits; see
            :func:`~fedpriv.he.users.key_heads.fingerprint`.
        verify_key: the owner's Ed25519 key, 32 bytes.
        public: ``sealapi.PublicKey``.
        relin: ``sealapi.RelinKeys``; None where the set has none.
    """

    def __init__(
        self, parameters: ParameterSet, name: str, verify_key: bytes, public: Any, relin: Any, data: bytes
    ) -> None:
        """Hold checked keys and the file that they came in; use :meth:`load`."""
        self.set, self.fingerprint, self.verify_key = parameters, name, verify_key
        self.public, self.relin, self._data = public, relin, data

    @classmethod
    def load(cls, path: Path, purpose: Purpose | None = None) -> "PublicKeys":
        """Read ``public.key``, or the one in a folder.

        Raises:
            UserError: when it cannot be read; otherwise as :meth:`from_bytes`.
        """
        file = path / PUBLIC_FILE if path.is_dir() else path
        return cls.from_bytes(read_public(file, cls.largest_bytes()), file, purpose)

    @classmethod
    def from_bytes(cls, data: bytes, source: object, purpose: Purpose | None = None) -> "PublicKeys":
        """Read a public key that came by any way.

        Guarantee:
            - Only the parameters of :data:`~fedpriv.he.users.sets.SETS` are ever set up.
            - Signature and fingerprint are checked before SEAL sees a coefficient.

        Args:
            data: the file; the caller stops reading at :meth:`largest_bytes`.
            source: names it, for messages.
            purpose: that it must be for; None for any.

        Raises:
            FormatError: saying what is wrong with it.
        """
        if len(data) > cls.largest_bytes():
            raise FormatError(source, None, f"{len(data)} bytes, at most {cls.largest_bytes()} expected")
        head, body = open_head(source, data, ("public",), purpose)
        found = fingerprint(head.set, head.verify_key, body)
        if not hmac.compare_digest(found, head.fingerprint):
            raise FormatError(
                source,
                64,
                f"is named {grouped(head.fingerprint)} and holds the key {grouped(found)}; get it again from "
                "its owner",
            )
        try:
            public, relin = KeyBodies(head.set).unpack_public(body)
        except SealDataError as error:
            raise FormatError(source, None, f"{error}; get it again from its owner") from error
        return cls(head.set, head.fingerprint, head.verify_key, public, relin, data)

    @staticmethod
    def largest_bytes() -> int:
        """Return the most bytes that a public key of any set has."""
        return OVERHEAD + max(
            16 * each.seal.poly_degree * len(each.seal.coeff_bits) * (1 + each.primes * each.relinearises)
            for each in SETS.values()
        )

    def to_bytes(self) -> bytes:
        """Return the file."""
        return self._data

    def encryptor(self) -> Encryptor:
        """Return an encryptor under the public key; its ciphertexts are of full size."""
        return Encryptor(self.set, sealapi.Encryptor(seal_context(self.set.seal), self.public), seeded=False)

    def require(self, name: str, source: object) -> None:
        """Refuse what was made under another key.

        Raises:
            FormatError: naming both keys.
        """
        if name != self.fingerprint:
            raise FormatError(
                source,
                None,
                f"under the key {grouped(name)}, and the key here is {grouped(self.fingerprint)}",
            )

    def __repr__(self) -> str:
        """Show the name."""
        return f"PublicKeys(set={self.set.name}, fingerprint={self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: SEAL's objects cannot."""
        raise TypeError("PublicKeys: cannot be pickled or copied; pass the bytes or the path of the file")


def public_beside(file: Path, head: KeyHead, purpose: Purpose | None) -> PublicKeys:
    """Return the ``public.key`` in the folder of a secret key or share, which must be of the same pair.

    Raises:
        UserError: naming both pairs when it is not; otherwise as :meth:`PublicKeys.load`.
    """
    public = PublicKeys.load(file.parent / PUBLIC_FILE, purpose)
    if (head.fingerprint, head.verify_key, head.set) != (public.fingerprint, public.verify_key, public.set):
        raise UserError(
            f"{file}: belongs to the key {grouped(head.fingerprint)}, and {PUBLIC_FILE} beside it is "
            f"{grouped(public.fingerprint)}; put the two that were made together into one folder"
        )
    return public
