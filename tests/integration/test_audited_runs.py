"""Runs with ``audit.enabled=true``: honest ones stand, faulty ones are found out, nothing else changes."""

import dataclasses

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from rich.console import Console

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.compose import compose_run
from fedpriv.config.privacy import sum_plan_of
from fedpriv.federated import clipping
from fedpriv.he import bfv
from fedpriv.he.plain import PlainAggregator
from fedpriv.privacy.dp_sgd import PrivateGradient
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.rounded import at_least, at_most
from fedpriv.privacy.sum_plan import SumPlan
from fedpriv.runner import resume, run
from tests.conftest import TINY
from tests.integration.cut_off import arm
from tests.integration.test_resume import FACES, Cut

AUDIT = ("audit.enabled=true", "audit.canaries=200", "privacy.noise=fast")
SAMPLE = ("privacy=dp_sgd", "privacy.epsilon=2", "training.batch_size=8")
CLIENT = ("privacy=client_level", "privacy.epsilon=2", "secure=bfv")
CASES = {
    "images, in clear": SAMPLE,
    "images, encrypted": (*SAMPLE, "secure=bfv"),
    "images, momentum, adam on the server": (*SAMPLE, "training.momentum=0.9", "strategy=fedadam"),
    "images, adam": (*SAMPLE, "training.optimizer=adam", "training.learning_rate=0.002"),
    "images, fedprox, ckks": (*SAMPLE, "strategy=fedprox", "secure=ckks"),
    "clients": CLIENT,
    "clients, noise by the server": (*CLIENT, "privacy.noise_by=server"),
    "clients, adaptive clipping": (*CLIENT, "privacy.clipping=adaptive"),
    "clients, committee": (*CLIENT, "secure=bfv_committee", "secure.holders=2"),
}
QUICK = ("images, in clear", "images, encrypted", "clients")


def cases(*quick):
    return pytest.mark.parametrize(
        "case", [pytest.param(case, marks=() if case in quick else pytest.mark.slow) for case in CASES]
    )


def no_noise(patch):
    patch.setattr(FastSource, "normal", lambda self, count: np.zeros(count))
    patch.setattr(SumPlan, "draw", lambda self, count, source: np.zeros(count, np.int64))


def no_clipping(patch):
    @torch.no_grad()
    def add(self, count):
        norms = self._examples.norms()
        self._examples.add_scaled(torch.ones_like(norms), self._sums)
        self._examples.forget()

    quantise = bfv.quantise
    patch.setattr(PrivateGradient, "add", add)
    patch.setattr(clipping, "clip", lambda update, norm: update)
    patch.setattr(bfv, "quantise", lambda vector, plan, random, bound: quantise(vector, plan, random))


@cases(*QUICK)
def test_an_honest_run_is_not_refuted(tiny, case):
    audit = run(tiny(*CASES[case], *AUDIT)).audit
    assert not audit.refuted
    assert audit.most > audit.claimed.epsilon  # so that silence says something


@pytest.mark.parametrize("case", ["images, in clear", "clients"])
def test_a_run_claims_what_it_claims_without_an_audit(tiny, case):
    report, plain = run(tiny(*CASES[case], *AUDIT)), run(tiny(*CASES[case], "privacy.noise=fast"))
    assert plain.audit is None
    claims = [[(each.epsilon, each.delta) for each in made.history] for made in (report, plain)]
    assert claims[0] == claims[1]
    assert (report.audit.claimed.epsilon, report.audit.claimed.delta) == claims[0][-1]


@cases("images, in clear", "clients")
def test_a_run_without_noise_is_refuted(tiny, monkeypatch, caplog, case):
    no_noise(monkeypatch)
    audit = run(tiny(*CASES[case], *AUDIT)).audit
    assert audit.refuted
    assert audit.curve_bound > audit.claimed.epsilon
    assert "audit: REFUTED: at least" in caplog.text


@pytest.mark.parametrize("case", ["images, in clear", pytest.param("clients", marks=pytest.mark.slow)])
def test_a_run_without_clipping_is_refuted(tiny, monkeypatch, case):
    no_clipping(monkeypatch)
    assert run(tiny(*CASES[case], *AUDIT)).audit.refuted


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK)
def test_honest_runs_of_other_seeds_are_not_refuted_either(tiny, case):
    assert not any(run(tiny(*CASES[case], *AUDIT, f"seed={seed}")).audit.refuted for seed in range(1, 4))


def test_clients_that_understate_their_epsilon_are_found_out(tiny, monkeypatch):
    """What is claimed is what is reported: an accountant that is reset every round does not pass."""
    from fedpriv.privacy.plan import SamplePlan

    spent = SamplePlan.spent
    monkeypatch.setattr(
        SamplePlan, "spent", lambda self, history: dataclasses.replace(spent(self, history), epsilon=0.01)
    )
    loud = ("privacy=dp_sgd", "privacy.epsilon=null", "privacy.noise_multiplier=0.3")
    audit = run(tiny(*loud, *AUDIT, "training.batch_size=8")).audit
    assert audit.claimed.epsilon == 0.01
    assert audit.refuted


def test_without_an_audit_its_settings_change_no_bit(tiny):
    private = (*SAMPLE, "privacy.noise=fast")
    runs = [run(tiny(*private, *given)) for given in ((), ("audit.canaries=77", "audit.client=2"))]
    assert runs[0].parameters.tobytes() == runs[1].parameters.tobytes()


def test_only_the_carriers_updates_change(tiny, monkeypatch):
    bodies = []
    add = PlainAggregator._add
    monkeypatch.setattr(
        PlainAggregator, "_add", lambda self, body: (bodies.append(bytes(body)), add(self, body))
    )
    private = (*SAMPLE, "privacy.noise=fast", "federation.rounds=1")
    run(tiny(*private))
    run(tiny(*private, *AUDIT, "audit.client=2"))
    alike = [before == after for before, after in zip(bodies[:4], bodies[4:], strict=True)]
    assert alike == [True, True, False, True]


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("privacy=dp_sgd", "training.batch_size=8"), id="images"),
        pytest.param(("privacy=client_level", "secure=bfv"), id="clients", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_cut_off_and_resumed_heard_what_the_undisturbed_one_heard(
    tmp_path, monkeypatch, overrides
):
    def end():
        raise Cut

    every = (*TINY, "federation.rounds=4", "privacy.epsilon=null", "privacy.noise_multiplier=1.0", *AUDIT)
    whole = run(compose_run(*every, *overrides), output_dir=tmp_path / "whole")
    with monkeypatch.context() as patch:
        arm(patch.setattr, 3, 2, end)
        with pytest.raises(Cut):
            run(compose_run(*every, *overrides), output_dir=tmp_path / "cut")
    assert Checkpoint(tmp_path / "cut").load().kept.heard.rounds == 2
    resumed = resume(tmp_path / "cut")
    heard = [Checkpoint(tmp_path / name).load().kept.heard for name in ("whole", "cut")]
    assert heard[0].rounds == heard[1].rounds == 4
    assert heard[0].sums.tobytes() == heard[1].sums.tobytes()
    assert resumed.audit.ways == whole.audit.ways
    # the lost round is charged
    assert resumed.audit.claimed.epsilon > whole.audit.claimed.epsilon


def test_the_verdict_is_on_the_terminal_and_in_mlflow(tiny, tmp_path, capsys, database):
    uri = database(tmp_path / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false", "evaluation.pictures=0")
    report = run(tiny(*CASES["clients"], *AUDIT, *tracked), console=Console(width=300))
    audit = report.audit
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        f"proven by audit │ at least {at_least(audit.bound)} (95 %) of the "
        f"{at_most(audit.claimed.epsilon)} claimed; "
        "200 canaries, heard in client 0's part in the released means"
    ) in printed
    logged = MlflowClient(uri).get_run(report.mlflow_run_id).data
    assert logged.params["audit.enabled"] == "true"
    assert logged.params["audit.canaries"] == "200"
    assert logged.tags["audit_refuted"] == "false"
    assert logged.tags["audit_listener"] == "client 0's part in the released means"
    found = {name: value for name, value in logged.metrics.items() if name.startswith("audit_")}
    assert found == {
        "audit_epsilon_lower_bound": audit.lower_bound,
        "audit_epsilon_curve_bound": audit.curve_bound,
        "audit_epsilon_claimed": audit.claimed.epsilon,
        "audit_epsilon_reachable": audit.most,
    }


def test_a_carrier_that_never_answers_proves_nothing(tiny, capsys):
    silent = "federation.faults=[0:raise]"
    report = run(tiny(*SAMPLE, *AUDIT, silent, "federation.rounds=1"), console=Console(width=300))
    assert report.audit is None
    assert "proven by audit │ nothing: client 0 was never heard" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("fault", ["nan", "raise"])
def test_an_audit_that_heard_nothing_says_so_in_mlflow(tiny, tmp_path, fault, database):
    uri = database(tmp_path / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false", "evaluation.pictures=0")
    report = run(tiny(*SAMPLE, *AUDIT, *tracked, f"federation.faults=[0:{fault}]", "federation.rounds=1"))
    assert report.audit is None
    logged = MlflowClient(uri).get_run(report.mlflow_run_id).data
    assert logged.tags["audit_refuted"] == "nothing heard"
    assert logged.tags["audit_listener"] == "client 0's update in clear"
    assert not [name for name in logged.metrics if name.startswith("audit_")]


def test_an_audit_of_clients_claims_the_epsilon_of_the_run_for_all_its_sums(tiny):
    config = tiny(*CLIENT, *AUDIT)
    report = run(config)
    assert report.audit.claimed.epsilon == sum_plan_of(config).spent([4, 4]).epsilon


@pytest.mark.slow
def test_private_heads_have_no_part_in_the_audit(monkeypatch):
    faces = compose_run(*FACES, *SAMPLE, *AUDIT, "federation.rounds=2")
    assert not run(faces).audit.refuted
    no_noise(monkeypatch)
    assert run(faces).audit.refuted


@pytest.mark.slow
def test_the_audit_is_the_same_on_ray(tiny):
    audited = (*SAMPLE, *AUDIT)
    one, other = (run(tiny(*audited, *engine)).audit for engine in ((), ("engine=ray",)))
    assert one.claimed == other.claimed
    assert one.scores == pytest.approx(other.scores, rel=1e-3, abs=1e-3)
