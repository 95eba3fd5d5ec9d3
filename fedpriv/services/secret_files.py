"""Keys and secrets in files that nobody else can read."""

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fedpriv.errors import FormatError, UserError

_MOST_BYTES = 1 << 20
_MEND = "name the file of the secret"


def write_secret(path: Path, secret: bytes) -> None:
    """Write a secret as hexadecimal digits, see :func:`write_private`."""
    write_private(path, secret.hex() + "\n")


def write_secrets(path: Path, secrets: Mapping[str, bytes]) -> None:
    """Write named secrets as a JSON object of hexadecimal digits, see :func:`write_private`."""
    text = {name: secret.hex() for name, secret in secrets.items()}
    write_private(path, json.dumps(text, indent=1) + "\n")


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_secret(path: Path, size: int, mend: str = _MEND) -> bytes:
    """Read what :func:`write_secret` wrote; ``mend`` is what to do where it cannot be read.

    Raises:
        UserError: it cannot be read, others may read it, or it holds something else than ``size`` bytes.
    """
    return _secret(path, _private_text(path, mend).strip(), size)


def read_secrets(path: Path, size: int, mend: str = _MEND) -> dict[str, bytes]:
    """Read what :func:`write_secrets` wrote; every secret has ``size`` bytes, ``mend`` as above.

    Raises:
        UserError: as :func:`read_secret`.
    """
    try:
        found = json.loads(_private_text(path, mend))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, None, "is no JSON object of secrets by name") from error
    if not isinstance(found, dict) or not found:
        raise FormatError(path, None, "is no JSON object of secrets by name")
    return {name: _secret(path, secret, size) for name, secret in found.items()}


def _private_text(path: Path, mend: str) -> str:
    """Return a file's text, having looked at the mode of the very file that is read."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UserError(f"{path}: is no regular file; name the file of the secret")
            if found.st_mode & 0o077:
                raise UserError(
                    f"{path}: mode {stat.S_IMODE(found.st_mode):04o} lets others read a secret; chmod 0600"
                )
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {mend}") from error
    if len(content) > _MOST_BYTES or not content.isascii():
        raise FormatError(path, None, "is no file of secrets in hexadecimal digits")
    return content.decode("ascii")


def _secret(path: Path, text: object, size: int) -> bytes:
    # whatever is wrong, the text itself must not show in a message
    try:
        secret = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        secret = b""
    if len(secret) != size:
        raise FormatError(path, None, f"holds no secret of {size} bytes as {2 * size} hexadecimal digits")
    return secret
