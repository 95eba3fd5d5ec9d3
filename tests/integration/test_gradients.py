"""``privacy.gradients`` in whole runs: another way to the same model."""

import numpy as np
import pytest

from fedpriv.privacy import opacus_gradients
from fedpriv.runner import run

SEEDED = ("privacy=dp_sgd", "privacy.noise=fast", "training.batch_size=8")


@pytest.mark.parametrize("mode", ["federated", "centralized"])
def test_our_rules_and_the_hooks_of_opacus_give_the_same_model_and_epsilon(tiny, monkeypatch, mode):
    hooked = []
    wrap = opacus_gradients.GradSampleModule
    monkeypatch.setattr(
        opacus_gradients,
        "GradSampleModule",
        lambda *given, **named: hooked.append(1) or wrap(*given, **named),
    )
    runs, hooks = [], []
    for way in ("auto", "opacus"):
        hooked.clear()
        runs.append(run(tiny(*SEEDED, f"mode={mode}", f"privacy.gradients={way}")))
        hooks.append(bool(hooked))
    assert hooks == [False, True]
    ours, theirs = (each.parameters for each in runs)
    start = run(tiny(f"mode={mode}", "training.learning_rate=1e-30")).parameters
    assert np.linalg.norm(ours - start) > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert [each.epsilon for each in runs[0].history] == [each.epsilon for each in runs[1].history]


def test_the_way_is_in_mlflow_and_so_is_the_relation_of_neighbours(tiny, tmp_path, database):
    from mlflow import MlflowClient

    uri = database(tmp_path / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false", "federation.rounds=1")
    report = run(tiny(*SEEDED, *tracked, "privacy.gradients=opacus"))
    found = MlflowClient(uri).get_run(report.mlflow_run_id)
    assert found.data.params["privacy.gradients"] == "opacus"
    assert found.data.tags["privacy_relation"] == "one image added or removed"
