"""Opens an MLflow tracking store, safely for many processes at the same moment."""

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from fedpriv.errors import UserError
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.secrets import hide_in_text
from fedpriv.tracking.sqlite_kind import MLFLOW, require_kind
from fedpriv.tracking.uncollected import uncollected

_SQLITE = "sqlite:///"
RUN_KEY = "fedpriv_run_id"
"""Tag with fedpriv's own name of a run, which is known before MLflow has one."""
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_SERVERS = ("http", "https", "postgresql", "mysql", "mssql", "databricks")


@dataclass(frozen=True)
class Location:
    """Where runs are kept.

    Attributes:
        uri: tracking URI; paths in it are absolute.
        database: the SQLite file, None for a server.
        artifacts: URI of the folder for the artifacts of new experiments, None for the server's own.
    """

    uri: str
    database: Path | None
    artifacts: str | None


def locate(uri: str | None = None, artifact_root: Path | None = None) -> Location:
    """Resolve a tracking URI as a user writes it.

    Args:
        uri: ``sqlite:///PATH`` (PATH relative to the working folder, or absolute), or a server
            (``http(s)://...``, ``postgresql://...``); None is ``sqlite:///mlflow.db``.
        artifact_root: folder for models, pictures and configurations; None is ``mlartifacts``
            beside a SQLite database, and the server's own choice for a server.

    Raises:
        UserError: for a folder (MLflow from 3.13 refuses file stores), an in-memory database or
            an unknown scheme.
    """
    uri = f"{_SQLITE}mlflow.db" if uri is None else uri
    shown = hide_in_text(uri, ())
    database = None
    if uri.startswith("sqlite:"):
        name = uri.removeprefix(_SQLITE)
        if not uri.startswith(_SQLITE) or not name or name.startswith(":") or "?" in name:
            raise UserError(f"tracking.uri={shown}: need a database file; write sqlite:///PATH.db")
        database = Path(name).absolute()
        uri = f"{_SQLITE}{database}"
        artifact_root = database.parent / "mlartifacts" if artifact_root is None else artifact_root
    elif uri.split("://", 1)[0].split("+", 1)[0] not in _SERVERS:
        raise UserError(
            f"tracking.uri={shown}: MLflow keeps no runs there; write sqlite:///PATH.db or http://HOST:PORT"
        )
    artifacts = None if artifact_root is None else Path(artifact_root).absolute().as_uri()
    return Location(uri, database, artifacts)


def open_experiment(location: Location, name: str) -> tuple[MlflowClient, str]:
    """Open the store and its experiment ``name``, creating both where missing.

    Guarantee:
        Any number of processes may do this at the same moment on a fresh SQLite file: creation
        happens under an exclusive lock on ``<database>.lock``.
        A process killed while creating leaves no half-made database under the final name: the
        schema is built in a temporary file beside it, then renamed.

    Edge cases:
        An experiment that exists keeps its own artifact folder.

    Returns:
        (client, experiment id).

    Raises:
        UserError: when the file is no SQLite database, has an outdated schema or cannot be
            written, when the server does not answer, or when the experiment is deleted.
    """
    shown = hide_in_text(location.uri, ())
    try:
        with quiet_mlflow(), uncollected(), exclusive(location.database):
            if location.database is not None:
                _create_database(location.database, location.artifacts)
            client = MlflowClient(location.uri)
            return client, _experiment(client, name, location.artifacts)
    except OSError as error:
        raise UserError(
            f"tracking.uri={shown}: {error.strerror or error}; choose a folder you can write to"
        ) from error
    except (MlflowException, SQLAlchemyError) as error:
        first = str(error).strip().partition("\n")[0]  # below it SQLAlchemy has the statement
        reason = hide_in_text(first or type(error).__name__, ())
        raise UserError(f"tracking.uri={shown}: {reason[:400]}; check the address") from error
    except ImportError as error:
        raise UserError(f"tracking.uri={shown}: {error}; install what this kind of store needs") from error


@contextlib.contextmanager
def answering(location: Location) -> Iterator[None]:
    """Say in one line why a store that exists, or the place of its artifacts, does not do what a block asks.

    MLflow is quiet in the block.

    Raises:
        UserError: when there is no such store (it is not created), its file is no SQLite database, cannot be
            read or is locked, it refuses what the block asks for, or the program for its kind is missing.
    """
    shown = hide_in_text(location.uri, ())
    try:
        if location.database is not None and not location.database.exists():
            raise UserError(f"tracking.uri={shown}: no such database; name the one the runs were logged to")
        if location.database is not None:
            require_sqlite(location.database)
        with quiet_mlflow():
            yield
    except OSError as error:
        raise UserError(
            f"tracking.uri={shown}: {error.strerror or _reason(error)}; name the database the runs were "
            "logged to, and check that you may read it"
        ) from error
    except (MlflowException, SQLAlchemyError) as error:
        raise UserError(f"tracking.uri={shown}: {_reason(error)}; check the address") from error
    except ImportError as error:
        raise UserError(
            f"tracking.uri={shown}: {_reason(error)}; install what this kind of store needs"
        ) from error


def _reason(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]  # below it SQLAlchemy has the statement
    return hide_in_text(first or type(error).__name__, ())[:300]


def open_run(location: Location, run_id: str) -> tuple[MlflowClient, Run]:
    """Open a run that exists.

    Raises:
        UserError: when the store does not exist (it is not created), is another program's database or has
            no such run, the run was deleted, or the store does not answer.
    """
    with answering(location):
        client = MlflowClient(location.uri)
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in _NOT_THERE:
                raise
            raise UserError(
                f"run_id={run_id}: not found in {hide_in_text(location.uri, ())} ({_reason(error)}); name a "
                "run that MLflow lists"
            ) from error
    if run.info.lifecycle_stage != "active":
        raise UserError(
            f"run_id={run_id}: was deleted; name another run, or run `mlflow runs restore --run-id {run_id}`"
        )
    return client, run


def find_run(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """Return the run with the tag ``RUN_KEY`` = ``key``; None if there is none, or it was deleted.

    Guarantee:
        A process that is killed while it makes a run leaves none, or one that is found: MLflow writes a
        run together with its first tags.

    Args:
        client: bound to the store.
        experiment_id: where to look.
        key: letters and digits; no other text names a run.
    """
    if not (key.isascii() and key.isalnum()):
        return None
    found = client.search_runs([experiment_id], f"tags.{RUN_KEY} = '{key}'", max_results=1)
    return found[0] if found else None


@contextlib.contextmanager
def exclusive(database: Path | None) -> Iterator[None]:
    """Hold the lock ``<database>.lock``: one process at a time creates; a server sees to that itself."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_sqlite(database: Path) -> None:
    """Refuse a file of another kind, to which MLflow would add its tables; see :func:`require_kind`."""
    require_kind(database, "tracking.uri", MLFLOW)


def _create_database(database: Path, artifacts: str | None) -> None:
    if database.exists() and database.stat().st_size:
        require_sqlite(database)
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory(prefix=f".{database.name}.", dir=database.parent) as folder:
        fresh = Path(folder, "fresh.db")
        store = SqlAlchemyStore(f"{_SQLITE}{fresh}", artifacts)  # type: ignore[no-untyped-call]
        store.engine.dispose()
        fresh.replace(database)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise UserError(
            f"tracking.experiment={name}: was deleted; choose another name or run "
            f"`mlflow experiments restore`"
        )
    return str(found.experiment_id)
