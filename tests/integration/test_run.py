"""Whole runs: engines agree, faults are counted, encryption and privacy compose, all is tracked."""

import dataclasses
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedpriv import runner, watch
from fedpriv.checkpoint import Checkpoint
from fedpriv.config.checks import check
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.errors import UserError
from fedpriv.he import provision
from fedpriv.he.envelope import SIGNED_BYTES
from fedpriv.he.identity import Enrolment
from fedpriv.run_keys import key_folder
from fedpriv.runner import run

ENCRYPTED = {
    "bfv": ("secure=bfv",),
    "bfv committee": ("secure=bfv_committee",),
    "ckks": ("secure=ckks",),
    "ckks committee": ("secure=ckks", "secure.keys=committee", "secure.holders=2"),
}
SCHEMES = {"plain": (), **ENCRYPTED}


def curve(report):
    return [result.metrics["angular_error_deg"] for result in report.history]


def test_the_same_seed_gives_bit_identical_models_and_another_seed_another(tiny):
    first, second = run(tiny()), run(tiny())
    assert first.parameters.tobytes() == second.parameters.tobytes()
    assert curve(first) == curve(second)
    assert run(tiny("seed=1")).parameters.tobytes() != first.parameters.tobytes()


def test_training_changes_the_model_and_counts_its_bytes(tiny):
    report = run(tiny())
    start, last = report.history[0], report.history[-1]
    assert start.number == 0
    assert curve(report)[0] != curve(report)[-1]
    assert last.bytes_down == 4 * 4 * len(report.parameters)
    # float32, header and signature per client
    assert last.bytes_up == 4 * (4 * len(report.parameters) + SIGNED_BYTES)
    assert last.bytes_keyholders == 0
    assert last.update_bytes == last.bytes_up // 4


def test_worker_processes_train_the_same_model(tiny):
    alone, pool = run(tiny()), run(tiny("engine.workers=2"))
    assert alone.parameters.tobytes() == pool.parameters.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["plain", "bfv committee"])
def test_ray_trains_the_same_model_within_float_tolerance(tiny, scheme):
    """Its actors share the key holders: transcripts and shares are files, whoever opens them."""
    alone = run(tiny(*SCHEMES[scheme]))
    environment = dict(os.environ)  # torch sets a variable of its own when a process first trains
    ray = run(tiny(*SCHEMES[scheme], "engine=ray"))
    # a PYTHONPATH of Flower's would be that of every process that is started from now on
    assert dict(os.environ) == environment
    np.testing.assert_allclose(ray.parameters, alone.parameters, atol=1e-4)
    np.testing.assert_allclose(curve(ray), curve(alone), atol=0.05)


@pytest.mark.parametrize("scheme", ENCRYPTED)
def test_an_encrypted_run_gives_the_plain_curve_up_to_quantisation(tiny, scheme):
    plain, encrypted = run(tiny()), run(tiny(*ENCRYPTED[scheme]))
    step = 2 * 0.5 / (2**16 - 2)
    rounds = len(plain.history) - 1
    # each round rounds each weighted update by less than one step; sums are divided by >= 1
    assert np.abs(plain.parameters - encrypted.parameters).max() < 0.05
    np.testing.assert_allclose(curve(encrypted), curve(plain), atol=0.3)
    first = [run(tiny("federation.rounds=1", *more)).parameters for more in ((), ENCRYPTED[scheme])]
    # bfv rounds each of 4 updates by less than a step; ckks adds noise of half a step's deviation
    assert 0 < np.abs(first[0] - first[1]).max() <= 4 * step
    assert rounds == 2


def test_a_packed_update_under_a_shared_key_is_smaller_than_float32(tiny):
    plain, encrypted = (run(tiny("federation.rounds=1", *more)) for more in ((), ("secure=bfv",)))
    assert encrypted.history[-1].update_bytes < plain.history[-1].update_bytes


def test_the_bytes_of_keys_and_openings_are_those_of_the_parts(tiny):
    """Every holder gets every header and mask; the first round has the key's making in it too."""
    config = tiny("secure=bfv_committee")
    codec, size = codec_of(config), len(run(tiny()).parameters)
    report = run(config)
    first, second = report.history[1:]
    parts = 4 * (SIGNED_BYTES + codec.mask_bytes(size)) + codec.body_bytes(size)
    assert second.bytes_keyholders == 3 * parts
    assert first.bytes_keyholders > second.bytes_keyholders
    assert second.bytes_down > 4 * 4 * size + 4 * 64 * 3  # a public key, endorsed by three
    assert second.update_bytes == SIGNED_BYTES + codec.mask_bytes(size) + codec.body_bytes(size)


@pytest.mark.parametrize("workers", [0, 2])
def test_planted_faults_cost_their_updates_and_are_counted_by_cause(tiny, workers):
    report = run(
        tiny(
            "data.people=8",
            "federation.clients=6",
            f"engine.workers={workers}",
            "federation.faults=[1:raise,2:nan,3:shape,4:silent]",
            "federation.client_timeout_s=2",
            "federation.rounds=1",
        )
    )
    last = report.history[-1]
    assert last.failures == {"exception": 1, "non_finite": 1, "wrong_model": 1, "no_reply": 1}
    assert (last.asked, last.replied) == (6, 2)
    assert np.isfinite(report.parameters).all()


@pytest.mark.parametrize("scheme", ENCRYPTED)
def test_planted_faults_are_counted_and_the_others_sum_is_opened_under_encryption(tiny, scheme):
    overrides = ("data.people=8", "federation.clients=6", "federation.faults=[1:raise,2:nan,3:shape]")
    reports = [run(tiny(*overrides, "federation.rounds=1", *more)) for more in ((), ENCRYPTED[scheme])]
    for report in reports:
        last = report.history[-1]
        assert last.failures == {"exception": 1, "non_finite": 1, "wrong_model": 1}
        assert (last.asked, last.replied) == (6, 3)
    np.testing.assert_allclose(reports[1].parameters, reports[0].parameters, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_faulty_clients_text_is_logged_and_stays_with_the_client(tiny, caplog, workers):
    report = run(tiny("federation.faults=[1:raise]", "federation.rounds=1", f"engine.workers={workers}"))
    assert "/home/alice" in caplog.text  # the client's own log has it
    assert "alice" not in repr(report.history)


def test_all_clients_failing_ends_the_run_with_one_line(tiny):
    with pytest.raises(UserError, match=r"round 1: none of the 4 clients .*exception x4"):
        run(tiny("federation.faults=[0:raise,1:raise,2:raise,3:raise]"))


def test_epsilon_is_cumulative_over_rounds_and_meets_its_target(tiny):
    report = run(tiny("privacy=dp_sgd", "privacy.epsilon=6", "federation.rounds=3", "training.batch_size=8"))
    spent = [result.epsilon for result in report.history[1:]]
    assert spent == sorted(spent)
    assert spent[0] < 0.8 * spent[-1]
    assert 5.5 < spent[-1] <= 6.0
    assert report.history[-1].delta == 1e-5


def test_private_noise_cannot_be_seeded_unless_asked_for(tiny):
    secure = [run(tiny("privacy=dp_sgd", "federation.rounds=1")).parameters for _ in range(2)]
    fast = [
        run(tiny("privacy=dp_sgd", "privacy.noise=fast", "federation.rounds=1")).parameters for _ in range(2)
    ]
    assert secure[0].tobytes() != secure[1].tobytes()
    assert fast[0].tobytes() == fast[1].tobytes()


def test_a_spent_budget_stops_the_client_before_the_round(tiny):
    """Noise given, target too: not both; so spend by hand over more rounds than planned."""
    from fedpriv.config.as_json import to_json
    from fedpriv.config.parties import build_site
    from fedpriv.federated import client
    from fedpriv.federated.messages import MessageError, TrainRequest

    config = tiny("privacy=dp_sgd", "privacy.epsilon=3", "federation.rounds=2")
    config.run_id = "00" * 16
    with key_folder(config) as folder:
        config.secure.key_folder = folder
        site, memory = build_site(to_json(config)), client.ClientMemory()
        start = site.parameters.read()
        for number in (1, 2):
            client.train(site, 0, TrainRequest(config.run_id, number, 1.0, {}, start), memory)
        before = memory.history
        with pytest.raises(MessageError, match="budget_spent"):
            client.train(site, 0, TrainRequest(config.run_id, 3, 1.0, {}, start), memory)
    assert memory.history == before


def test_an_epsilon_that_is_the_looser_bound_says_so_wherever_it_is_stated(tiny, tmp_path, capsys, database):
    """Noise of a deviation of 0.2 clipping norms costs more than PRV can be asked for."""
    from mlflow import MlflowClient

    from fedpriv.cli import main

    uri = database(tmp_path / "mlflow.db")
    loud = ("privacy=dp_sgd", "privacy.epsilon=null", "privacy.noise_multiplier=0.2", "training.batch_size=8")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "evaluation.pictures=0")
    report = run(tiny(*loud, *tracked), output_dir=tmp_path / "out", console=Console(width=200))
    assert [each.accountant for each in report.history] == [None, "rdp", "rdp"]
    assert "(largest reported; RDP bound)" in capsys.readouterr().out
    assert MlflowClient(uri).get_run(report.mlflow_run_id).data.tags["privacy_accountant"] == "rdp"
    for source in (
        ["--run", report.mlflow_run_id, "--tracking-uri", uri],
        ["--checkpoint", str(tmp_path / "out")],
    ):
        main(["evaluate", *source, "--json"])
        assert json.loads(capsys.readouterr().out)["privacy"]["accountant"] == "rdp"


@pytest.mark.parametrize(
    ("overrides", "accountant"),
    [
        (("privacy=dp_sgd", "mode=centralized"), "prv"),
        (("privacy=dp_sgd",), "prv"),
        (("privacy=client_level", "secure=bfv"), "zcdp"),
        ((), None),
    ],
)
def test_every_round_names_the_accountant_of_its_epsilon(tiny, overrides, accountant):
    history = run(tiny(*overrides)).history
    assert history[0].accountant is None
    assert {each.accountant for each in history[1:]} == {accountant}


def test_a_client_answers_no_other_run_and_spends_nothing_on_it(tiny):
    from fedpriv.config.as_json import to_json
    from fedpriv.config.parties import build_site
    from fedpriv.federated import client
    from fedpriv.federated.messages import MessageError, TrainRequest

    config = tiny("privacy=dp_sgd", "privacy.epsilon=3")
    config.run_id = "00" * 16
    with key_folder(config) as folder:
        config.secure.key_folder = folder
        site, memory = build_site(to_json(config)), client.ClientMemory()
        with pytest.raises(MessageError, match="wrong_run"):
            client.train(site, 0, TrainRequest("11" * 16, 1, 1.0, {}, site.parameters.read()), memory)
    assert memory.history == ()


def test_everything_composes(tiny):
    report = run(tiny("privacy=dp_sgd", "secure=bfv", "strategy=fedadam", "engine.workers=2"))
    assert report.history[-1].replied == 4
    assert report.history[-1].epsilon <= 8.0


def test_fedprox_pulls_the_clients_to_the_global_model(tiny):
    sgd = (
        "federation.rounds=1",
        "training.optimizer=sgd",
        "training.learning_rate=0.05",
        "training.momentum=0",
        "training.batch_size=2",
    )
    start = run(tiny(*sgd, "training.learning_rate=1e-12")).parameters
    far = run(tiny(*sgd)).parameters
    near = run(tiny(*sgd, "strategy=fedprox", "strategy.proximal_mu=10")).parameters
    assert np.linalg.norm(near - start) < 0.7 * np.linalg.norm(far - start)


def test_a_cohort_asks_that_many_clients(tiny):
    report = run(tiny("federation.cohort=2"))
    assert [result.asked for result in report.history] == [0, 2, 2]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_keys_are_private_and_gone_after_the_run(tiny, monkeypatch, scheme):
    seen = {}
    build = runner.build_trainer

    def watch(text, nursery):
        folder = Path(json.loads(text)["secure"]["key_folder"])
        seen["folder"] = folder
        seen["modes"] = {
            (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in [folder, *folder.rglob("*")]
        }
        return build(text, nursery)

    monkeypatch.setattr(runner, "build_trainer", watch)
    run(tiny("federation.rounds=1", *SCHEMES[scheme]))
    assert seen["modes"] == {(True, 0o700), (False, 0o600)}
    assert not seen["folder"].exists()


@pytest.mark.parametrize("scheme", ENCRYPTED)
def test_the_transcripts_are_kept_and_say_who_was_in_each_sum(tiny, tmp_path, scheme):
    config = tiny(*ENCRYPTED[scheme], "federation.faults=[1:raise]")
    run(config, output_dir=tmp_path)
    names = sorted(path.name for path in (tmp_path / "transcripts").glob("*.jsonl"))
    assert names == [f"holder-{number}.jsonl" for number in range(codec_of(config).holders)]
    for name in names:
        lines = [json.loads(line) for line in (tmp_path / "transcripts" / name).read_text().splitlines()]
        released = {line["round"]: line["clients"] for line in lines if line["event"] == "release"}
        assert released == {1: [0, 2, 3], 2: [0, 2, 3]}


def test_a_run_that_fails_leaves_the_transcripts_of_what_was_opened(tiny, tmp_path, monkeypatch):
    from fedpriv.watch import Watch

    def fail(self, result, parameters):
        if result.number:
            raise UserError("the disk is full")

    monkeypatch.setattr(Watch, "round_done", fail)
    with pytest.raises(UserError, match="the disk is full"):
        run(tiny("secure=bfv"), output_dir=tmp_path)
    assert '"release"' in (tmp_path / "transcripts" / "holder-0.jsonl").read_text()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_folder_of_keys_serves_one_run_after_the_other(tiny, tmp_path, scheme):
    """Run ids differ, so what was opened in the first does not stop the second."""
    overrides = (*SCHEMES[scheme], "federation.rounds=1")
    config = tiny(*overrides)
    tmp_path.chmod(0o700)
    provision.provision(tmp_path, 4, codec_of(config), policy_of(config))
    public = Enrolment.load(provision.enrolment_file(tmp_path)).digest
    for _ in range(2):
        report = run(tiny(*overrides, f"secure.key_folder={tmp_path}"))
        assert report.history[-1].replied == 4
    assert Enrolment.load(provision.enrolment_file(tmp_path)).digest == public


def test_mlflow_has_every_figure_at_its_round_and_no_key(tiny, tmp_path, database):
    from mlflow import MlflowClient

    uri = database(tmp_path / "mlflow.db")
    report = run(
        tiny(
            "tracking=mlflow",
            f"tracking.uri={uri}",
            "privacy=dp_sgd",
            "secure=bfv",
            "federation.faults=[1:raise]",
        ),
        ["privacy=dp_sgd"],
        tmp_path / "out",
    )
    client = MlflowClient(uri)
    found = client.get_run(report.mlflow_run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["federation.clients"] == "4"
    assert {"git_commit", "seed", "config_hash", "overrides"} <= set(found.data.tags)
    for name in (
        "angular_error_deg",
        "train_loss",
        "epsilon",
        "delta",
        "bytes_up",
        "bytes_down",
        "bytes_keyholders",
        "clients_failed",
        "clients_failed_exception",
        "seconds_train",
        "seconds_encrypt",
        "seconds_aggregate",
        "seconds_decrypt",
        "seconds_evaluate",
    ):
        history = client.get_metric_history(report.mlflow_run_id, name)
        assert {metric.step for metric in history} >= {1, 2}, name
    errors = {m.step: m.value for m in client.get_metric_history(report.mlflow_run_id, "angular_error_deg")}
    assert errors == dict(enumerate(curve(report)))
    pictures = {Path(item.path).name for item in client.list_artifacts(report.mlflow_run_id, "pictures")}
    assert pictures == {
        "angular_error_deg.png",
        "bytes.png",
        "seconds.png",
        "epsilon.png",
        "predictions.png",
        "partition.png",
    }
    everything = json.dumps([found.data.params, found.data.tags]) + "".join(
        path.read_text(errors="ignore") for path in tmp_path.rglob("*.yaml")
    )
    assert "signing.key" not in everything
    assert "shared.key" not in everything
    assert found.data.params["secure.key_folder"] == "<hidden>"
    assert found.data.params["secure.keys"] == "authority"  # a choice, and no key


def test_the_checkpoint_is_the_final_model(tiny, tmp_path):
    report = run(tiny(), output_dir=tmp_path)
    with np.load(tmp_path / "checkpoint" / "state.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["parameters"], report.parameters)
    found = Checkpoint(tmp_path).load()
    assert found.history == report.history
    assert found.parameters.tobytes() == report.parameters.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_nothing_is_tracked_when_the_configuration_is_refused(tiny, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(UserError, match=r"federation.clients=40: only 4 people"):
        run(tiny("tracking=mlflow", f"tracking.uri={uri}", "federation.clients=40"))
    assert not list(tmp_path.iterdir())


def test_the_given_configuration_is_not_changed(tiny):
    config = tiny("federation.rounds=1")
    before = str(config)
    run(config)
    assert str(config) == before


def test_check_accepts_what_runs(tiny):
    check(tiny("secure=bfv", "privacy=dp_sgd"))


def test_every_field_of_a_round_is_filled(tiny):
    last = run(tiny("privacy=dp_sgd", "secure=bfv")).history[-1]
    empty = [f.name for f in dataclasses.fields(last) if getattr(last, f.name) in (None, 0, {})]
    elsewhere = {"clear_fraction", "bytes_keys", "clipping_norm", "within_norm", "epsilon_reported"}
    assert set(empty) <= {"failures", "clipped_fraction", "coarse_fraction", *elsewhere}
    assert set(last.seconds) == {"train", "encrypt", "aggregate", "decrypt", "evaluate"}


@pytest.mark.parametrize("scheme", ["bfv", "bfv committee"])
def test_fedadam_takes_the_same_steps_on_encrypted_sums(tiny, scheme):
    """Adam divides by the size of the mean, which magnifies rounding where updates are near zero."""
    plain, encrypted = (run(tiny("strategy=fedadam", *more)) for more in ((), ENCRYPTED[scheme]))
    moved = np.abs(plain.parameters - run(tiny("strategy=fedadam", "federation.rounds=1")).parameters)
    assert np.abs(plain.parameters - encrypted.parameters).mean() < 0.01 * moved.mean()
    assert curve(encrypted) == pytest.approx(curve(plain), rel=1e-2)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), "gaze-none-plain-seed0"),
        (("secure=bfv",), "gaze-none-bfv-seed0"),
        (("secure=ckks", "secure.keys=committee", "secure.holders=2"), "gaze-none-ckks-committee2-seed0"),
    ],
)
def test_the_runs_name_says_how_updates_are_encrypted(tiny, overrides, name):
    assert watch._run_name(tiny(*overrides)) == name
