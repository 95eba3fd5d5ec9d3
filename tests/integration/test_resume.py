"""Runs that are killed (-9) in the middle of a round and resumed: nothing is lost, nothing under-counted."""

import dataclasses
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.compose import compose_run
from fedpriv.config.privacy import sum_plan_of
from fedpriv.errors import UserError
from fedpriv.privacy import accounting
from fedpriv.runner import resume, run
from tests.conftest import ROOT, TINY
from tests.integration import cut_off
from tests.integration.cut_off import BEFORE_MLFLOW, arm
from tests.integration.forked import run_forked

LONGER = (*TINY, "federation.rounds=4")
FACES = (
    "task=face",
    "model=face_cnn",
    "evaluation.every=1",
    "data=synthetic_patterns",
    "++task.trainable_head=true",
    "++task.codewords=16",
    "data.people=16",
    "data.images_per_person=6",
    "data.size=20",
    "evaluation.test_subjects=6",
    "evaluation.pictures=0",
    "federation.clients=4",
    "federation.rounds=4",
    "training.local_epochs=1",
    "engine.workers=0",
    "engine.threads=1",
    "tracking=none",
)
DP = ("privacy=dp_sgd", "privacy.epsilon=6", "training.batch_size=8")


class Cut(BaseException):
    """Ends a run as suddenly as a signal does, in the process of the tests."""


@pytest.fixture(scope="module")
def kill():
    """Lets a run kill its process in a round, once so many clients have answered, and waits for that."""
    return cut_off.kill


@pytest.fixture
def cut(monkeypatch):
    """The same without another process, for what a process leaves on disk is the same."""

    def end():
        raise Cut

    def cut(folder, number, answered, *overrides):
        with monkeypatch.context() as patch:
            arm(patch.setattr, number, answered, end)
            with pytest.raises(Cut):
                run(compose_run(*overrides), output_dir=folder)

    return cut


def figures(report):
    """Everything of a history but the times, which no two runs share, and the making of another key."""
    rounds = [dataclasses.asdict(result) for result in report.history]
    apart = ("seconds", "local_seconds", "bytes_keyholders", "bytes_keys")
    return [{k: v for k, v in each.items() if k not in apart} for each in rounds]


def assert_same_run(resumed, undisturbed):
    assert resumed.parameters.tobytes() == undisturbed.parameters.tobytes()
    assert figures(resumed) == figures(undisturbed)


CASES = {
    "serial": LONGER,
    "adam on the server": (*LONGER, "strategy=fedadam", "federation.cohort=3"),
    "heads that stay private": FACES,
    "worker processes": (*LONGER, "engine.workers=2"),
    "encrypted": (*LONGER, "secure=bfv"),
    "encrypted for a committee": (*LONGER, "secure=bfv_committee"),
    "centralized": (*LONGER, "mode=centralized", "training.optimizer=adam"),
    "centralized, momentum and head": (
        *FACES,
        "mode=centralized",
        "training.optimizer=sgd",
        "training.momentum=0.9",
    ),
    "alone": (*LONGER, "mode=local", "training.optimizer=adam"),
    "seeded noise, no target": (
        *LONGER,
        "privacy=dp_sgd",
        "privacy.noise=fast",
        "privacy.epsilon=null",
        "privacy.noise_multiplier=1.0",
    ),
}
QUICK = ("adam on the server",)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_a_killed_and_resumed_run_is_bit_by_bit_the_undisturbed_one(tmp_path, case, kill):
    overrides = CASES[case]
    kill(tmp_path, 3, 2, *overrides)
    assert len(Checkpoint(tmp_path).load().history) == 3
    resumed, undisturbed = resume(tmp_path), run(compose_run(*overrides))
    if "noise" in case:  # the charge shows in epsilon, and only there
        assert resumed.parameters.tobytes() == undisturbed.parameters.tobytes()
        assert resumed.history[-1].epsilon > undisturbed.history[-1].epsilon
    else:
        assert_same_run(resumed, undisturbed)
    assert [result.number for result in resumed.history] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_mlflow_has_each_round_once_even_one_that_only_the_checkpoint_had(tmp_path, database, kill):
    from mlflow import MlflowClient

    uri = database(tmp_path / "mlflow.db")
    tracked = (*LONGER, "tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false")
    kill(tmp_path / "run", 2, BEFORE_MLFLOW, *tracked)
    client = MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
    steps = [m.step for m in client.get_metric_history(found.info.run_id, "angular_error_deg")]
    assert (found.info.status, sorted(steps)) == ("RUNNING", [0, 1])

    report = resume(tmp_path / "run")
    assert report.mlflow_run_id == found.info.run_id
    for name in ("angular_error_deg", "train_loss", "bytes_up"):
        history = client.get_metric_history(found.info.run_id, name)
        assert sorted(metric.step for metric in history) == [0, 1, 2, 3, 4][name == "train_loss" :], name
    values = {m.step: m.value for m in client.get_metric_history(found.info.run_id, "angular_error_deg")}
    assert values == {each.number: each.metrics["angular_error_deg"] for each in report.history}
    after = client.get_run(found.info.run_id)
    assert after.info.status == "FINISHED"
    assert after.data.tags["resumed_after_round"] == "2"
    assert {Path(item.path).name for item in client.list_artifacts(after.info.run_id, "pictures")} >= {
        "angular_error_deg.png"
    }
    assert len(client.search_runs([after.info.experiment_id])) == 1


def releases(transcript):
    """The rounds that a key holder has opened, in order."""
    lines = [json.loads(line) for line in transcript.read_text().splitlines()]
    return [line["round"] for line in lines if line["event"] == "release"]


def histories(folder):
    return {n: memory.history for n, memory in Checkpoint(folder).load().kept.memories.items()}


def test_the_lost_round_is_charged_to_every_client_and_the_last_round_falls_to_it(tmp_path, cut):
    cut(tmp_path, 3, 2, *LONGER, *DP)
    before = histories(tmp_path)
    steps = before[0][0][2]
    report = resume(tmp_path)
    # two rounds kept, one lost, one trained anew: the budget of four is spent before the last
    after = histories(tmp_path)
    assert {n: history[0][2] for n, history in before.items()} == dict.fromkeys(range(4), steps)
    assert {n: history[0][2] for n, history in after.items()} == dict.fromkeys(range(4), 2 * steps)
    last = report.history[-1]
    assert (last.number, last.replied, last.failures) == (4, 0, {"budget_spent": 4})
    truth = max(accounting.spent(history, 1e-5).epsilon for history in after.values())
    assert last.epsilon == pytest.approx(truth)
    assert 5.5 < last.epsilon <= 6.0
    assert "angular_error_deg" in last.metrics
    kept = Checkpoint(tmp_path).load()
    assert kept.kept.ended
    assert kept.parameters.tobytes() == report.parameters.tobytes()


def test_a_second_crash_in_the_same_round_is_charged_a_second_time(tmp_path, monkeypatch, cut):
    cut(tmp_path, 2, 1, *LONGER, *DP)
    once = histories(tmp_path)[0][0][2]
    for crash in (1, 2):
        monkeypatch.setattr("fedpriv.trainers.launch_inprocess", _crash)
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path)
        assert {history[0][2] for history in histories(tmp_path).values()} == {(1 + crash) * once}
    monkeypatch.undo()
    report = resume(tmp_path)  # charged a third time: 1 kept + 3 lost = the whole budget of 4
    assert [result.failures for result in report.history[2:]] == [{"budget_spent": 4}]
    assert 5.5 < report.history[-1].epsilon <= 6.0
    assert {history[0][2] for history in histories(tmp_path).values()} == {4 * once}


def _crash(*_, **__):
    raise KeyboardInterrupt


def test_a_crash_before_the_first_round_of_a_private_run_is_charged_too(tmp_path, cut):
    cut(tmp_path, 1, 1, *LONGER, *DP)
    assert set(histories(tmp_path).values()) == {()}
    report = resume(tmp_path)
    assert [bool(result.replied) for result in report.history] == [False, True, True, True, False]
    assert report.history[-1].epsilon <= 6.0


def test_a_centralized_private_run_is_charged_and_stops_with_the_model_so_far(tmp_path, cut):
    cut(tmp_path, 2, 0, *LONGER, *DP, "mode=centralized")
    report = resume(tmp_path)
    assert [result.failures for result in report.history] == [{}, {}, {}, {}, {"budget_spent": 1}]
    assert report.history[-1].metrics == report.history[-2].metrics
    spent = accounting.spent(histories(tmp_path)[0], 1e-5).epsilon
    assert report.history[-1].epsilon == pytest.approx(spent)


def test_clients_that_train_alone_are_all_charged_and_stop_with_their_models_so_far(tmp_path, cut):
    cut(tmp_path, 2, 0, *LONGER, *DP, "mode=local")
    report = resume(tmp_path)
    assert [result.failures for result in report.history] == [{}, {}, {}, {}, {"budget_spent": 4}]
    assert report.history[-1].metrics == report.history[-2].metrics
    kept = histories(tmp_path)
    assert kept.keys() == {0, 1, 2, 3}
    spent = max(accounting.spent(history, 1e-5).epsilon for history in kept.values())
    assert report.history[-1].epsilon == pytest.approx(spent)
    assert report.history[-1].epsilon <= 6.0


def test_a_run_cut_off_after_its_last_round_is_finished_without_a_charge(tmp_path, monkeypatch):
    config = compose_run(*TINY, *DP)
    monkeypatch.setattr(Checkpoint, "finish", _crash)
    with pytest.raises(KeyboardInterrupt):
        run(config, output_dir=tmp_path)
    monkeypatch.undo()
    before = histories(tmp_path)
    report = resume(tmp_path)
    assert histories(tmp_path) == before
    assert len(report.history) == 3
    assert Checkpoint(tmp_path).record().finished


def test_a_finished_run_is_said_to_be_and_left_alone(tmp_path, capsys):
    from rich.console import Console

    first = run(compose_run(*TINY), output_dir=tmp_path)
    state = (tmp_path / "checkpoint" / "state.npz").stat()
    again = resume(tmp_path, Console())
    assert "is finished, there is nothing to resume" in capsys.readouterr().out
    assert_same_run(again, first)
    assert (tmp_path / "checkpoint" / "state.npz").stat() == state


def test_a_resumed_run_has_another_run_id_in_all_that_is_signed_and_opened(tmp_path, cut):
    """So nothing that the first process' clients signed can be played to the second's key holder."""
    cut(tmp_path, 3, 2, *LONGER, "secure=bfv")
    record = json.loads((tmp_path / "checkpoint" / "run.json").read_text())
    first = tmp_path / "transcripts" / "holder-0.jsonl"
    assert releases(first) == [1, 2]
    before = first.read_bytes()
    resume(tmp_path)
    assert first.read_bytes() == before
    (second,) = set((tmp_path / "transcripts").glob("*.jsonl")) - {first}
    assert releases(second) == [3, 4]
    ids = [{json.loads(line)["run"] for line in path.read_text().splitlines()} for path in (first, second)]
    assert ids[0] == {record["config"]["run_id"]}
    assert len(ids[1]) == 1
    assert ids[1].isdisjoint(ids[0])
    assert second.name == f"holder-0-{ids[1].pop()[:8]}.jsonl"
    assert json.loads((tmp_path / "checkpoint" / "run.json").read_text())["config"] == record["config"]


def interrupted(folder, *overrides):
    """A run that fails in round 1, so that a checkpoint of round 0 is left."""
    faults = "federation.faults=[0:raise,1:raise,2:raise,3:raise]"
    with pytest.raises(UserError, match="round 1: none of the 4 clients"):
        run(compose_run(*TINY, faults, *overrides), output_dir=folder)


def test_ray_is_refused_in_one_line(tmp_path):
    interrupted(tmp_path)
    path = tmp_path / "checkpoint" / "run.json"
    record = json.loads(path.read_text())
    record["config"]["engine"]["name"] = "ray"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"engine=ray keeps the clients' memory to itself"):
        resume(tmp_path)


def test_data_that_has_changed_since_is_refused(tmp_path):
    interrupted(tmp_path)
    path = tmp_path / "checkpoint" / "run.json"
    record = json.loads(path.read_text())
    record["config"]["data"]["images_per_person"] = 15
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="the data has changed since; run the experiment again"):
        resume(tmp_path)


def test_another_model_is_refused(tmp_path):
    interrupted(tmp_path)
    path = tmp_path / "checkpoint" / "run.json"
    record = json.loads(path.read_text())
    record["config"]["model"]["width"] = 16
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="the checkpoint holds another model; run the experiment again"):
        resume(tmp_path)


def test_no_key_is_in_the_checkpoint_and_nobody_else_can_read_it(tmp_path):
    interrupted(tmp_path, "secure=bfv")
    folder = tmp_path / "checkpoint"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert names == {"run.json": 0o600, "state.npz": 0o600, "lock": 0o600}
    assert b".key" not in b"".join(path.read_bytes() for path in folder.iterdir())
    assert json.loads((folder / "run.json").read_text())["config"]["secure"]["key_folder"] is None


def command(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "fedpriv.cli", "resume", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_goes_on_and_appends_to_the_runs_log(tmp_path, cut):
    cut(tmp_path / "out", 3, 2, *LONGER)
    (tmp_path / "out" / "run.log").write_text("as it began\n")
    done = run_forked("fedpriv resume out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Run summary" in done.stdout
    text = (tmp_path / "out" / "run.log").read_text()
    assert text.startswith("as it began\n")
    assert "goes on after round 2 of 4" in text
    assert "round 4/4" in text
    assert "round 2/4" not in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "fedpriv: resume : needs one folder"),
        (["nowhere"], "fedpriv: nowhere: holds no checkpoint; name the output folder of a run"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, arguments, line):
    done = command(*arguments, folder=tmp_path)
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_finished_round_is_missing_from_the_checkpoint(tmp_path):
    """The private heads are there; what the key holder has opened is in its transcript."""
    overrides = (*FACES, "secure=bfv", "federation.rounds=1")
    run(compose_run(*overrides), output_dir=tmp_path)
    kept = Checkpoint(tmp_path).load().kept
    assert sorted(kept.memories) == [0, 1, 2, 3]
    assert len({memory.head.tobytes() for memory in kept.memories.values()}) == 4
    assert all(np.isfinite(memory.head).all() for memory in kept.memories.values())
    assert releases(tmp_path / "transcripts" / "holder-0.jsonl") == [1]


SUMS = (*LONGER, "privacy=client_level", "secure=bfv")


def test_a_lost_sum_is_charged_before_anything_is_trained_and_the_last_round_falls_to_it(
    tmp_path, cut, monkeypatch
):
    """Four rounds of all four clients were planned: two kept, two lost, and no third is opened."""
    overrides = (*SUMS, "federation.min_replies=4")
    plan = sum_plan_of(compose_run(*overrides))
    cut(tmp_path, 3, 4, *overrides)
    before = Checkpoint(tmp_path).load()
    assert before.kept.lost_releases == ()
    assert before.history[-1].epsilon == plan.spent([4, 4]).epsilon
    monkeypatch.setattr("fedpriv.trainers.launch_inprocess", _crash)
    with pytest.raises(KeyboardInterrupt):
        resume(tmp_path)
    monkeypatch.undo()
    assert Checkpoint(tmp_path).load().kept.lost_releases == ((3, 4),)
    report = resume(tmp_path)
    kept = Checkpoint(tmp_path).load()
    assert kept.kept.lost_releases == ((3, 4), (3, 4))
    assert [result.replied for result in report.history] == [0, 4, 4, 0]
    last = report.history[-1]
    assert last.failures == {"round_discarded": 4}
    assert last.epsilon == plan.spent([4] * 4).epsilon <= 8.0
    assert "angular_error_deg" in last.metrics
    assert kept.kept.ended
    assert report.parameters.tobytes() == before.parameters.tobytes()


@pytest.mark.parametrize("clipping", ["fixed", "adaptive"])
def test_with_budget_to_spare_a_lost_sum_shows_in_epsilon_and_with_seeded_noise_nowhere_else(
    tmp_path, cut, clipping
):
    seeded = ("privacy.noise=fast", "privacy.epsilon=null", "privacy.noise_multiplier=2")
    overrides = (*SUMS, *seeded, f"privacy.clipping={clipping}")
    cut(tmp_path, 3, 2, *overrides)
    resumed, undisturbed = resume(tmp_path), run(compose_run(*overrides))
    assert resumed.parameters.tobytes() == undisturbed.parameters.tobytes()
    norms = [[each.clipping_norm for each in report.history] for report in (resumed, undisturbed)]
    assert norms[0] == norms[1]
    assert len(set(norms[0])) == (5 if clipping == "adaptive" else 1)
    plan = sum_plan_of(compose_run(*overrides))
    assert resumed.history[-1].epsilon == plan.spent([4, 4, 4, 4, 2]).epsilon
    assert undisturbed.history[-1].epsilon == plan.spent([4, 4, 4, 4]).epsilon
    again = Checkpoint(tmp_path).load()
    assert again.kept.lost_releases == ((3, 2),)
