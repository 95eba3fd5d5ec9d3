"""The four presets of the utility table: one command sweeps each, and each runs when it is made tiny."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.utility.trials import LEVELS, TASKS, collect
from fedpriv.config.checks import check
from fedpriv.config.compose import CONFIGS, compose_run
from fedpriv.config.given import compose_given
from fedpriv.config.schema import PrivacyUnit, register
from fedpriv.runner import run
from fedpriv.tracking.queries import runs_of

PRESETS = [(task, level) for task in TASKS for level in LEVELS]
TINY = (
    "data.people=8",
    "data.images_per_person=8",
    "evaluation.test_subjects=2",
    "federation.clients=6",
    "federation.rounds=1",
    "training.batch_size=4",
    "training.local_epochs=1",
    "engine.workers=0",
    "engine.threads=1",
)


def tiny(task, level, *overrides):
    """Return the overrides that make a preset run in a second."""
    all_of_them = ["federation.min_replies=6"] if level == "client" else []
    return [f"+experiment=utility_{task}_{level}", *TINY, *all_of_them, *overrides]


@pytest.mark.parametrize(("task", "level"), PRESETS)
def test_a_preset_is_a_sweep_of_twelve_runs_of_its_task_and_level(task, level):
    register()
    name = f"utility_{task}_{level}"
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("config", [f"+experiment={name}"], return_hydra_config=True)
    assert OmegaConf.to_container(config.hydra.sweeper.params) == {
        "privacy.epsilon": "1,3,8,inf",
        "seed": "0,1,2",
    }
    assert config.task["_target_"] == f"{TASKS[task].__module__}.{TASKS[task].__name__}"
    assert config.privacy.unit is PrivacyUnit[level]
    assert config.tracking.experiment == "utility"
    assert config.privacy.noise.value == "secure"
    head = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()[:6]
    assert f"python -m experiments.run -m +experiment={name}" in " ".join(head)
    assert "minutes on 2 cores" in " ".join(head)


@pytest.mark.parametrize("task", TASKS)
def test_both_levels_see_the_same_people_and_hold_the_same_out(task):
    sample, client = (compose_run(f"+experiment=utility_{task}_{level}") for level in LEVELS)
    assert sample.data == client.data
    assert sample.evaluation.test_subjects == client.evaluation.test_subjects
    assert client.federation.clients == client.federation.min_replies
    assert client.federation.clients == client.data.people - client.evaluation.test_subjects
    assert client.privacy.delta < 0.1 / client.federation.clients
    images = sample.data.images_per_person * (sample.data.people - sample.evaluation.test_subjects)
    assert sample.privacy.delta < sample.federation.clients / images


@pytest.mark.parametrize(("task", "level"), PRESETS)
def test_a_preset_passes_the_check_at_every_epsilon_and_names_its_runs(task, level):
    for epsilon in ("1", "inf"):
        config = compose_given(tiny(task, level, f"privacy.epsilon={epsilon}", "seed=2"))
        check(config)
        assert config.tracking.run_name.startswith(f"{task}-{level}-epsilon{epsilon}")
        assert config.tracking.run_name.endswith("-seed2")


@pytest.mark.slow
@pytest.mark.parametrize(("task", "level"), PRESETS)
def test_a_tiny_run_of_a_preset_finishes_and_finds_its_place_in_the_table(task, level, tmp_path, database):
    uri = database(tmp_path / "runs.db")
    for epsilon in ("8", "inf"):
        run(compose_run(*tiny(task, level, f"tracking.uri={uri}", f"privacy.epsilon={epsilon}")))
    trials, _ = collect(runs_of(uri, "utility"), (8.0, float("inf")), (0,))
    assert [trial.cell for trial in trials] == [(task, level, 8.0), (task, level, float("inf"))]
    assert trials[0].claimed <= 8.0
    assert trials[1].claimed is None
