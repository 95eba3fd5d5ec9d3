import itertools
import math
import signal
import threading

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

import fedpriv
from fedpriv.errors import UserError
from fedpriv.privacy.accounting import Spent
from fedpriv.results import RoundResult
from fedpriv.tracking import mlflow_logger
from fedpriv.tracking.abandoned import end_abandoned
from fedpriv.tracking.mlflow_logger import EPSILON_SO_FAR, RunLogger
from fedpriv.tracking.round_metrics import round_metrics
from fedpriv.tracking.store import RUN_KEY


def _history(client, run_id):
    run = client.get_run(run_id)
    return {
        name: {(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)}
        for name in run.data.metrics
    }


FULL = RoundResult(
    number=3,
    metrics={"angular_error_deg": 9.25, "val|acc@1": 0.5},
    train_loss=0.75,
    epsilon=2.5,
    delta=1e-5,
    bytes_up=700,
    bytes_down=800,
    bytes_keyholders=900,
    bytes_keys=300,
    update_bytes=100,
    seconds={"train": 4.0, "encrypt": 1.0, "aggregate": 0.5, "decrypt": 0.25, "evaluate": 2.0},
    asked=8,
    replied=7,
    failures={"no_reply": 1, "non_finite": 2},
    clipped_fraction=0.125,
    coarse_fraction=0.375,
)


def test_every_promised_metric_stands_at_its_round(start, client):
    with start() as run:
        run.log_round(FULL)
    assert _history(client, run.run_id) == {
        name: {(3, value)}
        for name, value in {
            "angular_error_deg": 9.25,
            "val_acc_1": 0.5,
            "train_loss": 0.75,
            "epsilon": 2.5,
            "delta": 1e-5,
            "bytes_up": 700,
            "bytes_down": 800,
            "bytes_keyholders": 900,
            "bytes_keys": 300,
            "update_bytes": 100,
            "seconds_train": 4.0,
            "seconds_encrypt": 1.0,
            "seconds_aggregate": 0.5,
            "seconds_decrypt": 0.25,
            "seconds_evaluate": 2.0,
            "clients_asked": 8,
            "clients_replied": 7,
            "clients_failed": 3,
            "clients_failed_no_reply": 1,
            "clients_failed_non_finite": 2,
            "clipped_fraction": 0.125,
            "coarse_fraction": 0.375,
        }.items()
    }


def test_rounds_follow_each_other(start, client):
    with start() as run:
        for number in range(4):
            run.log_round(RoundResult(number, {"m": number * 10.0}))
        run.finish(summary={"best_m": 30.0})
    history = _history(client, run.run_id)
    assert history["m"] == {(0, 0.0), (1, 10.0), (2, 20.0), (3, 30.0)}
    assert history["best_m"] == {(3, 30.0)}


def test_an_interrupted_run_is_continued(start, client, tracking_uri):
    run = start()
    run.log_round(RoundResult(1, {"m": 1.0}))
    run.fail(KeyboardInterrupt())
    with RunLogger.resume(tracking_uri, run.run_id, {"token": "swordfish"}) as again:
        assert client.get_run(run.run_id).info.status == "RUNNING"
        again.log_round(RoundResult(2, {"m": 2.0}))
    assert _history(client, run.run_id)["m"] == {(1, 1.0), (2, 2.0)}
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert again.experiment == "tests"


def test_a_continued_run_knows_its_rounds_and_forgets_its_failure(start, client, tracking_uri):
    run = start()
    for number in (0, 1, 3):
        run.log_round(RoundResult(number, {}))
    run.fail(RuntimeError("planted"))
    assert "failure" in client.get_run(run.run_id).data.tags
    with RunLogger.resume(tracking_uri, run.run_id, {}) as again:
        assert again.rounds() == {0, 1, 3}
        again.tag("resumed_after_round", "3")
        again.finish(summary={"best": 1.0})
    found = client.get_run(run.run_id)
    assert "failure" not in found.data.tags
    assert found.data.tags["resumed_after_round"] == "3"
    assert _history(client, run.run_id)["best"] == {(3, 1.0)}


def test_resuming_an_unknown_run_is_the_users_error(tracking_uri):
    with pytest.raises(UserError, match=r"run_id=0123.*not found"):
        RunLogger.resume(tracking_uri, "0123", {})


@pytest.mark.parametrize("written", ["no parameter", "some parameters", "all but the file"])
def test_a_run_whose_process_died_while_making_it_is_taken_over_and_completed(
    start, client, artifact_text, monkeypatch, written
):
    config = {f"group{i}": {"value": i} for i in range(250)}
    count = itertools.count()

    def die(real, after):
        def dying(self, *arguments, **named):
            if next(count) >= after:
                raise KeyboardInterrupt
            return real(self, *arguments, **named)

        return dying

    with monkeypatch.context() as patched:
        name = "log_text" if written == "all but the file" else "log_batch"
        real = getattr(MlflowClient, name)
        patched.setattr(MlflowClient, name, die(real, 1 if written == "some parameters" else 0))
        patched.setattr(
            MlflowClient, "set_terminated", lambda *_: None
        )  # nobody does that for a dead process
        with pytest.raises(KeyboardInterrupt):
            start(config, key=f"dead{len(written)}")
    (left,) = runs_with_key(client, f"dead{len(written)}")
    assert left.info.status == "RUNNING"
    assert len(left.data.params) == {"no parameter": 0, "some parameters": 100}.get(written, 250)

    # the process that goes on has settings of its own, as its keys' folder
    with start({**config, "group7": {"value": "other"}}, key=f"dead{len(written)}") as run:
        pass
    (whole,) = runs_with_key(client, f"dead{len(written)}")
    assert whole.info.run_id == run.run_id == left.info.run_id
    assert whole.info.status == "FINISHED"
    assert len(whole.data.params) == 250
    assert whole.data.params["group7.value"] == ("other" if written == "no parameter" else "7")
    assert yaml.safe_load(artifact_text(run.run_id, "config.yaml"))["group8"] == {"value": 8}


def runs_with_key(client, key):
    (experiment,) = client.search_experiments(filter_string="name = 'tests'")
    return [
        run for run in client.search_runs([experiment.experiment_id]) if run.data.tags.get(RUN_KEY) == key
    ]


def test_a_run_that_is_taken_over_has_its_baseline_once_and_no_failure(start, client):
    run = start(key="twice")
    run.log_baseline({"m": 1.0})
    run.fail(RuntimeError("planted"))
    with start(key="twice") as again:
        assert "failure" not in client.get_run(run.run_id).data.tags
        again.log_baseline({"m": 1.0, "n": 2.0})
    assert again.run_id == run.run_id
    assert len(client.get_metric_history(run.run_id, "baseline_m")) == 1
    assert len(client.get_metric_history(run.run_id, "baseline_n")) == 1


def test_runs_of_other_keys_deleted_runs_and_hostile_keys_are_not_taken_over(start, client):
    made = [start(key=key).run_id for key in ("a1", "a2", "a' OR tags.seed = '7", "a' OR tags.seed = '7", "")]
    assert len(set(made)) == 5
    client.delete_run(made[0])
    assert start(key="a1").run_id not in made
    assert start(key="a2").run_id == made[1]


def test_an_abandoned_run_is_ended_and_another_left_alone(start, client, tracking_uri):
    left, other, ended = start(key="b1"), start(key="b2"), start(key="b3")
    ended.finish()
    for key in ("b1", "b3", "nobody"):
        end_abandoned(tracking_uri, "tests", key)
    status = [client.get_run(run.run_id).info.status for run in (left, other, ended)]
    assert status == ["KILLED", "RUNNING", "FINISHED"]
    assert client.get_run(left.run_id).data.tags["failure"] == "killed before its first round"
    assert "failure" not in client.get_run(ended.run_id).data.tags
    end_abandoned(tracking_uri, "no such experiment", "b2")
    assert client.get_run(other.run_id).info.status == "RUNNING"
    other.finish()


def test_where_there_is_no_store_nothing_is_ended_and_nothing_made(tmp_path):
    end_abandoned(f"sqlite:///{tmp_path}/none.db", "tests", "b1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "notes.db").write_text("no database" * 100)
    with pytest.raises(UserError, match=r"notes\.db: is no SQLite database"):
        end_abandoned(f"sqlite:///{tmp_path}/notes.db", "tests", "b1")


def test_what_was_not_measured_is_left_out():
    written = round_metrics(
        RoundResult(0, {"a": math.nan, "b": math.inf, "c": 1.0}, train_loss=math.nan, epsilon=None)
    )
    assert set(written) == {
        "c",
        "bytes_up",
        "bytes_down",
        "bytes_keyholders",
        "clients_asked",
        "clients_replied",
        "clients_failed",
        "clipped_fraction",
    }


def test_update_bytes_needs_a_reply():
    assert "update_bytes" not in round_metrics(RoundResult(1, {}, asked=3))
    assert round_metrics(RoundResult(1, {}, update_bytes=9, asked=3, replied=1))["update_bytes"] == 9


def test_baseline_is_prefixed_at_step_0(start, client):
    with start() as run:
        run.log_baseline({"angular_error_deg": 15.0, "other": math.nan})
    assert _history(client, run.run_id) == {"baseline_angular_error_deg": {(0, 15.0)}}


def test_limits_of_mlflow_hold_for_a_hostile_config(start, client, artifact_text):
    config = {f"group{i}": {"val|acc@1": i} for i in range(250)} | {"long": "x" * 10_000, "n" * 400: 1}
    with start(config) as run:
        pass
    params = client.get_run(run.run_id).data.params
    assert len(params) == 252
    assert params["group249.val_acc_1"] == "249"
    assert len(params["long"]) == 6000
    assert yaml.safe_load(artifact_text(run.run_id, "config.yaml")) == config


def test_tags_say_what_ran(start, client, tmp_path):
    parent = start()
    parent.finish()
    with start(
        {"lr": 0.1},
        overrides=["task=gaze", "note=two words"],
        tags={"sweep.job_num": "4"},
        parent_run_id=parent.run_id,
        log_dir=tmp_path,
    ) as run:
        pass
    data = client.get_run(run.run_id).data
    assert data.tags["seed"] == "7"
    assert data.tags["fedpriv_version"] == fedpriv.__version__
    assert {"flwr_version", "torch_version", "opacus_version", "tenseal_version", "mlflow_version"} <= set(
        data.tags
    )
    assert data.tags["git_commit"]
    assert len(data.tags["config_hash"]) == 16
    assert data.tags["overrides"] == "task=gaze 'note=two words'"
    assert data.tags["sweep.job_num"] == "4"
    assert data.tags["mlflow.parentRunId"] == parent.run_id
    assert data.tags["log_dir"] == str(tmp_path)
    assert client.get_run(run.run_id).info.run_name == "a run"


def test_no_secret_reaches_anything_logged(start, client, artifact_text):
    config = {"site": {"api_key": "swordfish", "uri": "http://ann:mackerel@h"}, "secure": {"key_holders": 3}}
    with (
        pytest.raises(RuntimeError),
        start(config, overrides=["site.api_key=swordfish"], tags={"note": "mine: swordfish"}) as run,
    ):
        raise RuntimeError("login with swordfish at http://ann:mackerel@h failed")
    data = client.get_run(run.run_id).data
    everything = repr(data.params) + repr(data.tags) + artifact_text(run.run_id, "config.yaml")
    assert "swordfish" not in everything
    assert "mackerel" not in everything
    assert data.params["site.api_key"] == "<hidden>"
    assert yaml.safe_load(artifact_text(run.run_id, "config.yaml"))["site"]["api_key"] == "<hidden>"
    assert data.params["secure.key_holders"] == "3"


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (ValueError("first line\nsecond line"), "FAILED", "ValueError: first line"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt: "),
        (SystemExit(2), "KILLED", "SystemExit: 2"),
    ],
)
def test_an_exception_ends_the_run_and_passes_on(start, client, error, status, tag):
    with pytest.raises(type(error)), start() as run:
        raise error
    ended = client.get_run(run.run_id)
    assert ended.info.status == status
    assert ended.info.end_time is not None
    assert ended.data.tags["failure"] == tag


def test_a_long_failure_cannot_leave_half_a_secret(start, client):
    secret = "s" * 100
    with pytest.raises(ValueError, match="x"), start({"token": secret}) as run:
        raise ValueError("x" * 4950 + secret)
    assert "sss" not in client.get_run(run.run_id).data.tags["failure"]


def test_finish_counts_once(start, client):
    with start() as run:
        run.finish("KILLED")
        run.finish("FINISHED")
    assert client.get_run(run.run_id).info.status == "KILLED"


def test_a_store_that_fails_for_a_moment_loses_no_round(start, client, monkeypatch, caplog):
    run = start()
    real = type(run._client).log_batch
    broken = [True]

    def sometimes(self, *arguments, **named):
        if broken[0]:
            raise MlflowException("database is locked")
        return real(self, *arguments, **named)

    monkeypatch.setattr(type(run._client), "log_batch", sometimes)
    run.log_round(RoundResult(1, {"m": 1.0}))
    with pytest.raises(MlflowException, match="database is locked"):
        run.flush()
    broken[0] = False
    run.log_round(RoundResult(2, {"m": 2.0}))
    run.finish()
    assert _history(client, run.run_id)["m"] == {(1, 1.0), (2, 2.0)}
    assert "database is locked" in caplog.text


def test_an_infinite_epsilon_is_a_tag_even_where_the_store_failed_when_it_was_written(
    start, client, monkeypatch
):
    run = start(tags=EPSILON_SO_FAR)
    run.log_round(RoundResult(1, {}, epsilon=2.0000001))
    run.flush()
    assert client.get_run(run.run_id).data.tags["epsilon"] == "2.00001"

    def broken(self, *arguments, **named):
        raise MlflowException("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(type(run._client), "log_batch", broken)
        run.log_round(RoundResult(2, {}, epsilon=math.inf))
        with pytest.raises(MlflowException, match="database is locked"):
            run.flush()
    run.log_figures({"other": 1.0})
    run.flush()
    data = client.get_run(run.run_id).data
    assert (data.tags["epsilon"], data.metrics["epsilon"]) == ("inf", 2.0000001)
    assert data.tags["epsilon_is"] == EPSILON_SO_FAR["epsilon_is"]
    run.log_epsilon(Spent(math.inf, 1e-5, "none"))
    run.finish()
    data = client.get_run(run.run_id).data
    assert (data.tags["epsilon"], data.tags["epsilon_is"]) == ("inf", "of the whole run")
    assert data.tags["privacy_accountant"] == "none"


def test_the_epsilon_of_a_round_that_failed_stands_after_the_last_that_did_not(start, client):
    run = start()
    run.log_round(RoundResult(1, {}, epsilon=2.0))
    run.log_epsilon(Spent(3.0, 1e-5, "prv"), round_failed=True)
    run.finish()
    assert _history(client, run.run_id)["epsilon"] == {(1, 2.0), (2, 3.0)}
    assert client.get_run(run.run_id).data.tags["epsilon"] == "3"


def test_finish_raises_when_rounds_cannot_be_written(start, client, monkeypatch):
    run = start()

    def broken(self, *arguments, **named):
        raise MlflowException("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(type(run._client), "log_batch", broken)
        run.log_round(RoundResult(1, {"m": 1.0}))
        with pytest.raises(MlflowException, match="disk full"):
            run.finish()
    assert client.get_run(run.run_id).info.end_time is not None
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_a_round_is_one_call(start, monkeypatch):
    run = start()
    calls = []
    monkeypatch.setattr(type(run._client), "log_batch", lambda self, *a, **k: calls.append(k))
    run.log_round(FULL)
    run.flush()
    assert len(calls) == 1
    monkeypatch.undo()
    run.finish()


def test_pictures_come_back_as_they_were(start, client, tmp_path):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([1, 2])
    with start() as run:
        run.log_picture(Image.fromarray(pixels), "eyes/left")
        run.log_picture(figure, "curve.png")
    paths = {item.path for item in client.list_artifacts(run.run_id, "pictures")}
    assert paths == {"pictures/eyes_left.png", "pictures/curve.png"}
    with Image.open(client.download_artifacts(run.run_id, "pictures/eyes_left.png", str(tmp_path))) as image:
        assert np.array_equal(np.asarray(image), pixels)
    with Image.open(client.download_artifacts(run.run_id, "pictures/curve.png", str(tmp_path))) as image:
        assert image.size == (300, 150)


def test_an_adaptive_clipping_norm_is_written_with_what_moved_it():
    named = round_metrics(RoundResult(3, {}, clipping_norm=0.25, within_norm=-0.125))
    assert (named["clipping_norm"], named["within_clipping_norm"]) == (0.25, -0.125)


def _slow(monkeypatch, run, name="log_batch"):
    """Let the store answer from the moment that the returned event is set."""
    opened, real = threading.Event(), getattr(type(run._client), name)

    def slow(self, *arguments, **named):
        assert opened.wait(60)
        return real(self, *arguments, **named)

    monkeypatch.setattr(type(run._client), name, slow)
    return opened


def test_a_run_that_fails_waits_for_an_absent_store_no_longer_than_its_patience(
    start, client, monkeypatch, caplog
):
    run = start()
    monkeypatch.setattr(mlflow_logger, "PATIENCE_S", 0.05)
    opened = _slow(monkeypatch, run)
    run.log_round(RoundResult(1, {"m": 1.0}))
    run.fail(RuntimeError("planted"))
    assert f"MLflow run {run.run_id} may lack its last rounds and that it is FAILED" in caplog.text
    assert client.get_run(run.run_id).info.status == "RUNNING"
    opened.set()


@pytest.mark.parametrize("name", ["log_batch", "set_terminated"])
def test_an_interrupt_while_the_end_waits_for_the_store_leaves_a_killed_run(start, client, monkeypatch, name):
    run = start()
    opened = _slow(monkeypatch, run, name)
    run.log_round(RoundResult(1, {"m": 1.0}))

    def interrupt(*_):
        threading.Timer(0.2, opened.set).start()
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.finish()
    finally:
        signal.signal(signal.SIGALRM, old)
    found = client.get_run(run.run_id)
    assert found.info.status == "KILLED"
    assert found.data.tags["failure"].startswith("KeyboardInterrupt")
    assert found.data.metrics["m"] == 1.0


def test_a_run_that_was_cut_off_claims_no_round_that_is_not_written(start, client, monkeypatch):
    run = start(tags=EPSILON_SO_FAR)
    run.log_round(RoundResult(1, {}, epsilon=1.0))
    run.flush()
    opened = _slow(monkeypatch, run)
    run.log_round(RoundResult(2, {}, epsilon=2.0))
    tags = client.get_run(run.run_id).data.tags
    assert (tags["epsilon"], tags["epsilon_is"].partition(";")[0]) == (
        "1",
        "of the last round that is written here",
    )
    opened.set()
    run.finish()
