"""Runs and the privacy ledger: what was released is charged before it leaves, over all runs together."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.privacy import sum_plan_of
from fedpriv.errors import UserError
from fedpriv.privacy import accounting, purse
from fedpriv.privacy.charge import Charge, SampledGaussian
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import Ledger, default_folder
from fedpriv.privacy.purse import Purse
from fedpriv.privacy.rounded import at_most
from fedpriv.runner import resume, run
from fedpriv.training.data import examples_of
from tests.conftest import ROOT, TINY
from tests.integration.cut_off import arm

DP = ("privacy=dp_sgd", "privacy.epsilon=6", "training.batch_size=8")
CLIENT_LEVEL = ("privacy=client_level", "secure=bfv", "privacy.epsilon=10")
DELTA = 1e-5


def shares_of(config):
    training = build_data(to_json(config))[1]
    return [examples_of(training.subset(share)) for share in build_shares(config, training)]


def charges(folder=None):
    """All charges of a ledger, as they stand in the file."""
    lines = ((folder or default_folder()) / "ledger.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == "charge"]


def histories(folder):
    return {n: memory.history for n, memory in Checkpoint(folder).load().kept.memories.items()}


class Cut(BaseException):
    """Ends a run as suddenly as a signal does."""


@pytest.fixture
def cut(monkeypatch):
    def end():
        raise Cut

    def cut(folder, number, answered, *overrides):
        with monkeypatch.context() as patch:
            arm(patch.setattr, number, answered, end)
            with pytest.raises(Cut):
                run(compose_run(*overrides), output_dir=folder)

    return cut


# What is charged


def test_each_round_of_each_client_is_charged_once_and_costs_what_the_run_says(tiny):
    config = tiny(*DP)
    report = run(config)
    made = charges()
    assert Counter(entry["round"] for entry in made) == {1: 4, 2: 4}
    assert len({entry["run"] for entry in made}) == 1
    assert {entry["name"] for entry in made} == {"synthetic_eyes"}
    ledger = Ledger(default_folder())
    worst = max(ledger.spent(share, DELTA).epsilon for share in shares_of(config))
    assert worst == report.history[-1].epsilon == report.lifetime.spent.epsilon
    assert report.lifetime.earlier_runs == 0


def test_worker_processes_share_one_ledger(tiny):
    run(tiny(*DP, "engine.workers=2"))
    made = charges()
    assert Counter((entry["round"], entry["share"]) for entry in made) == {
        (number, share): 1 for number in (1, 2) for share in {entry["share"] for entry in made}
    }
    assert len(made) == 8


def test_two_runs_on_the_same_images_add_up_however_they_are_divided(tiny):
    """Composed by hand: two runs of one mechanism on every image of the second run's worst client."""
    first = run(tiny(*DP))
    second = run(tiny(*DP, "federation.clients=2", "seed=0"))
    assert second.lifetime.earlier_runs == 1
    (one,) = {json.dumps(e["parameters"]) for e in charges()[:8]}
    (two,) = {json.dumps(e["parameters"]) for e in charges()[8:]}
    one, two = json.loads(one), json.loads(two)
    history = [
        (each["noise_multiplier"], each["sample_rate"], 2 * each["steps"])  # both rounds
        for each in (one, two)
    ]
    together = accounting.spent(tuple(sorted(history)), DELTA).epsilon
    assert second.lifetime.spent.epsilon == pytest.approx(together, rel=1e-9)
    assert together > max(first.history[-1].epsilon, second.history[-1].epsilon) + 1
    # a run on other images starts from nothing
    assert run(tiny(*DP, "data.seed=99")).lifetime.earlier_runs == 0


def test_all_images_in_one_place_are_charged_too_and_add_up_with_the_clients(tiny):
    alone = run(tiny(*DP, "mode=centralized"))
    assert [entry["round"] for entry in charges()] == [1, 2]
    assert alone.lifetime.spent.epsilon == alone.history[-1].epsilon
    both = run(tiny(*DP))
    assert both.lifetime.spent.epsilon > both.history[-1].epsilon + 1


def test_clients_that_train_alone_are_charged_each_for_its_own_images(tiny):
    config = tiny(*DP, "mode=local")
    alone = run(config)
    assert Counter((entry["party"], entry["round"]) for entry in charges()) == {
        (client, number): 1 for client in range(4) for number in (1, 2)
    }
    assert alone.lifetime.spent.epsilon == pytest.approx(alone.history[-1].epsilon)
    # the federation's clients hold the same images
    assert run(tiny(*DP)).lifetime.earlier_runs == 1


@pytest.mark.parametrize("noise_by", ["clients", "server"])
def test_a_client_is_charged_as_if_only_the_certain_shares_of_noise_were_there(tiny, noise_by):
    config = tiny(*CLIENT_LEVEL, f"privacy.noise_by={noise_by}")
    report, plan = run(config), sum_plan_of(config)
    made = charges()
    assert {entry["unit"] for entry in made} == {"client"}
    assert {entry["parameters"]["rho"] for entry in made} == {plan.rho(plan.contributors)}
    assert Counter(entry["round"] for entry in made) == {1: 4, 2: 4}
    assert report.lifetime.spent.epsilon >= report.history[-1].epsilon
    assert report.lifetime.spent.epsilon == pytest.approx(plan.spent([plan.contributors] * 2).epsilon)


def test_a_round_without_privacy_is_no_charge_and_no_ledger_is_made(tiny):
    assert run(tiny()).lifetime is None
    assert not default_folder().exists()


def test_a_charge_is_on_disk_before_the_update_leaves_the_client(tiny, monkeypatch):
    """Also where the disk is far slower than the client."""
    from fedpriv.federated import client_app

    train, ledger, seen = client_app.client.train, Ledger(default_folder()), []
    charge = Ledger.charge

    def slow(self, made, judge):
        def late(charged):
            judge(charged)
            time.sleep(0.05)

        charge(self, made, late)

    def observed(site, client, request, memory):
        reply = train(site, client, request, memory)
        seen.append(
            ledger.spent(site.examples(client), DELTA) == site.plan(client).spent(memory.history)
            and memory.history != ()
        )
        return reply

    monkeypatch.setattr(Ledger, "charge", slow)
    monkeypatch.setattr(client_app.client, "train", observed)
    run(tiny(*DP))
    assert seen == [True] * 8


def test_an_update_whose_charge_cannot_be_written_does_not_leave_the_client(tiny, monkeypatch):
    def full(self, made, judge):
        raise UserError("ledger: no space left on device; name another folder")

    monkeypatch.setattr(Ledger, "charge", full)
    with pytest.raises(UserError, match="ledger_unusable x4"):
        run(tiny(*DP))


@pytest.mark.parametrize(
    "budget", [(), ("privacy.lifetime_epsilon=50",)], ids=["without a budget", "with a budget"]
)
@pytest.mark.parametrize("level", [DP, CLIENT_LEVEL], ids=["sample level", "client level"])
def test_damage_in_mid_run_is_told_from_other_mistakes_in_the_last_line_and_in_mlflow(
    tiny, tmp_path, monkeypatch, level, budget, database
):
    from fedpriv.tracking.queries import runs_of
    from fedpriv.watch import Watch

    done = Watch.round_done

    def damaging(self, result, parameters):
        done(self, result, parameters)
        if result.number == 1:
            with (default_folder() / "ledger.jsonl").open("a") as file:
                file.write('{"event":"junk"}\n')

    monkeypatch.setattr(Watch, "round_done", damaging)
    uri = database(tmp_path / "mlflow.db")
    said = "round 2: none of the 4 clients sent a usable update (ledger_unusable x4); see the clients' logs"
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.experiment=e", "tracking.log_model=false")
    with pytest.raises(UserError) as ended:
        run(tiny(*level, *budget, *tracked))
    assert str(ended.value) == said
    (logged,) = runs_of(uri, "e")
    assert logged.tags["failure"] == f"UserError: {said}"


# Budgets over all runs


def test_nobody_trains_past_the_lifetime_budget_and_the_others_go_on(tiny):
    config = tiny(*DP, "privacy.lifetime_epsilon=6.5")
    spent = SampledGaussian(0.8, 1.0, 1)
    tired = shares_of(config)[2]
    Purse(Ledger(default_folder()), "ab", DELTA, "eyes").make_up({2: (tired, spent)}, 1, 1)
    before = Ledger(default_folder()).spent(tired, DELTA).epsilon
    assert 0 < before < 6.5
    report = run(config)
    last = report.history[-1]
    assert last.failures == {"budget_spent": 1}
    assert last.replied == 3
    ledger = Ledger(default_folder())
    for client, share in enumerate(shares_of(config)):
        found = ledger.spent(share, DELTA).epsilon
        assert (found == before) if client == 2 else (5.5 < found <= 6.5)
    assert report.lifetime.spent.epsilon <= 6.5


def test_a_second_run_stops_where_the_first_has_spent_the_lifetime_budget(tiny):
    run(tiny(*DP))
    made = len(charges())
    second = run(tiny(*DP, "privacy.lifetime_epsilon=6.01"))
    assert second.history[-1].failures == {"budget_spent": 4}
    assert len(charges()) == made
    assert second.lifetime.spent.epsilon <= 6.01
    assert second.lifetime.earlier_runs == 1


@pytest.mark.parametrize(
    "mode",
    [("mode=centralized",), ("mode=local",), CLIENT_LEVEL[:2]],
    ids=["centralized", "local", "client level"],
)
def test_the_lifetime_budget_holds_for_every_way_to_train(tiny, mode):
    way = (*DP, *mode) if mode != CLIENT_LEVEL[:2] else (*mode, "privacy.epsilon=10")
    first = run(tiny(*way))
    made, limit = len(charges()), first.lifetime.spent.epsilon + 1e-3
    again = run(tiny(*way, f"privacy.lifetime_epsilon={limit}"))
    assert again.history[-1].failures.get("budget_spent", 0) > 0
    assert len(charges()) == made


def test_a_run_of_noisy_sums_ends_where_every_lifetime_budget_is_spent(tiny):
    limit = run(tiny(*CLIENT_LEVEL, "federation.rounds=2")).lifetime.spent.epsilon + 1e-3
    made = len(charges())
    again = run(tiny(*CLIENT_LEVEL, "federation.rounds=6", f"privacy.lifetime_epsilon={limit}"))
    assert [each.failures.get("budget_spent", 0) for each in again.history] == [0, 4]
    assert len(charges()) == made


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("privacy.lifetime_epsilon=3",), "privacy.lifetime_epsilon=3.0: has no effect; add privacy=dp_sgd"),
        (
            (*DP, "privacy.lifetime_epsilon=3", "privacy.noise=fast"),
            "privacy.lifetime_epsilon=3.0: cannot count privacy.noise=fast, which is seeded",
        ),
        ((*DP, "privacy.lifetime_epsilon=0"), "privacy.lifetime_epsilon=0.0: must be positive"),
        (
            (*DP, "privacy.lifetime_epsilon=3", "privacy.ledger=null"),
            "privacy.lifetime_epsilon=3.0: is kept by",
        ),
        ((*DP, "privacy.ledger=''"), "privacy.ledger='': is empty"),
    ],
)
def test_what_makes_no_sense_is_one_line(tiny, overrides, said):
    with pytest.raises(UserError) as caught:
        run(tiny(*overrides))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


# Damage


def test_a_damaged_ledger_stops_the_run_before_its_first_round(tiny, tmp_path):
    own = tmp_path / "ledger"
    settings = (*DP, f"privacy.ledger={own}")
    run(tiny(*settings))
    assert not default_folder().exists()
    lines = (own / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (own / "ledger.jsonl").write_bytes(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(UserError) as caught:
        run(tiny(*settings), output_dir=tmp_path / "run")
    assert str(caught.value).startswith(f"{own}/ledger.jsonl: line 4: does not follow the line before")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "checkpoint" / "state.npz").exists()
    run(tiny(*DP, "privacy.ledger=null"))  # says so, and is not counted
    run(tiny(f"privacy.ledger={own}"))  # no privacy, nothing to charge


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/proc/nothing", "No such file or directory"),
        ("{tmp}/file", "File exists"),
        ("{tmp}/file/ledger", "Not a directory"),
        ("{tmp}/" + 300 * "a", "File name too long"),
    ],
)
@pytest.mark.parametrize("level", [DP, CLIENT_LEVEL], ids=["sample level", "client level"])
def test_a_place_where_no_ledger_can_be_made_is_refused_before_anything_is_written(
    tiny, tmp_path, level, place, why
):
    (tmp_path / "file").touch()
    folder = place.format(tmp=tmp_path)
    with pytest.raises(UserError) as refused:
        run(tiny(*level, f"privacy.ledger={folder}"), output_dir=tmp_path / "out")
    assert str(refused.value) == f"{folder}: cannot be made: {why}; name another folder"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_command_says_so_in_one_line_and_ends_with_status_2(tmp_path):
    folder = tmp_path / "ledger"
    Ledger(folder).charge(
        [Charge(of_digests(np.arange(3, dtype=np.uint64)), SampledGaussian(1, 0.1, 5), "a", 1, DELTA)]
    )
    (folder / "ledger.jsonl.head").unlink()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.run",
            *TINY,
            *DP,
            f"privacy.ledger={folder}",
            f"hydra.run.dir={tmp_path}/out",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"fedpriv: {folder}/ledger.jsonl.head: missing; ")
    assert done.stderr.count("\n") == 1
    assert "Run summary" not in done.stdout


def test_no_test_and_no_process_of_one_knows_the_users_own_ledger():
    program = "from fedpriv.privacy.ledger import default_folder; print(default_folder())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for folder in (default_folder(), Path(done.stdout.strip())):
        assert not folder.is_relative_to(Path.home())
        assert folder == default_folder()
        assert not folder.exists()


# What is said


def test_the_summary_states_both_epsilons_and_how_many_runs_there_were(tiny):
    run(tiny(*DP))
    console = Console(record=True, width=110)
    report = run(tiny(*DP, "seed=1"), console=console)
    shown = console.export_text()
    assert f"{at_most(report.history[-1].epsilon)} at delta 1e-05 (largest reported)" in shown
    assert f"{at_most(report.lifetime.spent.epsilon)} at delta 1e-05 (with 1 other run)" in shown
    assert "  all private runs on the data" in shown
    console = Console(record=True, width=110)
    assert run(tiny(*DP, "privacy.ledger=null"), console=console).lifetime is None
    assert "not counted: privacy.ledger=null" in console.export_text()


def test_mlflow_has_both_epsilons_the_earlier_runs_and_whether_there_is_a_ledger(tiny, tmp_path, database):
    from mlflow import MlflowClient

    uri = database(tmp_path / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false", "evaluation.pictures=0")
    run(tiny(*DP))
    report = run(tiny(*DP, *tracked, "seed=1"))
    found = MlflowClient(uri).get_run(report.mlflow_run_id).data
    assert found.metrics["epsilon"] == report.history[-1].epsilon
    assert found.metrics["lifetime_epsilon"] == report.lifetime.spent.epsilon
    assert found.metrics["earlier_runs"] == 1.0
    assert found.tags["privacy_ledger"] == "on"
    assert found.params["privacy.ledger"] == "default"
    alone = run(tiny(*DP, *tracked, "privacy.ledger=null"))
    found = MlflowClient(uri).get_run(alone.mlflow_run_id).data
    assert found.tags["privacy_ledger"] == "off"
    assert "lifetime_epsilon" not in found.metrics


# Crashes


@pytest.mark.parametrize("answered", [1, 2, 4])
def test_a_resumed_run_has_charged_the_lost_round_once_to_everybody(tmp_path, cut, answered):
    """Whoever came to its charge before the crash, and whoever did not."""
    settings = (*TINY, "federation.rounds=3", *DP)
    cut(tmp_path / "run", 2, answered, *settings)
    begun = Counter(entry["round"] for entry in charges())
    assert begun[1] == 4
    report = resume(tmp_path / "run")
    rounds = Counter((entry["round"], entry["share"]) for entry in charges())
    # once for the round that was lost and once for the same done again; the third is beyond the budget
    assert {number: count for (number, _), count in rounds.items()} == {1: 1, 2: 2}
    assert len(rounds) == 8
    assert len({entry["run"] for entry in charges()}) == 1
    assert report.lifetime.earlier_runs == 0
    truth = max(accounting.spent(history, DELTA).epsilon for history in histories(tmp_path / "run").values())
    assert report.lifetime.spent.epsilon == pytest.approx(truth)


def test_a_second_crash_in_the_same_round_is_charged_a_second_time(tmp_path, cut, monkeypatch):
    settings = (*TINY, "federation.rounds=4", *DP)
    cut(tmp_path / "run", 2, 1, *settings)
    for crash in (1, 2):
        with monkeypatch.context() as patch:

            def crashes(*_, **__):
                raise KeyboardInterrupt

            patch.setattr("fedpriv.trainers.launch_inprocess", crashes)
            with pytest.raises(KeyboardInterrupt):
                resume(tmp_path / "run")
        rounds = Counter((entry["round"], entry["share"]) for entry in charges())
        assert {count for (number, _), count in rounds.items() if number == 2} == {crash}


def test_a_resumed_run_with_client_level_privacy_charges_the_lost_sum_to_every_client(tmp_path, cut):
    settings = (*TINY, "federation.rounds=3", *CLIENT_LEVEL)
    cut(tmp_path / "run", 2, 1, *settings)
    report = resume(tmp_path / "run")
    rounds = Counter((entry["round"], entry["share"]) for entry in charges())
    assert {count for (number, _), count in rounds.items() if number == 2} == {2}
    assert report.lifetime.spent.epsilon >= report.history[-1].epsilon


@pytest.mark.slow
@pytest.mark.parametrize("privacy", [DP, CLIENT_LEVEL], ids=["sample level", "client level"])
def test_runs_killed_anywhere_and_resumed_never_have_less_in_the_ledger(tmp_path, privacy, monkeypatch):
    settings = (*TINY, "federation.rounds=5", *privacy)
    unit = "client" if privacy is CLIENT_LEVEL else "sample"
    chance = random.Random(3)

    def spent(name):
        ledger = Ledger(tmp_path / name / "fedpriv" / "ledger")
        return [ledger.spent(share, DELTA, unit).epsilon for share in shares_of(compose_run(*settings))]

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "undisturbed"))
    run(compose_run(*settings), output_dir=tmp_path / "undisturbed run")
    lines, least = len(charges()), spent("undisturbed")
    killed = 0
    for trial in range(5):
        name = f"trial {trial}"
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
        child = os.fork()
        if not child:
            try:
                run(compose_run(*settings), output_dir=tmp_path / f"{name} run")
            finally:
                os._exit(0)
        ledger, last = default_folder() / "ledger.jsonl", chance.randint(1, lines)
        while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ledger.exists() and ledger.read_bytes().count(b"\n") >= last:
                break
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        state = tmp_path / f"{name} run" / "checkpoint" / "state.npz"
        report = resume(state.parents[1]) if state.exists() else run(compose_run(*settings))
        found = spent(name)
        assert all(now >= before * (1 - 1e-6) for now, before in zip(found, least, strict=True))
        if report.lifetime is not None:
            assert report.lifetime.spent.epsilon >= report.history[-1].epsilon
            assert report.lifetime.earlier_runs == 0 or not state.exists()
    assert killed >= 3


# Threads


def test_a_block_that_fails_waits_for_its_charge_and_says_its_own_error(tmp_path):
    share = of_digests(np.arange(3, dtype=np.uint64))
    paying = purse.Purse(Ledger(tmp_path / "l"), "run", DELTA, "x")
    with pytest.raises(ZeroDivisionError), paying.paying(share, SampledGaussian(1.0, 0.1, 5), 1):
        math.log(1 / 0)
    assert len(charges(tmp_path / "l")) == 1
