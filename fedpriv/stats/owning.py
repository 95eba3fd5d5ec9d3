"""The owner's side: from a CSV file to an encrypted table."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.identity import SigningKey
from fedpriv.he.key_files import read_private, write_private
from fedpriv.he.tables.csv_table import CsvTable, read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.encrypting import table_identity, write_encrypted
from fedpriv.he.tables.schema import Schema
from fedpriv.he.tables.vectors import vectors_of
from fedpriv.he.users.encrypting import Encryptor
from fedpriv.he.users.keys import SECRET_FILE, UserKeys
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.privacy.ledger import default_folder

_SALT = "identity.key"
_SALT_BYTES = 32


@dataclass(frozen=True)
class EncryptedTable:
    """What was made of a CSV file.

    Attributes:
        path: of the encrypted table.
        bytes: its size.
        rows: of the file.
        schema: public.
        left_out: columns that were not taken.
        missing: cells of the columns taken that hold no value.
    """

    path: Path
    bytes: int
    rows: int
    schema: Schema
    left_out: tuple[str, ...]
    missing: int


def encrypt_table(
    source: Path, out: Path, key: Path, wishes: Wishes, schema: Schema | None, rounds: bool
) -> EncryptedTable:
    """Encrypt a CSV file.

    Args:
        source: the file.
        out: where the encrypted table goes.
        key: the owner's folder or ``secret.key``: signed and half the size; or a ``public.key``.
        wishes: what a schema is drafted from.
        schema: of a pool, instead.
        rounds: see :func:`~fedpriv.he.tables.vectors.vectors_of`.

    Raises:
        UserError: naming what is wrong, line and column of a cell.
    """
    encryptor, fingerprint, signer = _encryptor(key)
    table = read_table(source)
    chosen = schema if schema is not None else draft(table, wishes)
    vectors = vectors_of(table, chosen, rounds or bool(wishes.decimals))
    identity = table_identity(table, _identity_secret())
    size = write_encrypted(out, vectors, chosen, encryptor(), fingerprint, identity, signer)
    missing = vectors.masks.size - int(vectors.masks.sum())
    return EncryptedTable(out, size, vectors.rows, chosen, _left_out(table, chosen), missing)


def _left_out(table: CsvTable, schema: Schema) -> tuple[str, ...]:
    taken = {table.find(each) for each in (*(column.name for column in schema.columns), schema.group) if each}
    unnamed = ("the first, which has no name",) if table.numbered else ()
    return (*unnamed, *(name for number, name in enumerate(table.names) if number not in taken))


def _encryptor(key: Path) -> tuple[Callable[[], Encryptor], str, SigningKey | None]:
    secret = key / SECRET_FILE if key.is_dir() else key
    if secret.name == SECRET_FILE and secret.exists():
        owner = UserKeys.load(key, "table")
        return owner.encryptor, owner.fingerprint, owner.signer
    public = PublicKeys.load(key, "table")
    return public.encryptor, public.fingerprint, None


def _identity_secret() -> bytes:
    """Return this user's secret for the names of tables; made when it is first needed."""
    folder = default_folder().parent / "tables"
    path = folder / _SALT
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; set XDG_STATE_HOME to a folder of your own") from error
    if not path.exists():
        try:
            write_private(path, secrets.token_bytes(_SALT_BYTES))
        except UserError:
            if not path.exists():  # otherwise another process was first
                raise
    found = read_private(path, _SALT_BYTES)
    if len(found) != _SALT_BYTES:
        raise UserError(
            f"{path}: damaged; restore it, or remove it and name a ledger of its own for old tables"
        )
    return found
