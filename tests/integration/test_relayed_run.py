"""Federated training, then the same clients ask the global model through real relays."""

import json
import os
import re
import subprocess

import pytest
from mlflow import MlflowClient

from fedpriv import relayed_run
from fedpriv.checkpoint import Checkpoint
from fedpriv.errors import UserError
from fedpriv.relayed.found import Found, relayed_rows
from fedpriv.relays.constellation import Constellation
from fedpriv.runner import resume, run
from tests.integration.forked import run_forked


def services() -> set[str]:
    """Command lines of services that are alive and were started for this test's folders."""
    lines = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    return {
        line for line in lines.splitlines() if "fedpriv.relays.serve" in line and f"{os.getpid()} " in line
    }


@pytest.mark.slow
def test_the_preset_ends_with_one_metric_seen_two_ways(tmp_path):
    command = ["fedpriv", "run", "+experiment=relayed_inference", "hydra.run.dir=out"]
    short = ["federation.rounds=1", "federation.clients=4", "data.people=8", "evaluation.test_subjects=2"]
    short += ["data.images_per_person=24", "engine.workers=1", "evaluation.pictures=5"]
    done = run_forked([*command, *short], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"through relays +│ ([\d.]+), local \1: the same, every answer", done.stdout)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
    metrics = found.data.metrics
    assert metrics["relayed/angular_error_deg"] == metrics["local/angular_error_deg"] > 0
    assert metrics["relayed/difference"] == metrics["relayed/differing_answers"] == 0
    # the run's own figure infers in float32
    assert metrics["local/angular_error_deg_float32"] == metrics["angular_error_deg"]
    assert metrics["angular_error_deg"] == pytest.approx(metrics["local/angular_error_deg"], abs=1e-3)
    assert (metrics["relayed/images"], metrics["relayed/lost"]) == (48, 0)
    assert 0 < metrics["relayed/p50_ms"] <= metrics["relayed/p95_ms"]
    assert metrics["relayed/bytes_per_image"] >= 3 * 4236 + 514
    pictures = {each.path for each in client.list_artifacts(found.info.run_id, "pictures")}
    assert "pictures/relayed.png" in pictures
    # keys are gone, logs are kept and say nothing of images
    left = {path.name for path in (tmp_path / "out" / "relays").iterdir()}
    assert left == {"model_server.log", "gateway.log", *(f"relay-{name}.log" for name in "abcd")}
    assert Checkpoint(tmp_path / "out").record().finished


class Dying(Constellation):
    """Its model server is killed before anybody asks."""

    def start(self) -> None:
        super().start()
        self.kill("model_server")


@pytest.mark.slow
def test_a_model_server_that_dies_costs_the_answers_and_not_the_training(tiny, tmp_path, monkeypatch):
    """Emotion this time, client 1 has dropped out, and the run goes on when it is resumed."""
    monkeypatch.setattr(relayed_run, "Constellation", Dying)
    config = tiny(
        "task=emotion",
        "data.region=eye",
        "federation.rounds=1",
        "federation.faults=[1:raise]",
        "relays=loopback",
        "relays.timeout_s=1",
        "relays.relays=2",
        "relays.shares=2",
        "relays.images=21",
        "tracking=mlflow",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        "tracking.log_model=false",
    )
    out = tmp_path / "out"
    with pytest.raises(
        UserError, match=r"^relays: 16 of 16 images got no answer \(.*; model_server has ended"
    ):
        run(config, output_dir=out)
    assert not services()
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")

    def tracked():
        (found,) = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
        return found

    failed = tracked()
    assert failed.info.status == "FAILED"
    assert failed.data.tags["failure"].startswith("UserError: relays: 16 of 16 images got no answer")
    assert failed.data.metrics["relayed/lost"] == 16
    assert "relayed/macro_f1" not in failed.data.metrics
    assert failed.data.metrics["macro_f1"] >= 0
    assert {each.path for each in client.list_artifacts(failed.info.run_id, "pictures")} >= {
        "pictures/macro_f1.png",
        "pictures/predictions.png",
    }
    trained = Checkpoint(out).load()
    assert [result.number for result in trained.history] == [0, 1]
    assert not Checkpoint(out).record().finished

    monkeypatch.setattr(relayed_run, "Constellation", Constellation)
    report = resume(out)
    found = report.relayed
    assert report.parameters.tobytes() == trained.parameters.tobytes()
    assert (found.images, found.lost, found.failures) == (16, {}, {"exception": 1})
    assert found.difference == 0.0
    assert found.relayed == found.local
    assert tracked().info.status == "FINISHED"
    assert tracked().data.metrics["relayed/clients_failed_exception"] == 1
    assert not services()


def test_a_run_without_relays_leaves_no_trace_of_them(tiny, tmp_path):
    run(tiny("federation.rounds=1"), output_dir=tmp_path)
    assert "relays" not in json.loads((tmp_path / "checkpoint" / "run.json").read_text())["config"]
    assert not (tmp_path / "relays").exists()


def test_without_an_output_folder_there_is_nothing_to_serve(tiny):
    with pytest.raises(UserError, match="relays=loopback: serves the model from the run's output folder"):
        run(tiny("relays=loopback"))


def found(**changes):
    same = {"angular_error_deg": 5.0}
    figures = {"relayed": same, "local": same, "lost": {}, "differing": 0, "failures": {}, **changes}
    rest = {"sent_bytes": 1.0, "received_bytes": 1.0, "retries": 0}
    return Found("angular_error_deg", evaluated=5.0, images=8, p50_ms=1.0, p95_ms=2.0, **rest, **figures)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"differing": 1}, "1 of 8 answers are not those of local inference"),
        ({"relayed": {"angular_error_deg": 5.000000001}}, "5.000000001 through the relays, 5.0 local"),
        ({"lost": {"busy": 2}}, r"2 of 8 images got no answer \(busy 2\)"),
        ({"failures": {"no_reply": 3}}, r"none of 3 clients replied \(no_reply 3\)"),
        ({"relayed": {}, "local": {}}, "are not those of local inference"),
    ],
)
def test_a_run_fails_unless_every_answer_is_that_of_local_inference(changes, said):
    with pytest.raises(UserError, match=said):
        relayed_run._judge(found(**changes), 3, "")
    relayed_run._judge(found(), 3, "")


def test_clients_that_dropped_out_are_told_of_and_no_failure(caplog):
    relayed_run._judge(found(failures={"exception": 1}), 3, "")
    assert "relays: 2 of 3 clients replied (exception 1)" in caplog.text
    rows = dict(relayed_rows(found(failures={"exception": 1})))
    assert rows["through relays"] == "5, local 5: the same, every answer"
    assert rows["  clients failed"] == "1 exception"
