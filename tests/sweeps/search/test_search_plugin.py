"""Hydra finds the sweeper by its name, and jobs in other processes need nothing of it."""

import subprocess
import sys

import cloudpickle
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf

from fedpriv.config.compose import CONFIGS, compose_run
from fedpriv.config.early_check import refusal
from fedpriv.config.schema import register as schema
from fedpriv.sweeps.plugin import Search, register
from fedpriv.sweeps.search.pruning import NAME
from fedpriv.sweeps.search.settings import Settings
from fedpriv.sweeps.search.space import read_space


@pytest.fixture
def plugins():
    register()
    return Plugins.instance()


def test_hydra_makes_the_sweeper_from_the_shipped_configuration(plugins):
    shipped = OmegaConf.load(CONFIGS / "hydra" / "sweeper" / "search.yaml")
    launcher = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
    made = plugins.instantiate_sweeper(
        hydra_context=None,
        task_function=lambda _: None,
        config=OmegaConf.create({"hydra": {"sweeper": shipped, "launcher": launcher}}),
    )
    assert type(made) is Search
    assert made._settings["n_trials"] == 20
    assert Search in plugins.discover(Sweeper)
    assert shipped._target_ == NAME


def test_what_joblib_sends_to_its_processes_names_the_class_where_it_is(plugins):
    sent = cloudpickle.dumps(plugins.class_name_to_class[NAME])
    assert b"fedpriv.sweeps.plugin" in sent
    assert len(sent) < 200  # by name, not by value
    assert cloudpickle.loads(sent) is Search


def test_a_run_that_is_no_search_imports_no_optuna():
    code = "import sys, experiments.run, fedpriv.sweeps.job; print('optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parent, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_the_preset_is_a_search_that_is_taken():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        schema()
        config = compose("config", ["+experiment=gaze_search"], return_hydra_config=True)
    sweeper = config.hydra.sweeper
    assert sweeper._target_ == NAME
    assert Settings.of(sweeper).n_trials == 24
    space = read_space(sweeper.params, ["+experiment=gaze_search"])
    assert set(space.searched) == {
        "training.learning_rate",
        "privacy.clipping_norm",
        "training.batch_size",
    }
    for corner in space.corners():
        composed = compose_run(*space.overrides(corner), "data.images_per_person=4")
        assert refusal(composed) is None
    lines = (CONFIGS / "experiment" / "gaze_search.yaml").read_text().splitlines()
    (launch,) = [line for line in lines[:4] if "minutes on 2 cores" in line]
    assert "python -m experiments.run -m +experiment=gaze_search " in launch
