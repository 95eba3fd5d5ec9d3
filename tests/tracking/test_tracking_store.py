import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

import fedpriv
from fedpriv.errors import UserError
from fedpriv.tracking.store import locate, open_experiment

_WORKERS = """
import os, pathlib, sys, time
from fedpriv.results import RoundResult
from fedpriv.tracking.mlflow_logger import RunLogger
import mlflow.store.tracking.sqlalchemy_store

folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def work(number):
    (folder / f"ready{number}").touch()
    while len(list(folder.glob("ready*"))) < count:
        time.sleep(0.01)
    with RunLogger.start(f"sqlite:///{folder}/new/mlflow.db", "race", None, None, {"n": number}, 1) as run:
        for step in range(5):
            run.log_round(RoundResult(step, {"m": step}))

# forks, as importing takes ten times as long as all else
forks = []
for number in range(count):
    forks.append(os.fork())
    if not forks[-1]:
        work(number)
        os._exit(0)
sys.exit(sum(os.waitpid(fork, 0)[1] != 0 for fork in forks))
"""


def _race(folder: Path, count: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(fedpriv.__file__).parent.parent)}
    workers = subprocess.run(
        [sys.executable, "-c", _WORKERS, str(folder), str(count)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (workers.returncode, workers.stdout) == (0, "")
    client = MlflowClient(f"sqlite:///{folder}/new/mlflow.db")
    experiment = client.get_experiment_by_name("race")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.params["n"] for run in runs) == [str(number) for number in range(count)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(len(client.get_metric_history(run.info.run_id, "m")) == 5 for run in runs)
    assert not list(Path(folder, "new").glob(".*"))


@pytest.mark.slow
def test_eight_processes_share_a_fresh_database_and_say_nothing(tmp_path):
    _race(tmp_path, 8)


@pytest.mark.parametrize("missing", ["file", "empty file"])
def test_half_made_database_is_never_seen_under_the_final_name(tmp_path, monkeypatch, missing):
    from mlflow.store.tracking import sqlalchemy_store

    def killed(uri, artifacts):
        sqlite3.connect(uri.removeprefix("sqlite:///")).execute("create table half (x)")
        raise KeyboardInterrupt

    database = tmp_path / "mlflow.db"
    if missing == "empty file":
        database.touch()
    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", killed)
    with pytest.raises(KeyboardInterrupt):
        open_experiment(locate(f"sqlite:///{database}"), "x")
    assert not database.exists() or database.stat().st_size == 0


def test_default_is_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = locate()
    assert location.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert location.artifacts == f"file://{tmp_path}/mlartifacts"


def test_relative_database_becomes_absolute_with_artifacts_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = locate("sqlite:///runs/a.db")
    assert location.uri == f"sqlite:///{tmp_path}/runs/a.db"
    assert location.artifacts == f"file://{tmp_path}/runs/mlartifacts"
    assert locate("sqlite:///a.db", tmp_path / "other").artifacts == f"file://{tmp_path}/other"


def test_server_keeps_its_own_artifacts():
    assert locate("http://localhost:5000").artifacts is None
    assert locate("postgresql+psycopg://a:b@host/db").database is None


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "sqlite:///:memory:", "sqlite://", "ftp://x"]
)
def test_unusable_uri_is_the_users_error(uri):
    with pytest.raises(UserError, match=r"tracking\.uri="):
        locate(uri)


def test_error_about_a_uri_hides_its_password():
    with pytest.raises(UserError) as caught:
        locate("ftp://ann:swordfish@host/x")
    assert "swordfish" not in str(caught.value)


def test_file_of_another_kind_is_the_users_error(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no database")
    with pytest.raises(UserError, match="is no SQLite database"):
        open_experiment(locate(f"sqlite:///{file}"), "x")
    assert file.read_text() == "no database"


def test_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose a folder you can write to"):
        open_experiment(locate(f"sqlite:///{tmp_path}/file/mlflow.db"), "x")


def test_outdated_schema_is_the_users_error(tmp_path, tracking_uri):
    database = tmp_path / "old.db"
    database.write_bytes(Path(tracking_uri.removeprefix("sqlite:///")).read_bytes())
    with sqlite3.connect(database) as connection:
        connection.execute("update alembic_version set version_num = '451aebb31d03'")
    connection.close()
    with pytest.raises(UserError, match="out-of-date database schema"):
        open_experiment(locate(f"sqlite:///{database}"), "x")


def test_deleted_experiment_is_the_users_error(tracking_uri):
    client, experiment_id = open_experiment(locate(tracking_uri), "gone")
    client.delete_experiment(experiment_id)
    with pytest.raises(UserError, match=r"tracking\.experiment=gone: was deleted"):
        open_experiment(locate(tracking_uri), "gone")


def test_opening_twice_finds_the_same_experiment(tracking_uri):
    assert (
        open_experiment(locate(tracking_uri), "same")[1] == open_experiment(locate(tracking_uri), "same")[1]
    )
