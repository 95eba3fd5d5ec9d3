import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from torch import nn

from fedpriv.errors import UserError
from fedpriv.results import RoundResult
from fedpriv.tracking.mlflow_logger import RunLogger
from fedpriv.tracking.model_loading import load_model
from fedpriv.tracking.registry import find, register

PRIVATE = {
    "unit": "sample",
    "epsilon": 2.5,
    "delta": 1e-5,
    "accountant": "pld",
    "relation": "add or remove one",
    "data": "synthetic_eyes",
    "noise": "secure",
}
OPEN = {**dict.fromkeys(PRIVATE), "unit": "none", "data": "synthetic_eyes"}
CONFIG = {"task": {"_target_": "fedpriv.tasks.gaze.GazeTask"}, "secure": {"scheme": "bfv"}}


@pytest.fixture
def logged(tracking_uri):
    """Return what writes a run with a model: ``logged(statement, **tags)`` is its id."""

    def logged(statement=PRIVATE, seed=0, finish=True, **tags):
        torch.manual_seed(seed)
        tags = {"metric": "angular_error_deg", **tags}
        run = RunLogger.start(tracking_uri, "registry", None, None, CONFIG, 0, tags=tags)
        run.log_model(nn.Linear(3, 2), np.zeros((1, 3), np.float32), statement)
        run.log_figures({"angular_error_deg": 4.25})
        if finish:
            run.finish()
        return run.run_id

    return logged


def test_a_version_says_what_its_model_promises_and_how_it_was_made(logged, tracking_uri, client):
    run_id = logged(lifetime_epsilon="7.5")
    made = register(tracking_uri, run_id, "promises")
    version = client.get_model_version("promises", "1")
    assert made.name == "models:/promises/1"
    assert version.tags == made.tags
    assert (
        made.tags.items()
        >= {
            "epsilon": "2.5",
            "delta": "1e-05",
            "privacy_unit": "sample",
            "privacy_relation": "add or remove one",
            "privacy_accountant": "pld",
            "privacy_noise": "secure",
            "lifetime_epsilon": "7.5",
            "data": "synthetic_eyes",
            "task": "fedpriv.tasks.gaze.GazeTask",
            "secure_scheme": "bfv",
            "metric": "angular_error_deg",
            "metric_value": "4.25",
            "input": "float32 (B, 3)",
            "run_id": run_id,
        }.items()
    )
    assert version.run_id == run_id
    assert version.description == made.description
    assert made.description == (
        "Trained on synthetic_eyes with differential privacy: epsilon <= 2.5 at delta = 1e-05 per sample "
        "(add or remove one), accountant pld, noise secure."
    )


@pytest.mark.parametrize(
    ("statement", "tags", "said"),
    [
        (OPEN, {}, "NOT PRIVATE: trained on synthetic_eyes without differential privacy"),
        ({**PRIVATE, "epsilon": float("inf")}, {}, "NOT PRIVATE: its epsilon is infinite"),
        ({**PRIVATE, "noise": "fast"}, {}, "NOT PRIVATE: its noise is seeded (privacy.noise=fast)"),
        (PRIVATE, {"audit_refuted": "true"}, "NOT AS CLAIMED: the run's audit refuted its epsilon"),
    ],
)
def test_what_protects_nobody_is_said_first(logged, tracking_uri, statement, tags, said):
    assert register(tracking_uri, logged(statement, **tags), "warned").description.startswith(said)


def test_noise_of_the_server_does_not_pass_for_more(logged, tracking_uri):
    statement = {**PRIVATE, "unit": "client", "noise_by": "server"}
    assert register(tracking_uri, logged(statement), "by-server").description.endswith(
        "Not against the server, which draws the noise."
    )


def test_a_registered_model_is_found_by_name_version_and_alias(logged, tracking_uri):
    runs = [logged(seed=seed) for seed in range(3)]
    for run_id, alias in zip(runs, (None, "champion", None), strict=True):
        register(tracking_uri, run_id, "found", alias)
    for source, index in [
        ("found", 2),
        ("models:/found", 2),
        ("models:/found/1", 0),
        ("found@champion", 1),
        ("models:/found@champion", 1),
    ]:
        place = find(tracking_uri, source)
        assert (place.run_id, place.source) == (runs[index], f"models:/found/{index + 1}")
        loaded = load_model(tracking_uri, place.run_id, place.location)
        torch.manual_seed(index)
        torch.testing.assert_close(loaded.weights["weight"], nn.Linear(3, 2).weight.detach())
        assert loaded.statement == PRIVATE
    assert find(tracking_uri, runs[0]).source == f"run_id={runs[0]}"


def test_the_tenth_version_is_newer_than_the_ninth(logged, tracking_uri):
    runs = [logged() for _ in range(10)]
    for run_id in runs:
        register(tracking_uri, run_id, "many")
    assert find(tracking_uri, "many").run_id == runs[-1]


def test_a_run_registered_again_keeps_its_version_and_an_alias_moves(logged, tracking_uri, client):
    first, second = logged(), logged()
    made = register(tracking_uri, first, "again", "champion")
    assert register(tracking_uri, first, "again") == made
    register(tracking_uri, second, "again", "champion")
    assert len(client.search_model_versions("name = 'again'")) == 2
    assert find(tracking_uri, "again@champion").run_id == second


def test_a_version_is_the_model_that_was_registered_whatever_its_run_writes_later(logged, tracking_uri):
    run_id = logged(seed=1)
    register(tracking_uri, run_id, "pinned")
    run = RunLogger.resume(tracking_uri, run_id, CONFIG)
    torch.manual_seed(2)
    run.log_model(nn.Linear(3, 2), np.zeros((1, 3), np.float32), OPEN)
    run.finish()
    place = find(tracking_uri, "pinned")
    torch.manual_seed(1)
    loaded = load_model(tracking_uri, place.run_id, place.location)
    torch.testing.assert_close(loaded.weights["weight"], nn.Linear(3, 2).weight.detach())
    assert load_model(tracking_uri, run_id).statement == OPEN


def test_mlflow_itself_loads_the_version_with_its_signature(logged, tracking_uri):
    made = register(tracking_uri, logged(seed=5), "plain-mlflow")
    before = mlflow.get_tracking_uri()
    try:
        mlflow.set_tracking_uri(tracking_uri)
        info = mlflow.models.get_model_info(made.name)
    finally:
        mlflow.set_tracking_uri(before)
    assert [tuple(each.shape) for each in info.signature.inputs.inputs] == [(-1, 3)]


def test_runs_that_register_at_the_same_moment_get_a_version_each(logged, tracking_uri, client):
    runs = [logged() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda run_id: register(tracking_uri, run_id, "at-once"), runs))
    assert sorted(each.name for each in made) == [f"models:/at-once/{number}" for number in range(1, 7)]
    for each in made:
        assert find(tracking_uri, each.name).run_id == each.run_id


@pytest.mark.slow
def test_processes_that_register_at_the_same_moment_get_a_version_each(logged, tracking_uri):
    runs = [logged() for _ in range(2)]
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "fedpriv.cli", "register", run_id, "processes"),
                *("--tracking-uri", tracking_uri, "--json"),
            ],
            stdout=subprocess.PIPE,
        )
        for run_id in runs
    ]
    made = [json.loads(each.communicate()[0])["name"] for each in started]
    assert sorted(made) == ["models:/processes/1", "models:/processes/2"]


def test_another_registry_of_the_environment_is_not_written_to(logged, tracking_uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/other.db")
    register(tracking_uri, logged(), "here")
    assert find(tracking_uri, "here").source == "models:/here/1"
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_registered_is_refused_in_one_line(logged, start, tracking_uri):
    unfinished = logged(finish=False)
    with pytest.raises(UserError, match="is RUNNING, so its model is not final; resume the run first"):
        register(tracking_uri, unfinished, "refused")
    assert register(tracking_uri, unfinished, "under-way", ended=False).name == "models:/under-way/1"
    with start() as empty:
        pass
    with pytest.raises(UserError, match="the run has no model; choose one that finished"):
        register(tracking_uri, empty.run_id, "refused")
    with pytest.raises(UserError, match="not found in"):
        register(tracking_uri, "f" * 32, "refused")
    with pytest.raises(UserError, match="is no name of a model"):
        register(tracking_uri, unfinished, "a/b")
    with pytest.raises(
        UserError, match=r"is not registered in .*register a run's model with `fedpriv register"
    ):
        find(tracking_uri, "refused")


def test_what_is_not_registered_is_refused_in_one_line(logged, tracking_uri, tmp_path):
    register(tracking_uri, logged(), "one")
    for source in ("absent", "models:/one/2", "one@champion", "absent@champion"):
        with pytest.raises(UserError, match=r"^models:/.*: is not registered in sqlite:"):
            find(tracking_uri, source)
    with pytest.raises(UserError, match=r"^models:/one: no database .*absent.db; name the one"):
        find(f"sqlite:///{tmp_path}/absent.db", "one")
    assert not list(tmp_path.iterdir())
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(UserError, match="is no SQLite database"):
        find(f"sqlite:///{tmp_path}/text.db", "one")


def test_a_version_that_somebody_pointed_elsewhere_is_refused(logged, tracking_uri, tmp_path):
    """Whoever writes to the registry can name any folder: only a run's own models are loaded."""
    run_id, other = logged(), logged()
    registry = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    registry.create_registered_model("elsewhere")
    location = find(tracking_uri, register(tracking_uri, other, "honest").name).location
    for source in (location, tmp_path.as_uri()):
        registry.create_model_version("elsewhere", source, run_id)
        place = find(tracking_uri, "elsewhere")
        with pytest.raises(UserError, match=r"has no model at .*; register the run again"):
            load_model(tracking_uri, place.run_id, place.location)
    registry.create_model_version("elsewhere", location)
    with pytest.raises(UserError, match="names no run that made it"):
        find(tracking_uri, "elsewhere")


@pytest.mark.parametrize(
    ("rounds", "value"),
    [([4.0, 3.0, 2.5], "2.5"), ([4.0, 3.0, float("nan")], None), ([float("nan")] * 3, None)],
)
def test_a_value_is_of_the_last_round_or_left_out(tracking_uri, rounds, value):
    run = RunLogger.start(tracking_uri, "registry", None, None, CONFIG, 0, tags={"metric": "error"})
    for number, error in enumerate(rounds):
        run.log_round(RoundResult(number, {"error": error}))
    run.log_model(nn.Linear(3, 2), np.zeros((1, 3), np.float32), PRIVATE)
    run.finish()
    tags = register(tracking_uri, run.run_id, "last-round").tags
    assert (tags["metric"], tags.get("metric_value")) == ("error", value)


def test_a_version_names_its_data_by_a_digest_where_the_run_has_one(logged, tracking_uri):
    assert register(tracking_uri, logged(data_id="ab" * 32), "data").tags["data_id"] == "ab" * 32
    assert "data_id" not in register(tracking_uri, logged(), "data").tags


def test_a_statement_that_bounds_nothing_is_neither_registered_nor_loaded(logged, tracking_uri):
    run_id = logged({**PRIVATE, "epsilon": float("nan")})
    for refuse in (
        lambda: register(tracking_uri, run_id, "stated"),
        lambda: load_model(tracking_uri, run_id),
    ):
        with pytest.raises(
            UserError, match=r"^run_id=.*: its model states epsilon = 'nan', which is no epsilon; "
        ):
            refuse()


def test_a_statement_of_another_epsilon_than_the_runs_is_refused(logged, tracking_uri):
    assert register(tracking_uri, logged(epsilon="2.5"), "tagged").tags["epsilon"] == "2.5"
    with pytest.raises(UserError, match=r"states epsilon = 2\.5, its tag says '8'"):
        register(tracking_uri, logged(epsilon="8"), "tagged")


def test_another_runs_model_among_a_runs_own_makes_no_difference(logged, start, tracking_uri, client):
    """Anybody who may write to a run can say that it has made a model."""
    run_id, other = logged(seed=1), logged(OPEN, seed=2)
    (foreign,) = client.get_run(other).outputs.model_outputs
    client.log_outputs(run_id, [LoggedModelOutput(foreign.model_id, 99)])
    assert load_model(tracking_uri, run_id).statement == PRIVATE
    assert register(tracking_uri, run_id, "own").tags["epsilon"] == "2.5"
    with pytest.raises(UserError, match="has no model at"):
        load_model(tracking_uri, run_id, f"models:/{foreign.model_id}")
    with start() as empty:
        client.log_outputs(empty.run_id, [LoggedModelOutput(foreign.model_id, 0)])
    with pytest.raises(UserError, match="the run has no model"):
        register(tracking_uri, empty.run_id, "own")
    client.delete_logged_model(foreign.model_id)
    with pytest.raises(UserError, match=r"^run_id=.*: a model of it was deleted"):
        register(tracking_uri, empty.run_id, "own")


def test_another_programs_model_is_not_registered(start, tracking_uri, client):
    with start() as run:
        experiment = client.get_run(run.run_id).info.experiment_id
        model = client.create_logged_model(experiment, name="model", source_run_id=run.run_id)
        client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, 0)])
    with pytest.raises(
        UserError, match=r"^run_id=.*: its model was logged by .* another program, and is not"
    ):
        register(tracking_uri, run.run_id, "foreign")


def test_settings_that_were_altered_while_a_run_was_under_way_are_noticed(start, tracking_uri, client):
    with start(CONFIG) as run:
        client.log_text(run.run_id, "task: {_target_: other}\n", "config.yaml")
        run.log_model(nn.Linear(3, 2), np.zeros((1, 3), np.float32), OPEN)
    with pytest.raises(UserError, match=r"its config\.yaml is missing, damaged or not what"):
        load_model(tracking_uri, run.run_id)


def test_the_digest_of_the_settings_is_that_of_the_file_and_stands_since_the_start(start, client, tmp_path):
    with start({"group": {"name": "Zo\u00eb", "value": 1.5}}) as run:
        tags = client.get_run(run.run_id).data.tags
    path = client.download_artifacts(run.run_id, "config.yaml", str(tmp_path))
    assert tags["config_sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_run_that_was_deleted_is_neither_registered_nor_loaded(logged, tracking_uri, client):
    run_id = logged()
    register(tracking_uri, run_id, "deleted")
    client.delete_run(run_id)
    with pytest.raises(UserError, match=r"was deleted; .*`mlflow runs restore --run-id"):
        register(tracking_uri, run_id, "deleted-later")
    place = find(tracking_uri, "deleted")
    with pytest.raises(UserError, match="was deleted"):
        load_model(tracking_uri, place.run_id, place.location)
