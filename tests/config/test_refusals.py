"""Whatever a user can get wrong in a configuration: one line with the key, the value and the mend."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fedpriv.config.as_json import from_json, to_json
from fedpriv.config.checks import check
from fedpriv.config.compose import CONFIGS, compose_run
from fedpriv.config.explain import closest, explain
from fedpriv.config.given import compose_given
from fedpriv.errors import UserError
from fedpriv.runner import run
from tests.config.small import SMALL

ROOT = CONFIGS.parent
DP = "privacy=dp_sgd"
BFV = "secure=bfv"
COMMITTEE = "secure=bfv_committee"
CLIENT = ("privacy=client_level", BFV)


def refusal(*overrides: str) -> str:
    """Return what the user reads."""
    try:
        check(from_json(to_json(compose_run(*SMALL, *overrides))))
    except UserError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return explain(error)
    pytest.fail(f"{overrides}: not refused")


@pytest.mark.parametrize("uri", ["http://me:SECRET@127.0.0.1:9", "https://127.0.0.1:9/?token=SECRET"])
def test_an_address_that_may_hold_a_secret_is_refused_without_repeating_it(uri):
    with pytest.raises(UserError, match=r"^tracking\.uri: h.*which would be written to files") as refused:
        check(compose_run(*SMALL, "tracking=mlflow", f"tracking.uri='{uri}'"))
    assert "SECRET" not in str(refused.value)


def test_the_configuration_that_all_others_change_is_accepted():
    check(compose_run(*SMALL))
    check(compose_run(*SMALL, DP, BFV, "federation.rounds=2"))
    check(compose_run(*SMALL, *CLIENT))


MISSPELT = [
    (["data.poeple=3"], "data.poeple: there is no such key; did you mean data.people?"),
    (["privacy.epsilonn=3"], "privacy.epsilonn: there is no such key; did you mean privacy.epsilon?"),
    (["learning_rate=1"], "learning_rate: there is no such key; did you mean training.learning_rate?"),
    (["privaci=none"], "privaci: there is no such key; did you mean privacy?"),
    (["trainng.momentum=0"], "trainng.momentum: there is no such key; did you mean training.momentum?"),
    (
        ["data.zzz=3"],
        "data.zzz: there is no such key; data has people, images_per_person, classes, size, seed",
    ),
    (["zzz=3"], "zzz: there is no such key; check the spelling (`--cfg job` prints all keys)"),
    (["+zzz=3"], "zzz: there is no such key; check the spelling (`--cfg job` prints all keys)"),
    (["+training.momentun=3"], "training.momentun: there is no such key; did you mean training.momentum?"),
    (["+model.hiden=3"], "model.hiden=3: model has no such key; did you mean model.hidden?"),
    (["+model.zzz=3"], "model.zzz=3: model has no such key; it takes hidden"),
    (
        ["strategy=fedadam", "+strategy.beta_1=1"],
        "strategy.beta_1=1: strategy has no such key; did you mean strategy.beta1?",
    ),
]
WRONG_TYPE = [
    (["federation.clients=abc"], "federation.clients=abc: needs a whole number"),
    (["federation.clients=1.5"], "federation.clients=1.5: needs a whole number"),
    (["federation.clients=null"], "federation.clients=null: needs a value, not null"),
    (["training.learning_rate=fast"], "training.learning_rate=fast: needs a number"),
    (["training.optimizer=sdg"], "training.optimizer=sdg: choose one of sgd, adam, adamw"),
    (["tracking.enabled=maybe"], "tracking.enabled=maybe: needs true or false"),
    (["data.people=x"], "data.people=x: needs a whole number"),
    (["data.people=1.5"], "data.people=1.5: needs a whole number"),
    (["data.people=true"], "data.people=True: needs a whole number"),
    ([BFV, "secure.select=foo"], "secure.select=foo: needs a list in brackets, e.g. [a,b]"),
    ([BFV, "secure.select={a:1}"], "secure.select={a:1}: needs a list in brackets, e.g. [a,b]"),
    (["federation.faults=2:raise"], "federation.faults=2:raise: needs a list in brackets"),
    (["data.people=null"], "data.people=None: needs a value, not null"),
    (["partition=dirichlet", "partition.alpha=x"], "partition.alpha=x: needs a number"),
    (["federation=[1"], "federation=[1: is not KEY=VALUE"),
    (["data"], "data: is not KEY=VALUE"),
]
CHOICE = [
    (["data=nope"], "data=nope: there is no such choice; choose one of affectnet, ck_plus, "),
    (["strategy=fedsgd"], "strategy=fedsgd: there is no such choice; choose one of fedadam, fedavg, fedprox"),
    (["+experiment=nope"], "experiment=nope: there is no such choice; choose one of dp_levels, "),
    (
        ["secure=foo"],
        "secure=foo: there is no such choice; choose one of bfv, bfv_committee, bfv_selective, ",
    ),
    (["secure=[foo]"], "secure=foo: there is no such choice; look into configs/secure for what there is"),
    (["secure="], "secure=: there is no such choice; choose one of bfv, bfv_committee, bfv_selective, "),
    (["data=orl,lfw"], "data=orl,lfw: are several values; add -m to run with each of them, or write a list"),
    (
        ["~data.people", "~data.images_per_person", "data._target_=fedpriv.data.identity_folder.load"],
        "data.classes=3: data has no such key",
    ),
]
IMPOSSIBLE = [
    (["federation.clients=9"], "federation.clients=9: only 7 people to train on; lower it to 7 or fewer"),
    (["federation.clients=0"], "federation.clients=0: must be positive"),
    (["federation.rounds=0"], "federation.rounds=0: must be positive"),
    (["federation.cohort=4"], "federation.cohort=4: choose 1 to federation.clients=3"),
    (["federation.min_replies=4"], "federation.min_replies=4: only 3 clients are asked per round; lower it"),
    (["federation.cohort=1"], "federation.min_replies=2: only 1 client is asked per round; lower it"),
    (["federation.faults=[2:dance]"], "federation.faults=2:dance: needs CLIENT:KIND"),
    (["training.learning_rate=nan"], "training.learning_rate=nan: needs a finite number"),
    (["training.learning_rate=inf"], "training.learning_rate=inf: needs a finite number"),
    (["training.learning_rate=-1"], "training.learning_rate=-1.0: must be positive"),
    (["training.momentum=1"], "training.momentum=1.0: must lie in [0, 1)"),
    (["training.weight_decay=-1"], "training.weight_decay=-1.0: must not be negative"),
    (["training.local_epochs=0"], "training.local_epochs=0.0: must be positive"),
    (
        ["evaluation.test_subjects=10"],
        "evaluation.test_subjects=10: the data has 10 people; choose between 1 and 9",
    ),
    (["evaluation.pictures=-1"], "evaluation.pictures=-1: must not be negative"),
    (["seed=-1"], "seed=-1: must not be negative"),
    ([f"seed={2**63}"], f"seed={2**63}: must be below 2^63"),
    (["engine.workers=-1"], "engine.workers=-1: must be 0 (this process) or more"),
    (["engine.threads=0"], "engine.threads=0: must be at least 1, or null"),
    (["engine.cpus_per_client=0"], "engine.cpus_per_client=0.0: must be positive"),
    (["privacy.epsilon=3"], "privacy.epsilon=3.0: has no effect; add privacy=dp_sgd"),
    (["privacy.noise_multiplier=1"], "privacy.noise_multiplier=1.0: has no effect; add privacy=dp_sgd"),
    (
        [DP, "privacy.delta=null"],
        "privacy.delta: is missing; epsilon means nothing without it, e.g. privacy.delta=1e-5",
    ),
    ([DP, "privacy.delta=1"], "privacy.delta=1.0 must lie between 0 and 1"),
    ([DP, "privacy.epsilon=0"], "privacy.epsilon=0.0 must be positive"),
    ([DP, "privacy.epsilon=-inf"], "privacy.epsilon=-inf: needs a finite number"),
    ([DP, "privacy.clipping_norm=0"], "privacy.clipping_norm=0.0: choose 1e-12 to 1e+12"),
    (
        [DP, "privacy.noise_multiplier=1"],
        "privacy.epsilon=8.0, privacy.noise_multiplier=1.0: need exactly one; set the other to null",
    ),
    ([DP, "privacy.epsilon=null"], "privacy.epsilon=None, privacy.noise_multiplier=None: need exactly one"),
    (
        [DP, "privacy.epsilon=0.0001"],
        "privacy.epsilon=0.0001 at delta=1e-05 is out of reach for 20 steps; raise it or lower",
    ),
    ([BFV, "secure.min_clients=1"], "secure.min_clients=1: a sum of one update hides nothing; use 2 or more"),
    (
        [BFV, "secure.min_clients=9"],
        "secure.min_clients=9: only 3 clients are asked per round; raise federation.clients",
    ),
    (
        [BFV, "secure.min_clients=3"],
        "federation.min_replies=2: key holders open no sum of fewer than secure.min_clients=3",
    ),
    (
        [BFV, "secure.values_per_slot=9"],
        "secure.bits=16 with secure.values_per_slot=9 cannot hold federation.clients=3",
    ),
    ([BFV, "secure.bits=40"], "secure.bits=40: choose 2 to 24"),
    (["secure=ckks", "secure.bits=40"], "secure.bits=40: choose 2 to 24"),
    (
        ["secure=ckks", "secure.values_per_slot=2"],
        "secure.values_per_slot=2: has no effect, secure.scheme=ckks has one value to a slot",
    ),
    ([COMMITTEE, "secure.holders=1"], "secure.holders=1: choose 2 to 16"),
    ([COMMITTEE, "secure.holders=17"], "secure.holders=17: choose 2 to 16"),
    (
        [COMMITTEE, "secure.smudging_bits=-1"],
        "secure.smudging_bits=-1: hides too little of the key; choose 40",
    ),
    (
        [COMMITTEE, "secure.smudging_bits=39"],
        "secure.smudging_bits=39: hides too little of the key; choose 40",
    ),
    (["secure=ckks", "secure.smudging_bits=0"], "secure.smudging_bits=0: hides too little of the key"),
    (["secure=bfv", "secure.smudging_bits=40"], "secure.smudging_bits=40: has no effect"),
    (["secure=bfv", "secure.holders=5"], "secure.holders=5: has no effect, secure.keys=authority has one"),
    (["secure=ckks", "secure.holders=2"], "secure.holders=2: has no effect, secure.keys=authority has one"),
    (["secure=bfv", "secure.value_range=1e300"], "secure.value_range=1e+300: choose 1e-6 to 1e6"),
    (["secure=bfv", "secure.value_range=1e-300"], "secure.value_range=1e-300: choose 1e-6 to 1e6"),
    (["secure.keys=committee"], "secure.keys=committee: has no effect, secure.scheme=plain needs no keys"),
    (["secure.keys=everybody"], "secure.keys=everybody: choose one of authority, committee"),
    (
        ["secure.key_folder=/no/where"],
        "/no/where/enrolment.json: cannot read the file: No such file or directory",
    ),
    (["secure.key_folder="], "secure.key_folder='': is empty; name a folder, or null to have keys made"),
    (["secure.key_folder=''"], "secure.key_folder='': is empty; name a folder, or null to have keys made"),
    ([BFV, "secure.key_folder=' '"], "secure.key_folder='': is empty; name a folder"),
    (["+secure.key_file=a"], "secure.key_file: there is no such key; did you mean secure.key_folder?"),
    ([BFV, "secure.value_range=nan"], "secure.value_range=nan: needs a finite number"),
    (["strategy=fedprox", "strategy.proximal_mu=nan"], "strategy.proximal_mu=nan: needs a finite number"),
    (["strategy=fedadam", "strategy.beta1=1"], "strategy: beta1=1.0 must lie in [0, 1)"),
    (["partition=dirichlet", "partition.alpha=0"], "partition.alpha=0.0: must be positive"),
    (
        ["partition=dirichlet", "partition.alpha=0.5", "federation.clients=15"],
        "federation.clients=15: 2 images each need 30",
    ),
    (
        ["privacy=client_level"],
        "privacy.unit=client: secure.scheme=plain carries no discrete noise; use secure.scheme=bfv",
    ),
    (
        ["privacy=client_level", "secure=ckks"],
        "privacy.unit=client: secure.scheme=ckks carries no discrete noise; use secure.scheme=bfv",
    ),
    (
        [*CLIENT, "mode=centralized"],
        "privacy.unit=client: mode=centralized has no clients; use privacy=dp_sgd",
    ),
    ([*CLIENT, "secure.select=[fc.*]"], "secure.select=['fc.*']: leaves coordinates without noise"),
    ([*CLIENT, "secure.select_top=0.1"], "secure.select_top=0.1: leaves coordinates without noise"),
    (
        [DP, BFV, "privacy.noise_by=server"],
        "privacy.noise_by=server: has no effect; add privacy=client_level",
    ),
    ([BFV, "privacy.noise_by=server"], "privacy.noise_by=server: has no effect; add privacy=client_level"),
    (
        [*CLIENT, "privacy.noise_by=nobody"],
        "privacy.noise_by=nobody: choose one of clients, server",
    ),
    (["privacy.gradients=opacus"], "privacy.gradients=opacus: has no effect; add privacy=dp_sgd"),
    ([*CLIENT, "privacy.gradients=opacus"], "privacy.gradients=opacus: has no effect; add privacy=dp_sgd"),
    ([DP, "privacy.gradients=ghost"], "privacy.gradients=ghost: choose one of auto, opacus"),
    (
        [DP, "privacy.clipping=adaptive"],
        "privacy.clipping=adaptive: only client-level privacy has it; use privacy.clipping=fixed",
    ),
    (["privacy.clipping=adaptive"], "privacy.clipping=adaptive: only client-level privacy has it"),
    ([*CLIENT, "privacy.clipping=median"], "privacy.clipping=median: choose one of fixed, adaptive"),
    (
        [*CLIENT, "privacy.target_quantile=0.6"],
        "privacy.target_quantile=0.6: has no effect; add privacy.clipping=adaptive",
    ),
    ([DP, "privacy.clipping_rate=0.1"], "privacy.clipping_rate=0.1: has no effect; add privacy.clipping="),
    (
        [*CLIENT, "privacy.clipping=adaptive", "privacy.target_quantile=1"],
        "privacy.target_quantile=1.0 must lie between 0 and 1",
    ),
    (
        [*CLIENT, "privacy.clipping=adaptive", "privacy.clipping_rate=0"],
        "privacy.clipping_rate=0.0 must be positive",
    ),
    (
        [*CLIENT, "privacy.clipping=adaptive", "privacy.clipping_norm=0"],
        "privacy.clipping_norm=0.0 must be positive",
    ),
    (
        [*CLIENT, "privacy.clipping=adaptive", "secure.value_range=0.3"],
        "secure.value_range=0.3: too small for the votes of privacy.clipping=adaptive; raise it to a third",
    ),
    ([*CLIENT, "privacy.delta=null"], "privacy.delta: is missing; epsilon means nothing without it"),
    ([*CLIENT, "privacy.delta=0.4"], "privacy.delta=0.4: allows to publish one of 3 clients outright"),
    ([*CLIENT, "privacy.delta=-1"], "privacy.delta=-1.0 must lie between 0 and 1"),
    ([*CLIENT, "privacy.clipping_norm=0"], "privacy.clipping_norm=0.0 must be positive"),
    ([*CLIENT, "privacy.epsilon=0"], "privacy.epsilon=0.0 must be positive"),
    (
        [*CLIENT, "privacy.epsilon=null"],
        "privacy.epsilon=None, privacy.noise_multiplier=None: need exactly one",
    ),
    (
        [*CLIENT, "privacy.noise_multiplier=1"],
        "privacy.epsilon=8.0, privacy.noise_multiplier=1.0: need exactly one; set the other to null",
    ),
    (
        [*CLIENT, "privacy.epsilon=null", "privacy.noise_multiplier=1e-6"],
        "privacy.noise_multiplier=1e-06: protects nobody, its epsilon is infinite; raise it",
    ),
    (
        [DP, "privacy.epsilon=null", "privacy.noise_multiplier=0.0005"],
        "privacy.noise_multiplier=0.0005: protects nobody, its epsilon is infinite; choose 0.001 or more",
    ),
    (
        [*CLIENT, "privacy.epsilon=1e-4"],
        "privacy.epsilon=0.0001: noise of standard deviation",
    ),
    (
        [*CLIENT, "privacy.epsilon=null", "privacy.noise_multiplier=100", "secure.bits=24"],
        "privacy.noise_multiplier=100.0: noise of standard deviation",
    ),
    (
        [*CLIENT, "secure.values_per_slot=3"],
        "secure.bits=16 with secure.values_per_slot=3 cannot hold federation.clients=3 and the noise of "
        "privacy.epsilon (up to ",
    ),
    (
        [*CLIENT, "privacy.epsilon=null", "privacy.noise_multiplier=1", "secure.values_per_slot=3"],
        "secure.bits=16 with secure.values_per_slot=3 cannot hold federation.clients=3 and the noise of "
        "privacy.noise_multiplier (up to ",
    ),
    ([*CLIENT, "federation.min_replies=4"], "federation.min_replies=4: only 3 clients are asked per round"),
    (
        ["audit.enabled=true"],
        "audit.enabled=true: a run without differential privacy claims nothing; add privacy=dp_sgd, or",
    ),
    (
        ["audit.enabled=true", DP, "mode=centralized"],
        "audit.enabled=true: mode=centralized releases no updates to listen to; use mode=federated, or",
    ),
    (["audit.enabled=true", DP, "audit.canaries=9"], "audit.canaries=9: choose 10 to 5000"),
    (["audit.enabled=true", DP, "audit.canaries=5001"], "audit.canaries=5001: choose 10 to 5000"),
    (
        ["audit.enabled=true", DP, "audit.client=3"],
        "audit.client=3: there is no such client; choose 0 to 2",
    ),
    (
        ["audit.enabled=true", DP, "audit.client=-1"],
        "audit.client=-1: there is no such client; choose 0 to 2",
    ),
    (["model.hidden=0"], "model: outputs=3, hidden=0"),
    (["+partition.clients=3"], "partition.clients=3: is set by the run itself; remove it"),
]


@pytest.mark.parametrize(
    ("overrides", "message"), MISSPELT + WRONG_TYPE + CHOICE + IMPOSSIBLE, ids=lambda value: str(value)[:60]
)
def test_a_mistake_is_one_line_that_names_key_value_and_mend(overrides, message):
    said = refusal(*overrides)
    assert said.startswith(message)
    assert "\n" not in said
    assert len(said) < 400


FILES = [
    (
        "privacy",
        "unit: sample\nepsilonn: 8\n",
        "privacy.epsilonn: there is no such key (in privacy/mine.yaml); did you mean privacy.epsilon?",
    ),
    (
        "privacy",
        "unit: sample\nepsilon: much\n",
        "privacy.epsilon=much (in privacy/mine.yaml): needs a number",
    ),
    ("privacy", "unit: person\n", "privacy.unit=person (in privacy/mine.yaml): choose one of none, sample"),
    (
        "federation",
        "clients: 2.5\n",
        "federation.clients=2.5 (in federation/mine.yaml): needs a whole number",
    ),
    (
        "model",
        "_target_: fedpriv.models.small_cnn.SmallCNN\nhiden: 24\n",
        "model.hiden=24: model has no such key; did you mean model.hidden?",
    ),
    ("model", "hidden: 24\n", "model: names no _target_; choose one of configs/model/*.yaml"),
    (
        "model",
        "_target_: os.system\n",
        "model._target_=os.system: not allowed; targets start with one of fedpriv.tasks.",
    ),
    (
        "privacy",
        "unit: sample\n epsilon: [8\n",
        "{file}:2: is not YAML (mapping values are not allowed here); mend the file",
    ),
]


@pytest.mark.parametrize(("group", "text", "message"), FILES, ids=[f[1] for f in FILES])
def test_a_mistake_in_a_file_is_one_line_that_names_the_key(tmp_path, group, text, message):
    file = tmp_path / group / "mine.yaml"
    file.parent.mkdir()
    file.write_text(text)
    said = refusal(f"hydra.searchpath=[file://{tmp_path}]", f"{group}=mine")
    assert said.startswith(message.replace("{file}", str(file)))
    assert "\n" not in said


def test_a_model_with_running_statistics_is_refused_before_the_run(monkeypatch):
    from torch import nn

    from fedpriv.models.small_cnn import SmallCNN

    class WithStatistics(SmallCNN):
        def __init__(self, in_shape, outputs, hidden=24):
            super().__init__(in_shape, outputs, hidden)
            self.norm = nn.BatchNorm2d(3)

    monkeypatch.setattr("fedpriv.models.small_cnn.SmallCNN", WithStatistics)
    monkeypatch.setattr(WithStatistics, "__module__", "fedpriv.models.small_cnn")
    said = refusal()
    assert said.startswith(
        "model._target_=fedpriv.models.small_cnn.SmallCNN: model: buffer norm.running_mean"
    )


def test_suggestions_come_from_the_whole_key_or_its_last_part():
    known = ["training", "training.learning_rate", "federation.clients", "data.people"]
    assert closest("trainig.learning_rate", known) == "training.learning_rate"
    assert closest("clents", known) == "federation.clients"
    assert closest("training.foo", known) is None
    assert closest("zzz", known) is None


GROUPS = sorted(folder.name for folder in CONFIGS.iterdir() if any(folder.glob("*.yaml")))


@pytest.mark.parametrize("value", ["nope", "null", "3"])
@pytest.mark.parametrize("group", GROUPS)
def test_a_choice_that_no_group_has_is_one_line_with_all_choices(group, value):
    plus = "+" if group == "experiment" else ""
    choices = sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))
    with pytest.raises(UserError) as refused:
        compose_given([f"{plus}{group}={value}"])
    assert str(refused.value) == (
        f"{group}={value}: there is no such choice; choose one of {', '.join(choices)}"
    )


def command(*overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    arguments = [sys.executable, "-m", "experiments.run", *overrides]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


NO_SECURE = (
    "fedpriv: secure={}: there is no such choice; choose one of bfv, bfv_committee, bfv_selective, ckks, none"
)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.poeple=3"], "fedpriv: data.poeple: there is no such key; did you mean data.people?"),
        (
            [*SMALL, "federation.clients=9"],
            "fedpriv: federation.clients=9: only 7 people to train on; lower it to 7 or fewer, "
            "or hold out fewer people (evaluation.test_subjects)",
        ),
        (
            [*SMALL, "+zzz=1"],
            "fedpriv: zzz: there is no such key; check the spelling (`--cfg job` prints all keys)",
        ),
        (["secure=foo"], NO_SECURE.format("foo")),
        (["secure=null"], NO_SECURE.format("null")),
    ],
    ids=["composition", "check", "schema", "choice", "null"],
)
def test_the_command_refuses_with_one_line_and_status_2_and_leaves_nothing_behind(tmp_path, overrides, line):
    done = command(*overrides, folder=tmp_path)
    assert done.stderr.splitlines() == [line]
    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_key_folder_is_not_taken_for_the_working_folder():
    """As in a sweep, whose jobs are checked after their paths were made absolute."""
    with pytest.raises(UserError, match=r"^secure\.key_folder='': is empty"):
        run(compose_run(*SMALL, BFV, "secure.key_folder=''"))


def test_a_sweep_refuses_a_choice_with_one_line_and_status_2(tmp_path):
    done = command("-m", "secure=foo,bfv", folder=tmp_path)
    assert (done.stderr.splitlines(), done.returncode) == ([NO_SECURE.format("foo")], 2)


def test_masks_beyond_one_message_are_refused_before_the_run(monkeypatch):
    monkeypatch.setattr("fedpriv.config.check_secure.LARGEST_MESSAGE_BYTES", 10**6)
    check(compose_run(*SMALL, "secure=bfv"))
    with pytest.raises(UserError, match="for each key holder of a committee, one message holds 2"):
        check(compose_run(*SMALL, "secure=bfv_committee"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["tracking=mlflow", "tracking.register=a/b"], "tracking.register='a/b': is no name of a model; use"),
        (["tracking=mlflow", "tracking.register=''"], "tracking.register='': is no name of a model; use"),
        (
            ["tracking=none", "tracking.register=gaze"],
            "only a model that is logged is registered; set tracking=mlflow",
        ),
        (
            ["tracking=mlflow", "tracking.register=gaze", "tracking.log_model=false"],
            "set tracking.log_model=true",
        ),
        (
            ["tracking=mlflow", "tracking.register=gaze", "mode=local"],
            "mode=local has only the clients' own models",
        ),
    ],
)
def test_a_model_that_there_will_not_be_is_not_to_be_registered(overrides, said):
    with pytest.raises(UserError, match=re.escape(said)):
        check(compose_run(*SMALL, *overrides))
    check(compose_run(*SMALL, "tracking=mlflow", "tracking.register=gaze"))
