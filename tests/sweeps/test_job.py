"""One job of a sweep in this process: what becomes of it, and of what it finds."""

import json
import logging
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fedpriv.checkpoint import Checkpoint
from fedpriv.cores import SHARE
from fedpriv.sweeps.job import Pruned, can_resume, run_job
from fedpriv.sweeps.keys import job_key
from fedpriv.sweeps.processes import Process
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.reports import Report, ReportFile
from fedpriv.tracking.sweeps import SweepRuns, member_tag

KEY = "0123456789abcdef" * 2


@pytest.fixture
def configured(tiny, tmp_path, database):
    uri = database(tmp_path / "mlflow.db")
    return tiny(
        "tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false", "tracking.log_partition=false",
        "evaluation.pictures=0", "tracking.experiment=e", "federation.rounds=3",
    )  # fmt: skip


@pytest.fixture
def runs(configured):
    return SweepRuns.open(configured.tracking.uri, "e")


@pytest.fixture
def parent(runs, tmp_path):
    """A sweep that was launched in ``tmp_path``."""
    parent = runs.parent("sweep", KEY, "sweep", [], 2)
    SweepRecord(parent, runs.location.uri, "e", 1, Process.own(), {}).write(tmp_path)
    return parent


def do(folder, config, number=0, place="first", on_round=None):
    """Do a job as a launcher would; its output folder is ``place``."""
    settings = {
        "runtime": {"cwd": str(folder), "output_dir": str(folder / place)},
        "sweep": {"dir": "."},
        "job": {"num": number},
        "overrides": {"task": ["seed=0"]},
    }
    return run_job(config, OmegaConf.create(settings), on_round=on_round)


def raising(error, number=2):
    def on_round(result):
        if result.number == number:
            raise error

    return on_round


def test_a_finished_job_is_reused_and_no_round_is_trained_again(tmp_path, configured, runs, parent):
    heard = []
    first = do(tmp_path, configured, on_round=lambda result: heard.append(result.number))
    assert (first.state, heard) == ("finished", [0, 1, 2, 3])
    run = runs.run(first.run_id)
    assert first.value == run.metrics["angular_error_deg"]
    assert run.tags[member_tag(parent)] == "0"
    again = do(tmp_path, configured, 1, "second", heard.append)
    assert (again.state, again.run_id, again.value) == ("reused", first.run_id, first.value)
    assert len(heard) == 4
    assert runs.run(first.run_id).tags[member_tag(parent)] == "1"
    assert not (tmp_path / "second" / "checkpoint").exists()


def test_a_pruned_job_is_gone_on_with_in_its_own_run_when_it_is_wanted_again(
    tmp_path, configured, runs, parent, caplog
):
    caplog.set_level(logging.INFO)
    pruned = do(tmp_path, configured, on_round=raising(Pruned("worse than the median")))
    run = runs.run(pruned.run_id)
    assert (pruned.state, run.status) == ("pruned", "KILLED")
    assert run.tags["failure"] == pruned.reason == "Pruned: worse than the median"
    heard = []
    done = do(tmp_path, configured, place="second", on_round=lambda result: heard.append(result.number))
    assert (done.state, done.run_id, heard) == ("finished", pruned.run_id, [3])
    assert runs.run(done.run_id).status == "FINISHED"
    assert "failure" not in runs.run(done.run_id).tags
    assert "goes on after round 2 of 3" in (tmp_path / "first" / "run.log").read_text()


def test_a_run_that_was_begun_without_a_model_is_not_gone_on_with_where_one_is_asked_for(
    tmp_path, configured, runs, parent
):
    pruned = do(tmp_path, configured, on_round=raising(Pruned("")))
    configured.tracking.log_model = True
    again = do(tmp_path, configured, place="second", on_round=raising(Pruned(""), 1))
    assert again.run_id != pruned.run_id
    assert runs.run(again.run_id).params["tracking.log_model"] == "true"
    assert [each.run_id for each in runs.members(parent)] == [again.run_id]


def test_a_private_run_that_was_charged_to_no_ledger_is_neither_gone_on_with_nor_reused_for_one(
    tmp_path, configured, runs, parent, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    private = OmegaConf.merge(
        configured, {"privacy": {"unit": "sample", "epsilon": 8.0, "delta": 1e-5, "ledger": None}}
    )
    uncharged = do(tmp_path, private, on_round=raising(Pruned(""), 1))
    assert can_resume(tmp_path / "first", job_key(private), uncharged.run_id)
    private.privacy.ledger = "default"
    assert not can_resume(tmp_path / "first", job_key(private), uncharged.run_id)
    assert runs.job_runs(job_key(private)) == []
    charged = do(tmp_path, private, place="second", on_round=raising(Pruned(""), 1))
    assert charged.run_id != uncharged.run_id
    assert (tmp_path / "state" / "fedpriv" / "ledger" / "ledger.jsonl").is_file()


def test_a_job_that_goes_wrong_is_failed_and_no_exception(tmp_path, configured, runs, parent):
    failed = do(tmp_path, configured, on_round=raising(RuntimeError("no luck\nat all")))
    assert (failed.state, failed.value is not None, failed.reason) == (
        "failed",
        True,
        "RuntimeError: no luck",
    )
    run = runs.run(failed.run_id)
    assert (run.status, run.tags["failure"]) == ("FAILED", "RuntimeError: no luck")


def test_a_job_that_is_refused_has_a_run_that_says_so(tmp_path, configured, runs, parent):
    configured.federation.clients = 400
    refused = do(tmp_path, configured)
    assert (refused.state, refused.refused) == ("failed", True)
    run = runs.run(refused.run_id)
    assert (run.status, run.tags["failure"]) == ("FAILED", refused.reason)
    assert run.params["federation.clients"] == "400"
    again = do(tmp_path, configured, place="second")
    assert [each.run_id for each in runs.members(parent)] == [again.run_id]


def test_a_checkpoint_that_is_of_no_use_any_more_is_computed_anew_outside_of_it(
    tmp_path, configured, runs, parent
):
    pruned = do(tmp_path, configured, on_round=raising(Pruned("")))
    (tmp_path / "first" / "checkpoint" / "state.npz").write_bytes(b"damaged")
    done = do(tmp_path, configured, place="second")
    assert done.state == "finished"
    assert done.run_id != pruned.run_id
    assert [each.run_id for each in runs.members(parent)] == [done.run_id]
    assert runs.run(pruned.run_id).status == "KILLED"


def test_a_checkpoint_is_gone_on_with_by_its_own_job_and_run_only(tmp_path, configured, runs, parent):
    pruned = do(tmp_path, configured, on_round=raising(Pruned("")))
    folder, key = tmp_path / "first", job_key(configured)
    assert can_resume(folder, key, pruned.run_id)
    assert not can_resume(folder, KEY, pruned.run_id)
    assert not can_resume(folder, key, "another")
    assert not can_resume(Path("first"), key, pruned.run_id)
    assert not can_resume(tmp_path, key, pruned.run_id)
    path = folder / "checkpoint" / "run.json"
    record = json.loads(path.read_text())
    for damage in ({"format": 0}, {"config": {}}, {"config": []}, {"config": {"seed": "${oc.env:HOME}"}}):
        path.write_text(json.dumps({**record, **damage}))
        assert not can_resume(folder, key, pruned.run_id)


def test_a_run_that_another_process_goes_on_with_is_left_alone(tmp_path, configured, runs, parent):
    pruned = do(tmp_path, configured, on_round=raising(Pruned("")))
    with Checkpoint(tmp_path / "first").held():
        report = do(tmp_path, configured, place="second")
    assert (report.state, report.run_id) == ("failed", pruned.run_id)
    assert "a run is under way there" in report.reason
    assert runs.run(pruned.run_id).status == "KILLED"
    assert do(tmp_path, configured, place="first").run_id == pruned.run_id


def test_a_process_is_as_it_was_after_a_job(tmp_path, configured, parent):
    handler = logging.StreamHandler()
    handler.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    try:
        before = ([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)], os.environ.get(SHARE))
        files = len(logging.getLogger().handlers)
        do(tmp_path, configured, on_round=raising(Pruned("")))
        do(tmp_path, configured, place="second")
        after = ([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)], os.environ.get(SHARE))
        assert after == before
        assert handler.level == logging.DEBUG
        assert len(logging.getLogger().handlers) == files
    finally:
        logging.getLogger().removeHandler(handler)


def test_without_tracking_a_job_is_run_and_reported(tmp_path, tiny):
    SweepRecord(None, None, "e", 1, Process.own(), {}).write(tmp_path)
    report = do(tmp_path, tiny("federation.rounds=1"))
    assert (report.state, report.run_id, report.metric) == ("finished", None, "angular_error_deg")
    assert report.value > 0
    assert [each.state for each in ReportFile(tmp_path).new()] == ["running", "finished"]


def test_what_was_finished_when_the_sweep_began_needs_no_store(tmp_path, tiny):
    known = Report(0, "reused", "accuracy", 0.5, "8", "run")
    record = SweepRecord("p", "sqlite:////nowhere/a.db", "e", 1, Process.own(), {"0": known.__dict__})
    record.write(tmp_path)
    assert do(tmp_path, tiny()) == known
    assert ReportFile(tmp_path).new() == []
