"""What a run says that it has spent, however it ends: no less than what has left its parties."""

import math
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from fedpriv.config.privacy import sum_plan_of
from fedpriv.errors import UserError
from fedpriv.federated.strategy import base
from fedpriv.privacy.ledger import Ledger
from fedpriv.privacy.rounded import at_most
from fedpriv.runner import resume, run
from fedpriv.training.centralized import Centralized
from fedpriv.watch import Watch

SAMPLE = ("privacy=dp_sgd", "privacy.epsilon=6", "training.batch_size=8")
CLIENT = ("privacy=client_level", "secure=bfv", "privacy.epsilon=null", "federation.cohort=2")
SO_FAR = "of the last round that is written here; what was released since is not in it"
WHOLE = "of the whole run"


@pytest.fixture
def tracked(tiny, tmp_path, database):
    """Compose a tiny run that is tracked and keeps a ledger; returns it with a reader of its MLflow run."""
    uri = database(tmp_path / "mlflow.db")

    def compose(*overrides):
        return tiny(
            "tracking=mlflow",
            f"tracking.uri={uri}",
            "tracking.log_model=false",
            "tracking.log_partition=false",
            "evaluation.pictures=0",
            f"privacy.ledger={tmp_path / 'ledger'}",
            *overrides,
        )

    def logged():
        client = MlflowClient(uri)
        (found,) = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
        return found

    compose.logged = logged
    return compose


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupt a run in round 2 once so many clients have answered."""

    def run_until(config, folder, answered):
        def stops(self, done, asked):
            if len(self._history) == 2 and done == answered:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Watch, "client_done", stops)
            with pytest.raises(KeyboardInterrupt):
                run(config, output_dir=folder)

    return run_until


def in_ledger(folder: Path) -> float:
    """The epsilon of the client that has been charged most."""
    ledger = Ledger(folder)
    return max(ledger.spent(account.share, 1e-5).epsilon for account in ledger.summary())


def require_all_of_it(found, epsilon):
    assert found.data.tags["epsilon"] == at_most(epsilon, digits=6)
    assert found.data.metrics["epsilon"] == pytest.approx(epsilon, rel=1e-9)
    assert found.data.tags["epsilon_is"] == WHOLE


def test_a_run_that_fails_once_its_updates_have_come_states_them_too(tracked, tmp_path, monkeypatch):
    opened = base.open_sum
    rounds = []

    def fails_in_the_second(*arguments):
        rounds.append(arguments)
        if len(rounds) == 2:
            raise UserError("round 2: key holder 0 does not answer")
        return opened(*arguments)

    monkeypatch.setattr(base, "open_sum", fails_in_the_second)
    with pytest.raises(UserError, match="does not answer"):
        run(tracked(*SAMPLE), output_dir=tmp_path / "out")
    found = tracked.logged()
    assert found.info.status == "FAILED"
    charged = in_ledger(tmp_path / "ledger")
    require_all_of_it(found, charged)
    assert found.data.tags["lifetime_epsilon"] == at_most(charged, digits=6)


def test_a_run_that_fails_without_any_usable_update_states_what_was_spent_on_them(tracked, tmp_path):
    with pytest.raises(UserError, match=r"none of the 4 clients sent a usable update"):
        run(tracked(*SAMPLE, "federation.faults=[0:nan,1:nan,2:nan,3:nan]"), output_dir=tmp_path / "out")
    require_all_of_it(tracked.logged(), in_ledger(tmp_path / "ledger"))


@pytest.mark.parametrize("answered", [1, 3])
def test_a_run_that_is_interrupted_while_clients_train_states_what_they_may_have_spent(
    tracked, tmp_path, interrupted, answered
):
    interrupted(tracked(*SAMPLE), tmp_path / "out", answered)
    found = tracked.logged()
    assert found.info.status == "KILLED"
    assert found.data.tags["epsilon_is"] == WHOLE
    # whoever was asked may have trained, whoever was heard: both rounds, which take the whole target
    assert in_ledger(tmp_path / "ledger") <= float(found.data.tags["epsilon"]) <= 6.0
    assert float(found.data.tags["epsilon"]) > 5.9


def test_a_centralized_run_that_fails_states_the_round_that_it_was_in(tracked, tmp_path, monkeypatch):
    close = Centralized._close

    def fails(self, number, *given):
        if number == 2:
            raise UserError("round 2: the model is not finite; lower training.learning_rate")
        return close(self, number, *given)

    monkeypatch.setattr(Centralized, "_close", fails)
    with pytest.raises(UserError, match="not finite"):
        run(tracked(*SAMPLE, "mode=centralized"), output_dir=tmp_path / "out")
    require_all_of_it(tracked.logged(), in_ledger(tmp_path / "ledger"))


def test_at_the_level_of_clients_a_sum_that_may_have_been_opened_is_stated(tracked, tmp_path, monkeypatch):
    opened = base.open_sum

    def opens_and_fails(*arguments):
        opened(*arguments)
        raise UserError("round 1: key holder 0 does not answer")

    monkeypatch.setattr(base, "open_sum", opens_and_fails)
    config = tracked("privacy=client_level", "secure=bfv")
    with pytest.raises(UserError, match="does not answer"):
        run(config, output_dir=tmp_path / "out")
    require_all_of_it(tracked.logged(), sum_plan_of(config).spent([4]).epsilon)


def test_a_run_under_way_says_that_its_epsilon_is_not_the_last_word(tracked, tmp_path, monkeypatch):
    seen = []
    done = Watch.round_done

    def looks(self, result, parameters):
        seen.append(tracked.logged().data.tags.get("epsilon_is"))
        done(self, result, parameters)

    monkeypatch.setattr(Watch, "round_done", looks)
    report = run(tracked(*SAMPLE), output_dir=tmp_path / "out")
    assert seen == [SO_FAR] * 3
    require_all_of_it(tracked.logged(), report.history[-1].epsilon)


def test_a_failed_run_that_goes_on_says_so_again(tracked, tmp_path, monkeypatch, interrupted):
    """What the failed round had cost is charged, and is in what the resumed run states."""
    by_noise = ("privacy=dp_sgd", "privacy.epsilon=null", "privacy.noise_multiplier=1")
    interrupted(tracked(*by_noise), tmp_path / "out", 1)
    assert tracked.logged().data.tags["epsilon_is"] == WHOLE
    seen = []
    done = Watch.round_done

    def looks(self, result, parameters):
        seen.append(tracked.logged().data.tags["epsilon_is"])
        done(self, result, parameters)

    monkeypatch.setattr(Watch, "round_done", looks)
    report = resume(tmp_path / "out")
    assert seen == [SO_FAR]
    require_all_of_it(tracked.logged(), report.history[-1].epsilon)


def test_a_run_without_privacy_states_no_epsilon(tracked, tmp_path):
    run(tracked("privacy.ledger=default"))
    assert not {"epsilon", "epsilon_is", "lifetime_epsilon"} & tracked.logged().data.tags.keys()


def test_an_epsilon_that_becomes_infinite_is_so_wherever_it_is_stated(tracked, tmp_path, interrupted):
    """A lost sum takes the run past what covers the sampler's distance from its law."""
    noises = (tracked(*CLIENT, f"privacy.noise_multiplier={percent / 100}") for percent in range(20, 80))
    config = next(each for each in noises if sum_plan_of(each).planned().epsilon < math.inf)
    plan = sum_plan_of(config)
    assert plan.spent([2, 2]).epsilon < plan.spent([2, 2, 2]).epsilon == math.inf
    interrupted(config, tmp_path / "out", 1)
    console = Console(record=True, width=200)
    report = resume(tmp_path / "out", console=console)
    assert [each.epsilon for each in report.history[1:]] == [plan.spent([2]).epsilon, math.inf]
    assert report.history[-1].accountant == "none"
    shown = console.export_text()
    assert "inf at delta 1e-05 (client level, no accountant bounds it)" in shown
    found = tracked.logged()
    assert found.info.status == "FINISHED"
    # MLflow's metrics know no infinity, and keep the last finite one
    assert found.data.metrics["epsilon"] == plan.spent([2]).epsilon
    assert found.data.tags["epsilon"] == found.data.tags["lifetime_epsilon"] == "inf"
    assert found.data.tags["privacy_accountant"] == "none"


def test_a_private_run_that_its_budget_allowed_nothing_states_0(tracked, tmp_path):
    console = Console(record=True, width=200)
    run(tracked(*SAMPLE, "privacy.lifetime_epsilon=1e-6"), output_dir=tmp_path / "out", console=console)
    shown = console.export_text()
    assert "0 (nothing was released)" in shown
    assert "no differential privacy" not in shown
    assert tracked.logged().data.tags["epsilon"] == "0"
