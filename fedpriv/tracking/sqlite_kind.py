"""Whose a SQLite file is, told without writing to it: MLflow and Optuna both add their tables to any."""

import sqlite3
from pathlib import Path

from fedpriv.errors import UserError

_HEADER = b"SQLite format 3\x00"
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
MLFLOW = frozenset({"experiments", "alembic_version"})
"""Tables of a store of MLflow's, among others."""
STUDIES = frozenset({"studies", "version_info"})
"""Tables of a storage of Optuna's, among others."""


def require_kind(database: Path, field: str, tables: frozenset[str]) -> None:
    """Refuse a file of another kind.

    Edge cases:
        An empty database is nobody's yet. A damaged one is refused here, for MLflow would retry for minutes.
        One that is locked, or cannot be opened for reading, is let pass: whoever opens it next says why.

    Args:
        database: that exists.
        field: what the user wrote it as, for messages.
        tables: that it must have, unless it has none at all.

    Raises:
        UserError: when it is no SQLite database, or another program's.
        OSError: when it cannot be read.
    """
    shown = f"{field}=sqlite:///{database}"
    with database.open("rb") as opened:
        if opened.read(len(_HEADER)) != _HEADER:  # to which MLflow would retry for minutes to connect
            raise UserError(f"{shown}: is no SQLite database; name another file")
    try:
        opened_once = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = {
                row[0] for row in opened_once.execute("SELECT name FROM sqlite_master WHERE type='table'")
            }
        finally:
            opened_once.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            raise UserError(f"{shown}: is damaged ({error}); name another file, or a copy") from error
        return
    if found and not tables <= found:
        whose = "Optuna's" if found >= STUDIES else "MLflow's" if found >= MLFLOW else "another program's"
        raise UserError(f"{shown}: is {whose} database; name another file")
