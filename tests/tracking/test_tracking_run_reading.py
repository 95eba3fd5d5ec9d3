"""What a run says of itself is read, or refused in one line; nothing large or foreign is fetched."""

import sqlite3
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from fedpriv.errors import UserError
from fedpriv.tracking.registry import find
from fedpriv.tracking.run_reading import log_evaluation, read_config
from fedpriv.tracking.store import answering, locate, open_run

RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def run_id(start):
    with start({"seed": 3, "training": {"rate": 0.5}}) as run:
        return run.run_id


@pytest.fixture
def fetched(monkeypatch):
    """Names of artifacts that were asked for; none is sent."""
    asked = []
    monkeypatch.setattr(MlflowClient, "download_artifacts", lambda *given: asked.append(given))
    return asked


def test_the_configuration_is_the_one_that_the_run_was_started_with(run_id, tracking_uri):
    assert read_config(tracking_uri, run_id) == {"seed": 3, "training": {"rate": 0.5}}


def test_a_folder_in_its_place_is_refused_and_not_fetched(run_id, tracking_uri, client, fetched):
    (place,) = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://")).glob("config.yaml")
    place.unlink()
    place.mkdir()
    (place / "large").write_bytes(bytes(100))
    with pytest.raises(UserError, match=r"its config\.yaml is no file of known size; it is not fedpriv's"):
        read_config(tracking_uri, run_id)
    assert fetched == []


@pytest.mark.parametrize(
    ("size", "said"), [(None, "is no file of known size"), (2**20 + 1, "is larger than 1 MiB")]
)
def test_what_is_large_or_of_unknown_size_is_not_fetched(
    run_id, tracking_uri, monkeypatch, fetched, size, said
):
    monkeypatch.setattr(MlflowClient, "list_artifacts", lambda *_: [FileInfo("config.yaml", False, size)])
    with pytest.raises(UserError, match=rf"its config\.yaml {said}; it is not fedpriv's"):
        read_config(tracking_uri, run_id)
    assert fetched == []


def _put_artifacts(tracking_uri, run_id, place):
    with sqlite3.connect(tracking_uri.removeprefix("sqlite:///")) as database:
        database.execute("update runs set artifact_uri = ? where run_uuid = ?", (place, run_id))
    database.close()


def test_artifacts_on_a_foreign_host_are_not_even_listed(run_id, tracking_uri, monkeypatch, fetched):
    asked = []
    monkeypatch.setattr(MlflowClient, "list_artifacts", lambda *given: asked.append(given))
    _put_artifacts(tracking_uri, run_id, "http://foreign.example/x")
    with pytest.raises(UserError, match=r"^artifacts=http://foreign\.example/x: "):
        read_config(tracking_uri, run_id)
    assert asked == fetched == []


def test_a_bucket_without_its_program_is_one_line(run_id, tracking_uri, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)  # as where it is not installed
    _put_artifacts(tracking_uri, run_id, "s3://bucket/x")
    with pytest.raises(
        UserError, match=r"^tracking\.uri=.*botocore.*; install what this kind of store needs$"
    ):
        read_config(tracking_uri, run_id)


READERS = [
    lambda uri: open_run(locate(uri), RUN),
    lambda uri: read_config(uri, RUN),
    lambda uri: find(uri, "models:/gaze/1"),
    lambda uri: log_evaluation(uri, RUN, "eyes", {"error": 1.0}),
]


@pytest.mark.parametrize("read", READERS)
def test_a_folder_given_as_database_is_one_line(read, tmp_path):
    with pytest.raises(UserError, match=r"^tracking\.uri=sqlite:.*: Is a directory; name the database"):
        read(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("read", READERS)
def test_a_kind_of_store_without_its_driver_is_one_line(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(
        UserError, match=r"^tracking\.uri=mysql\+pymysql://<hidden>@host/db: .*pymysql.*; install what this"
    ):
        read("mysql+pymysql://me@host/db")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked")), "is locked"),
        (MlflowException("no model with\nlines"), "no model with; check the address"),
        (PermissionError(13, "Permission denied"), "Permission denied; name the database"),
        (ImportError("no program http://me:pw@host"), r"no program http://<hidden>@host; install what"),
    ],
)
def test_whatever_a_store_fails_with_is_one_line(tracking_uri, error, said):
    with (
        pytest.raises(UserError, match=rf"^tracking\.uri=sqlite:.*{said}") as caught,
        answering(locate(tracking_uri)),
    ):
        raise error
    assert "\n" not in str(caught.value)
    assert "SELECT" not in str(caught.value)


def test_a_run_that_is_not_there_is_said_to_be_not_there(tracking_uri):
    with pytest.raises(UserError, match=rf"^run_id={RUN}: not found in sqlite:"):
        open_run(locate(tracking_uri), RUN)
