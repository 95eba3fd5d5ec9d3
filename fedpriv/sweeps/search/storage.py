"""Where studies are kept: a SQLite file beside MLflow's, or a database server."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from fedpriv.config.tracking_address import refusal_of_address
from fedpriv.errors import UserError
from fedpriv.tracking.job_lock import job_lock
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.secrets import hide_in_text
from fedpriv.tracking.sqlite_kind import STUDIES, require_kind
from fedpriv.tracking.store import Location

_SQLITE = "sqlite:///"
_WAIT_S = 60
"""Within this time a SQLite file is freed by whoever writes in it."""
_CREATION = "5ea2c4" * 5
"""Key of the lock under which a database is made."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Hold back what Optuna says of itself, and what it calls experimental."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def place(asked: str | None, tracking: Location) -> Location:
    """Return where studies are kept.

    Args:
        asked: ``hydra.sweeper.storage``: ``sqlite:///PATH`` or a server's address that SQLAlchemy takes; None
            is ``searches.db`` beside MLflow's database.
        tracking: where MLflow's runs are.

    Raises:
        UserError: when it is no address, holds a password, is MLflow's own database, or is missing beside a
            server.
    """
    if asked is None:
        if tracking.database is None:
            raise UserError(
                "hydra.sweeper.storage: is needed where tracking.uri is a server; write sqlite:///PATH.db"
            )
        asked = f"{_SQLITE}{tracking.database.with_name('searches.db')}"
    if (said := refusal_of_address(asked, "hydra.sweeper.storage")) is not None:
        raise UserError(said)
    field = f"hydra.sweeper.storage={hide_in_text(asked, ())}"
    try:
        backend = make_url(asked).get_backend_name()
    except (SQLAlchemyError, ValueError) as error:
        raise UserError(f"{field}: is no address; write sqlite:///PATH.db") from error
    if backend != "sqlite":
        return Location(asked, None, None)
    name = asked.removeprefix(_SQLITE)
    if not asked.startswith(_SQLITE) or not name or name.startswith(":") or "?" in name:
        raise UserError(f"{field}: need a database file; write sqlite:///PATH.db")
    database = Path(name).absolute()
    if tracking.database is not None and database.resolve() == tracking.database.resolve():
        raise UserError(f"{field}: is MLflow's own database; name another file")
    return Location(f"{_SQLITE}{database}", database, None)


def prepare_storage(location: Location) -> None:
    """Make a SQLite file where it is missing, by any number of processes at the same moment.

    Not for use while this process is :func:`alone` in it: their locks are of one file.

    Raises:
        UserError: when the file is no SQLite database or cannot be written, or the server does not answer.
    """
    field = f"hydra.sweeper.storage={hide_in_text(location.uri, ())}"
    try:
        with quiet_optuna():
            if location.database is not None:
                location.database.parent.mkdir(parents=True, exist_ok=True)
                with job_lock(location, _CREATION):
                    _create(location.database)
    except OSError as error:
        raise UserError(f"{field}: {error.strerror or error}; choose a folder you can write to") from error
    except (SQLAlchemyError, RuntimeError, ImportError, optuna.exceptions.OptunaError) as error:
        raise UserError(f"{field}: {_reason(error)}; check the address") from error


def connect(uri: str) -> RDBStorage:
    """Open a storage; a server's schema is made where it is missing.

    Raises:
        UserError: when it does not answer, or is of another version of Optuna.
    """
    try:
        with quiet_optuna():
            return _connect(uri)
    except (SQLAlchemyError, RuntimeError, ImportError, optuna.exceptions.OptunaError) as error:
        shown = hide_in_text(uri, ())
        raise UserError(f"hydra.sweeper.storage={shown}: {_reason(error)}; check the address") from error


@contextmanager
def alone(location: Location, key: str, name: str) -> Iterator[None]:
    """Let no other process of this machine run the search with this ``key`` in the block.

    Raises:
        UserError: when one does.
    """
    kept = location
    if location.database is None:  # a file of its own in the cache: closing one frees the locks of others
        base = os.environ.get("FEDPRIV_CACHE", "")
        folder = Path(base) if base else Path.home() / ".cache" / "fedpriv"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = Location(location.uri, folder / "searches", None)
    try:
        lock = job_lock(kept, key, wait=False)
        lock.__enter__()
    except BlockingIOError as error:
        raise UserError(f"study {name}: another process is at it; wait for its end, or end it") from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _connect(uri: str) -> RDBStorage:
    arguments = {"connect_args": {"timeout": _WAIT_S}} if uri.startswith("sqlite") else {}
    return RDBStorage(uri, engine_kwargs=arguments)


def _create(database: Path) -> None:
    """Make the schema in a file beside it, and rename that: a kill leaves none half made."""
    if database.exists() and database.stat().st_size:
        require_kind(database, "hydra.sweeper.storage", STUDIES)
        return
    with tempfile.TemporaryDirectory(prefix=f".{database.name}.", dir=database.parent) as folder:
        fresh = Path(folder, "fresh.db")
        storage = _connect(f"{_SQLITE}{fresh}")
        storage.remove_session()
        storage.engine.dispose()
        fresh.chmod(0o600)
        fresh.replace(database)


def _reason(error: Exception) -> str:
    return hide_in_text(next(iter(str(error).splitlines()), type(error).__name__), ())[:300]
