"""The secret key of an encrypted federation: generating, storing and loading it.

With ``secure.keys=authority`` all clients and the key holder share this one symmetric key; the server never
has it. Whoever has it and sees the ciphertexts reads every client's update.
"""

import hashlib
import hmac
import secrets
import struct
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.key_files import read_private, write_private
from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.ring import Ring
from fedpriv.he.sealio import SealBuffer, SealDataError

_MAGIC = b"FPSECKEY"
_VERSION = 1
_HEADER = struct.Struct("<8sII32s16sQ")
_DIGEST_BYTES = 32


class SecretKey:
    """A secret key of BFV or CKKS. Does not show itself, is not copied and is not pickled.

    Attributes:
        parameters: the public parameters it was made for.
        key_id: 16 random bytes, public.
    """

    __slots__ = ("_key", "key_id", "parameters")

    def __init__(self, parameters: SealParameters, key_id: bytes, key: Any) -> None:
        """Hold a ``sealapi.SecretKey``; use :func:`generate_key` or :func:`load_key`."""
        self.parameters = parameters
        self.key_id = key_id
        self._key = key

    @property
    def fingerprint(self) -> str:
        """Public name of the key: 32 hexadecimal digits of SHA-256(parameters, key_id, secret).

        Guarantee:
            Two keys have two names: nobody can pass off another key under an enrolled name.
            The name tells nothing about the secret, which has thousands of bits of entropy.
        """
        named = b"fedpriv-key-2" + self.parameters.fingerprint + self.key_id
        return hashlib.sha256(named + self.coefficients().tobytes()).hexdigest()[:32]

    def coefficients(self) -> NDArray[np.int8]:
        """Return the secret polynomial, (N,) in {-1, 0, 1}.

        Raises:
            ValueError: when it is not ternary.
        """
        ring, primes = Ring(self.parameters), len(self.parameters.coeff_bits)
        with SealBuffer() as buffer:
            body = buffer.dump(self._key, self.parameters.key_bytes)
            words = np.frombuffer(body, "<u8")[-primes * self.parameters.poly_degree :].reshape(primes, -1)
            residues = ring.from_ntt(buffer, words[: len(ring.moduli)])[0].astype(np.int64)
        residues[residues == int(ring.moduli[0, 0]) - 1] = -1
        if np.abs(residues).max() > 1:
            raise ValueError("secret key: is not ternary")
        secret: NDArray[np.int8] = residues.astype(np.int8)
        return secret

    def decryptor(self) -> Any:
        """Return a ``sealapi.Decryptor``."""
        return sealapi.Decryptor(seal_context(self.parameters), self._key)

    def __repr__(self) -> str:
        """Show the public name only."""
        return f"SecretKey(fingerprint={self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: keys travel as files."""
        raise TypeError("SecretKey: cannot be pickled or copied; pass the path of its file")


def generate_key(parameters: SealParameters) -> SecretKey:
    """Draw a uniform ternary key; SEAL seeds its Blake2xb generator from /dev/urandom for it."""
    key = sealapi.KeyGenerator(seal_context(parameters)).secret_key()
    return SecretKey(parameters, secrets.token_bytes(16), key)


def save_key(key: SecretKey, path: Path) -> None:
    """Write a new key file, readable by its owner only.

    Guarantee:
        The file has mode 0600 from its first byte, appears complete or not at all, and an
        existing file is never replaced.

    Layout, little-endian: magic 8 bytes, version u32, reserved u32, fingerprint of the parameters
    32 bytes, key id 16 bytes, length u64, SEAL's bytes, SHA-256 of all before it.

    Raises:
        UserError: when the file exists or cannot be written.
    """
    with SealBuffer() as buffer:
        body = buffer.dump(key._key, key.parameters.key_bytes)
    data = _HEADER.pack(_MAGIC, _VERSION, 0, key.parameters.fingerprint, key.key_id, len(body)) + body
    data += hashlib.sha256(data).digest()
    write_private(path, data)


def load_key(path: Path, parameters: SealParameters) -> SecretKey:
    """Read a key file that was made for ``parameters``.

    Edge cases:
        A file that group or others may access is refused.
        A file of another size, magic, version or checksum is refused before SEAL sees it.
        A file made for other parameters is refused.

    Raises:
        UserError: on each of these, and when the file cannot be read.
    """
    data = read_private(path, _HEADER.size + parameters.key_bytes + _DIGEST_BYTES)
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise UserError(f"{path}: not a fedpriv key file; name another, or none to have one made")
    _, version, _, fingerprint, key_id, length = _HEADER.unpack_from(content)
    if version != _VERSION:
        raise UserError(
            f"{path}: key file of version {version}; this program reads {_VERSION}, make a new key"
        )
    body = content[_HEADER.size :]
    if length != len(body) or not hmac.compare_digest(hashlib.sha256(content).digest(), digest):
        raise UserError(f"{path}: damaged key file; restore it from a copy or make a new key")
    if fingerprint != parameters.fingerprint:
        raise UserError(
            f"{path}: made for other parameters (secure.bits, secure.values_per_slot or federation.clients "
            "differ); use the settings it was made with or make a new key"
        )
    key = sealapi.SecretKey()
    try:
        with SealBuffer() as buffer:
            buffer.load(key, seal_context(parameters), [body], parameters.key_bytes)
    except SealDataError as error:
        raise UserError(f"{path}: SEAL refuses the key; restore it from a copy or make a new key") from error
    return SecretKey(parameters, key_id, key)
