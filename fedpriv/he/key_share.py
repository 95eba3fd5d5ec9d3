"""A holder's share of a committee's secret key, and its file.

Layout, little-endian: magic 8 bytes, version u32, run 16 bytes, holder u32, holders u32, fingerprint of the
parameters 32 bytes, digest of the joint key 32 bytes, the share's (L + 1, N) words u64 in the NTT domain,
SHA-256 of all before it.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from fedpriv.errors import UserError
from fedpriv.he.ceremony import Ceremony
from fedpriv.he.key_files import SHARE_FILE, read_private, write_private
from fedpriv.he.parameters import SealParameters
from fedpriv.he.wire import Words

_SHARE = struct.Struct("<8sI16sII32s32s")
_MAGIC = b"FPSHARE\0"
_VERSION = 1
_HASH_BYTES = 32


@dataclass(frozen=True)
class KeyShare:
    """A holder's share of the secret key, in the NTT domain. Does not show itself.

    Attributes:
        run_id: of the run that it was made for, 16 bytes.
        number: of the holder.
        digest: of the joint public key that it belongs to.
        secret: (L, N) uint64, under the data primes.
    """

    run_id: bytes
    number: int
    digest: bytes
    secret: Words

    def require(self, run_id: bytes, number: int) -> None:
        """Refuse to serve another run, or as another holder, than the share was made for.

        Raises:
            UserError: saying whose it is.
        """
        if (run_id, number) != (self.run_id, self.number):
            raise UserError(
                f"{SHARE_FILE} of key holder {number}: is that of key holder {self.number} for run "
                f"{self.run_id.hex()}, and this is run {run_id.hex()}; start the run again, which makes "
                "a new one"
            )

    def __repr__(self) -> str:
        """Show the public part only."""
        return f"KeyShare(number={self.number}, digest={self.digest.hex()})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: shares travel as files."""
        raise TypeError("KeyShare: cannot be pickled or copied; pass the path of its file")


def save_share(folder: Path, ceremony: Ceremony, number: int, digest: bytes, secret: bytes) -> None:
    """Write holder ``number``'s share, in the place of any that an earlier run has left.

    A crash or a full disk leaves the old one or the new one whole.

    Args:
        folder: of the holder.
        ceremony: of the run.
        number: of the holder.
        digest: of the joint key.
        secret: (L + 1, N) little-endian uint64, as bytes.

    Raises:
        UserError: when it cannot be written.
    """
    parameters, path = ceremony.parameters, folder / SHARE_FILE
    head = (_MAGIC, _VERSION, ceremony.run_id, number, ceremony.holders, parameters.fingerprint, digest)
    content = _SHARE.pack(*head) + secret
    data = content + hashlib.sha256(content).digest()
    write_private(path, data, durable=False, replace=True)


def load_share(folder: Path, parameters: SealParameters, holders: int) -> KeyShare:
    """Read what :func:`save_share` left in ``folder``.

    Which run and which holder it must be, :meth:`KeyShare.require` checks.

    Raises:
        UserError: when there is none, or it is damaged or of other parameters.
    """
    path, primes = folder / SHARE_FILE, len(parameters.coeff_bits)
    size = _SHARE.size + 8 * primes * parameters.poly_degree + _HASH_BYTES
    data = read_private(path, size)
    content = data[:-_HASH_BYTES]
    if len(data) != size or not hmac.compare_digest(hashlib.sha256(content).digest(), data[-_HASH_BYTES:]):
        raise UserError(f"{path}: damaged key share; start the run again, which makes a new one")
    magic, version, run_id, number, of, fingerprint, digest = _SHARE.unpack_from(content)
    if (magic, version) != (_MAGIC, _VERSION):
        raise UserError(f"{path}: no key share of this version; start the run again")
    if fingerprint != parameters.fingerprint or of != holders:
        raise UserError(f"{path}: made for other parameters or another committee; start the run again")
    secret = np.frombuffer(content, "<u8", offset=_SHARE.size).reshape(primes, -1)
    return KeyShare(run_id, number, digest, secret[:-1].astype(np.uint64))
