"""Processes that register one run at the same moment, where no lock keeps them apart; stores that break."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from sqlalchemy.exc import OperationalError
from torch import nn

from fedpriv.errors import UserError
from fedpriv.tracking.mlflow_logger import RunLogger
from fedpriv.tracking.registry import register

STATEMENT = {
    **dict.fromkeys(("epsilon", "delta", "accountant", "relation", "noise")),
    "unit": "none",
    "data": "synthetic_eyes",
}


def logged(uri):
    """Write a finished run with a model, and return its id."""
    torch.manual_seed(0)
    run = RunLogger.start(uri, "races", None, None, {}, 0)
    run.log_model(nn.Linear(3, 2), np.zeros((1, 3), np.float32), STATEMENT)
    run.finish()
    return run.run_id


def versions(client, name):
    return sorted(int(each.version) for each in client.search_model_versions(f"name = '{name}'"))


def ahead(monkeypatch, run_ids):
    """Let another process make a version for each of these runs, just before this one makes its own."""
    create = MlflowClient.create_model_version

    def racing(self, name, source, run_id, *arguments, **settings):
        for each in run_ids:
            create(self, name, source, each, {"by": "another"})
        return create(self, name, source, run_id, *arguments, **settings)

    monkeypatch.setattr(MlflowClient, "create_model_version", racing)


def test_who_comes_second_takes_its_version_back_and_returns_the_first(tracking_uri, client, monkeypatch):
    run_id = logged(tracking_uri)
    with monkeypatch.context() as patched:
        ahead(patched, [run_id])
        made = register(tracking_uri, run_id, "second", "champion")
    assert (made.name, made.run_id, made.tags) == ("models:/second/1", run_id, {"by": "another"})
    assert versions(client, "second") == [1]
    assert int(client.get_model_version_by_alias("second", "champion").version) == 1
    assert register(tracking_uri, run_id, "second") == made
    (model,) = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    assert "mlflow.modelVersions" not in model.tags  # it would name the one that was taken back


def test_another_runs_version_is_no_reason_to_take_ones_own_back(tracking_uri, client, monkeypatch):
    run_id, other = logged(tracking_uri), logged(tracking_uri)
    with monkeypatch.context() as patched:
        ahead(patched, [other])
        assert register(tracking_uri, run_id, "others").name == "models:/others/2"
    assert versions(client, "others") == [1, 2]


def test_of_versions_that_were_left_the_oldest_is_the_runs(tracking_uri, client):
    run_id = logged(tracking_uri)
    first = register(tracking_uri, run_id, "left")
    source = client.get_model_version("left", "1").source
    client.create_model_version("left", source, run_id)  # by a process that was killed before it looked
    assert register(tracking_uri, run_id, "left") == first
    assert versions(client, "left") == [1, 2]


def test_a_database_that_breaks_while_a_version_is_written_is_one_line(tracking_uri, monkeypatch):
    run_id = logged(tracking_uri)

    def broken(*_, **__):
        raise OperationalError("INSERT", {}, Exception("disk I/O error\nat line 2"))

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_model_version", broken)
        with pytest.raises(
            UserError, match=r"^models:/broken: sqlite:.* refuses: .*disk I/O error"
        ) as caught:
            register(tracking_uri, run_id, "broken")
    assert "\n" not in str(caught.value)
    assert register(tracking_uri, run_id, "broken").name == "models:/broken/1"


@pytest.fixture
def server(tmp_path):
    """The address of a real MLflow server on a loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--workers", "4"),
            *("--artifacts-destination", str(tmp_path / "artifacts")),
        ],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


@pytest.mark.slow
def test_on_a_server_one_run_has_one_version_whoever_registers_it_at_once(server):
    runs = [logged(server) for _ in range(2)]
    asked = [(run_id, f"at-once-{turn}") for turn in range(3) for run_id in runs for _ in range(4)]
    together = threading.Barrier(8)

    def one(asked):
        together.wait(60)
        return register(server, *asked)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(one, asked))
    client = MlflowClient(server)
    for (run_id, name), each in zip(asked, made, strict=True):
        (version,) = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        assert each.name == f"models:/{name}/{version.version}"
        assert each.tags["run_id"] == run_id
