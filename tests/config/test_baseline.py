"""An infinite epsilon is no privacy at all: the same configuration, the same bits, and it says so."""

import json
import logging
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf

from fedpriv.config.as_json import from_json, run_digest, to_json, typed
from fedpriv.config.baseline import SAID
from fedpriv.config.check_baseline import check_asked
from fedpriv.config.checks import check
from fedpriv.config.compose import CONFIGS, compose_run
from fedpriv.config.given import compose_given
from fedpriv.config.schema import PrivacyUnit
from fedpriv.errors import UserError
from fedpriv.privacy.ledger import default_folder
from fedpriv.runner import resume, run
from fedpriv.tracking.queries import runs_of
from fedpriv.tracking.run_reading import read_config
from tests.config.small import SMALL
from tests.integration.forked import run_forked

LEVELS = [("privacy=dp_sgd",), ("privacy=client_level", "secure=bfv")]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("word", ["inf", "+inf", "INF"])
def test_it_is_the_configuration_of_privacy_none_in_every_value(level, word):
    endless = compose_given([*SMALL, *level, f"privacy.epsilon={word}"])
    without = compose_given([*SMALL, *level[1:], "privacy=none"])
    assert to_json(endless) == to_json(without)
    assert run_digest(endless) == run_digest(without)
    assert endless.privacy.unit is PrivacyUnit.none
    check(endless)


def test_it_can_stand_in_a_yaml_file(tmp_path):
    file = tmp_path / "privacy.yaml"
    file.write_text("unit: sample\nepsilon: .inf\ndelta: 1.0e-5\n")
    config = OmegaConf.merge(compose_run(*SMALL), {"privacy": OmegaConf.load(file)})
    assert to_json(typed(config)) == to_json(typed(compose_run(*SMALL, "privacy=none")))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("privacy=dp_sgd", "privacy.epsilon=-inf"), "privacy.epsilon=-inf: needs a finite number"),
        (("privacy=dp_sgd", "privacy.epsilon=nan"), "privacy.epsilon=nan: needs a finite number"),
        (("privacy.epsilon=inf",), "privacy.epsilon=inf: "),
        (("privacy=dp_sgd", "privacy.epsilon=inf", "privacy.noise_multiplier=1"), "privacy.epsilon=inf"),
        (("privacy=dp_sgd", "privacy.epsilon=null", "privacy.noise_multiplier=inf"), "noise_multiplier=inf"),
        (("privacy=dp_sgd", "privacy.delta=inf"), "privacy.delta=inf: needs a finite number"),
    ],
)
def test_no_other_infinity_passes(given, said):
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        check(compose_given([*SMALL, *given]))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("privacy.lifetime_epsilon=3",), "privacy.epsilon=inf: passes privacy.lifetime_epsilon=3.0; choose"),
        (
            ("privacy.clipping_norm=-1", "privacy.delta=7", "privacy.lifetime_epsilon=-4"),
            "privacy.epsilon=inf: passes privacy.lifetime_epsilon=-4.0; choose",
        ),
        (("audit.enabled=true",), "audit.enabled=true: a run with privacy.epsilon=inf claims nothing"),
        (("privacy.clipping_norm=-1",), "privacy.clipping_norm=-1.0"),
        (("privacy.clipping_norm=nan",), "privacy.clipping_norm=nan: needs a finite number"),
        (("privacy.delta=7",), "privacy.delta=7.0"),
        (("privacy.delta=null",), "privacy.delta: is missing"),
        (("privacy.bands=2",), "privacy.bands=2: has no effect"),
        (("privacy.target_quantile=0.4",), "privacy.target_quantile=0.4: has no effect"),
        (("privacy.ledger=''",), "privacy.ledger='': is empty"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_a_finite_epsilon_would_not_go_with_is_refused_before_anything_is_written(
    tiny, tmp_path, level, given, said
):
    with pytest.raises(UserError) as refused:
        run(tiny(*level, "privacy.epsilon=inf", *given), output_dir=tmp_path / "out")
    assert str(refused.value).startswith(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "given",
    [
        ("privacy=dp_sgd",),
        ("privacy=dp_sgd", "mode=centralized"),
        ("privacy=dp_sgd", "privacy.ledger=null", "privacy.noise=fast", "privacy.gradients=opacus"),
        ("privacy=client_level", "secure=bfv", "privacy.noise_by=server"),
        ("privacy=client_level", "secure=bfv", "privacy.clipping=adaptive", "privacy.clipping_norm=0.1"),
        ("privacy=client_level", "secure=bfv", "secure.bits=20", "federation.rounds=100"),
    ],
    ids=",".join,
)
def test_what_goes_with_a_finite_epsilon_goes_with_an_infinite_one(given):
    check(compose_given([*SMALL, *given, "privacy.epsilon=8"]))
    check_asked(compose_run(*SMALL, *given, "privacy.epsilon=inf"))


def test_the_command_refuses_a_budget_that_inf_would_pass_with_one_line_and_leaves_nothing_behind(tmp_path):
    given = [*SMALL, "privacy=dp_sgd", "privacy.epsilon=inf", "privacy.lifetime_epsilon=3"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", *given],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CONFIGS.parent), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines() == [
        "fedpriv: privacy.epsilon=inf: passes privacy.lifetime_epsilon=3.0; choose a finite epsilon, or set "
        "privacy.lifetime_epsilon=null"
    ]
    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_is_sent_an_infinite_epsilon_does_not_take_it_for_a_finite_one():
    config = compose_run(*SMALL, "privacy=dp_sgd")
    config.privacy.epsilon = math.inf
    with pytest.raises(UserError, match=r"privacy\.epsilon=inf: needs a finite number"):
        check(from_json(to_json(config)))


def test_finite_epsilons_stay():
    assert compose_given([*SMALL, "privacy=dp_sgd", "privacy.epsilon=1e6"]).privacy.epsilon == 1e6


@pytest.mark.parametrize("level", LEVELS)
def test_the_run_is_that_of_privacy_none_bit_by_bit_and_is_logged_as_epsilon_inf(
    tiny, tmp_path, caplog, level, database
):
    uri = database(tmp_path / "runs.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.experiment=e", "tracking.log_model=false")
    with caplog.at_level(logging.WARNING, "fedpriv"):
        endless = run(tiny(*level, "privacy.epsilon=inf", *tracked), output_dir=tmp_path / "out")
    assert [record.getMessage() for record in caplog.records if record.name == "fedpriv"].count(SAID) == 1
    without = run(tiny(*level[1:], "privacy=none"))
    assert np.array_equal(endless.parameters, without.parameters)
    assert [result.metrics for result in endless.history] == [result.metrics for result in without.history]
    assert all(result.epsilon is None for result in endless.history)
    assert endless.lifetime is None
    assert not default_folder().exists()

    (logged,) = runs_of(uri, "e")
    assert logged.run_id == endless.mlflow_run_id
    assert logged.status == "FINISHED"
    assert logged.params["privacy.epsilon"] == "inf"
    assert logged.params["privacy.unit"] == ("client" if len(level) > 1 else "sample")
    assert logged.tags["privacy_unit"] == "none"
    assert (logged.tags["privacy_noise"], logged.tags["privacy_ledger"]) == ("none", "off")
    assert "epsilon" not in logged.metrics
    assert read_config(uri, logged.run_id)["privacy"]["epsilon"] == math.inf

    # what is kept on disk is what was asked for, and is read back as what was done
    kept = json.loads((tmp_path / "out" / "checkpoint" / "run.json").read_text())["config"]["privacy"]
    assert kept["epsilon"] == math.inf
    assert np.array_equal(resume(tmp_path / "out").parameters, endless.parameters)


def test_a_run_with_a_finite_epsilon_says_nothing_of_it(tiny, caplog):
    run(tiny("privacy=dp_sgd", "federation.rounds=1"))
    assert SAID not in caplog.text


@pytest.mark.slow
def test_one_sweep_has_its_baseline_and_says_so(tmp_path):
    given = [
        "data.people=6",
        "data.images_per_person=16",
        "evaluation.test_subjects=2",
        "federation.clients=4",
    ]
    few = ["federation.rounds=1", "engine.workers=0", "evaluation.pictures=0", "tracking.log_model=false"]
    store = f"sqlite:///{tmp_path}/r.db"
    asked = ["privacy.epsilon=8,inf", f"hydra.sweep.dir={tmp_path}", f"tracking.uri={store}"]
    done = run_forked(["fedpriv", "run", "-m", "task=gaze", "privacy=dp_sgd", *given, *few, *asked], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count(SAID) == 1
    assert sorted(
        run.params["privacy.epsilon"] for run in runs_of(store, "fedpriv") if "fedpriv_kind" not in run.tags
    ) == [
        "8.0",
        "inf",
    ]
