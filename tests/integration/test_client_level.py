"""What a run with client-level privacy says of itself: on the terminal, in MLflow, and when evaluated."""

import json

import pytest
from mlflow import MlflowClient
from rich.console import Console

from fedpriv.checkpoint import Checkpoint
from fedpriv.cli import main
from fedpriv.config.privacy import sum_plan_of
from fedpriv.privacy.rounded import at_most
from fedpriv.runner import run


@pytest.mark.parametrize("where", ["clients", "server"])
def test_epsilon_is_stated_with_whom_it_protects(tiny, tmp_path, capsys, where, database):
    uri = database(tmp_path / "mlflow.db")
    noisy = ("privacy=client_level", "secure=bfv", "privacy.noise=fast", f"privacy.noise_by={where}")
    config = tiny(*noisy, "tracking=mlflow", f"tracking.uri={uri}")
    report = run(config, output_dir=tmp_path / "out", console=Console(width=300))
    epsilon = sum_plan_of(config).spent([4, 4]).epsilon
    said = f"{at_most(epsilon)} at delta 1e-05 (client level, zcdp); of models, not of the figures that"
    printed = " ".join(capsys.readouterr().out.split())
    assert said in printed
    assert "research only" in printed
    assert "1 of 1 run had seeded noise, which protects nobody" in printed
    assert ("charged for the fewest answers" in printed) == (where == "clients")
    assert ("not against the server" in printed) == (where == "server")

    client = MlflowClient(uri)
    logged = client.get_run(report.mlflow_run_id).data
    assert logged.params["privacy.unit"] == logged.tags["privacy_unit"] == "client"
    assert logged.params["privacy.noise_by"] == where
    steps = {each.step: each.value for each in client.get_metric_history(report.mlflow_run_id, "epsilon")}
    assert steps == {1: report.history[1].epsilon, 2: epsilon}

    statement = {
        "unit": "client",
        "epsilon": epsilon,
        "delta": 1e-5,
        "data": "synthetic_eyes",
        "noise": "fast",
        "accountant": "zcdp",
        "noise_by": where,
        "relation": "one client added or removed",
    }
    for source in (
        ["--run", report.mlflow_run_id, "--tracking-uri", uri],
        ["--checkpoint", str(tmp_path / "out")],
    ):
        main(["evaluate", *source, "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["privacy"] == statement
        assert found["epsilon_charged"] is None
    main(["evaluate", "--checkpoint", str(tmp_path / "out")])
    printed = " ".join(capsys.readouterr().out.split())
    assert ("not against the server, which drew the noise" in printed) == (where == "server")


def test_a_checkpoint_with_a_lost_sum_says_what_is_charged_beyond_its_model(tiny, tmp_path, capsys):
    from dataclasses import replace

    config = tiny("privacy=client_level", "secure=bfv")
    run(config, output_dir=tmp_path)
    checkpoint = Checkpoint(tmp_path)
    snapshot = checkpoint.load()
    checkpoint.save(replace(snapshot, kept=replace(snapshot.kept, lost_releases=((2, 2),))))
    record = json.loads((checkpoint.folder / "run.json").read_text())
    (checkpoint.folder / "run.json").write_text(json.dumps({**record, "finished": False}))
    main(["evaluate", "--checkpoint", str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)
    plan = sum_plan_of(config)
    assert found["privacy"]["epsilon"] == plan.spent([4, 4]).epsilon
    assert found["epsilon_charged"] == plan.spent([4, 4, 2]).epsilon


@pytest.mark.slow
def test_from_a_norm_far_too_small_adaptive_clipping_learns_what_a_fixed_one_cannot(tiny):
    """A fiftieth of the updates' norms, of about 0.1: the fixed run stays where it began."""
    known = (
        "privacy=client_level",
        "secure=bfv",
        "secure.bits=12",
        "secure.value_range=0.001",
        "privacy.noise=fast",
        "privacy.epsilon=null",
        "privacy.noise_multiplier=0.6",
        "privacy.clipping_norm=0.002",
        "federation.clients=20",
        "federation.min_replies=20",
        "federation.rounds=6",
        "evaluation.every=6",
        "data.people=22",
        "data.images_per_person=8",
        "model.width=4",
        "+model.groups=4",
        "training.optimizer=sgd",
        "training.learning_rate=0.1",
        "training.momentum=0",
    )
    fixed = run(tiny(*known))
    adaptive = run(tiny(*known, "privacy.clipping=adaptive", "privacy.clipping_rate=2"))
    assert adaptive.history[-1].epsilon == pytest.approx(fixed.history[-1].epsilon, rel=1e-3)
    first, last = fixed.history[1].train_loss, fixed.history[-1].train_loss
    assert last > 0.97 * first
    assert adaptive.history[-1].train_loss < 0.9 * last
    errors = [report.history[-1].metrics["angular_error_deg"] for report in (adaptive, fixed)]
    assert errors[0] < errors[1] - 1.0
    norms = [each.clipping_norm for each in adaptive.history[1:]]
    assert norms[0] == 0.002
    assert 0.02 < norms[-1] < 0.5
