"""A database of another program is told without being written to."""

import sqlite3
from contextlib import closing

import pytest
from optuna.storages import RDBStorage

from fedpriv.errors import UserError
from fedpriv.tracking.queries import runs_of
from fedpriv.tracking.registry import find
from fedpriv.tracking.sqlite_kind import MLFLOW, STUDIES, require_kind
from fedpriv.tracking.store import locate, open_experiment, open_run
from fedpriv.tracking.sweeps import has_store


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A database of Optuna's."""
    path = tmp_path_factory.mktemp("studies") / "searches.db"
    storage = RDBStorage(f"sqlite:///{path}")
    storage.remove_session()
    storage.engine.dispose()
    return path


def dump(path):
    with closing(sqlite3.connect(path)) as opened:
        return list(opened.iterdump())


OPENED = {
    "experiment": lambda uri: open_experiment(locate(uri), "e"),
    "run": lambda uri: open_run(locate(uri), "f" * 32),
    "queries": lambda uri: runs_of(uri, "e"),
    "registry": lambda uri: find(uri, "gaze@champion"),
    "sweeps": has_store,
}


@pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)
def test_a_database_of_optunas_is_no_store_and_gets_no_tables(studies, opened):
    before = dump(studies)
    with pytest.raises(
        UserError, match=r"^tracking\.uri=.*searches.db: is Optuna's database; name another file$"
    ):
        opened(f"sqlite:///{studies}")
    assert dump(studies) == before


def test_each_kind_is_taken_for_what_it_is(studies, tracking_uri):
    mlflow = locate(tracking_uri).database
    require_kind(mlflow, "x", MLFLOW)
    require_kind(studies, "x", STUDIES)
    with pytest.raises(UserError, match=r"x=sqlite:///.*: is MLflow's database"):
        require_kind(mlflow, "x", STUDIES)


def test_other_programs_databases_are_refused_and_empty_ones_are_not(tmp_path):
    path = tmp_path / "odd #1?.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (x)")
        made.execute("DROP TABLE t")
        made.commit()
        made.execute("VACUUM")
    require_kind(path, "x", MLFLOW)
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE experiments (x)")
    with pytest.raises(UserError, match="is another program's database"):
        require_kind(path, "x", MLFLOW)
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(UserError, match="is no SQLite database"):
        require_kind(tmp_path / "text.db", "x", MLFLOW)


def test_a_store_of_a_schema_that_mlflow_does_not_know_is_one_line(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as made:
        made.execute("CREATE TABLE experiments (x)")
        made.execute("CREATE TABLE alembic_version (version_num)")
        made.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        made.commit()
    for opened in ("experiment", "run", "queries", "registry"):
        with pytest.raises(UserError, match=r"ffffffffffff.*made by another version of MLflow") as caught:
            OPENED[opened](uri)
        assert "\n" not in str(caught.value)
