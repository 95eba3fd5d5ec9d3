"""What a search is told besides its space."""

import pytest
import yaml

from fedpriv.config.compose import CONFIGS
from fedpriv.errors import UserError
from fedpriv.sweeps.search.objectives import read_objectives
from fedpriv.sweeps.search.settings import Settings
from fedpriv.tasks.base import MetricSpec
from tests.sweeps.search.conftest import PLAIN

F1 = MetricSpec("macro_f1", "macro F1", lower_is_better=False)


def test_the_settings_that_are_shipped_are_taken():
    shipped = yaml.safe_load((CONFIGS / "hydra" / "sweeper" / "search.yaml").read_text())
    found = Settings.of(shipped)
    assert (found.n_trials, found.sampler, found.pruner, found.objectives) == (20, "tpe", "median", ("task",))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_trials": 0}, "n_trials=0"),
        ({"n_trials": True}, "n_trials=True"),
        ({"n_jobs": 1.5}, "n_jobs=1.5"),
        ({"objectives": "task"}, "objectives=task"),
        ({"objectives": []}, "objectives="),
        ({"sampler": "tpe"}, "sampler.name=tpe"),
        ({"sampler": {**PLAIN["sampler"], "name": "grid"}}, "sampler.name=grid"),
        ({"pruner": {**PLAIN["pruner"], "name": "mean"}}, "pruner.name=mean"),
        ({"pruner": {**PLAIN["pruner"], "warmup_rounds": 0}}, "pruner.warmup_rounds=0"),
        ({"study_name": " "}, "study_name"),
        ({"study_name": "a\nb"}, "study_name"),
    ],
)
def test_what_is_impossible_is_refused_by_name(wrong, said):
    with pytest.raises(UserError, match=rf"hydra\.sweeper\.{said}"):
        Settings.of({**PLAIN, **wrong})


def test_objectives_have_a_name_and_a_direction():
    found = read_objectives(
        ["task", "epsilon", "bytes", "seconds", "accuracy:maximize", "loss : minimize"], F1
    )
    assert [(each.name, each.direction) for each in found] == [
        ("macro_f1", "maximize"),
        ("epsilon", "minimize"),
        ("bytes", "minimize"),
        ("seconds", "minimize"),
        ("accuracy", "maximize"),
        ("loss", "minimize"),
    ]
    assert read_objectives(["macro_f1"], F1) == read_objectives(["task"], F1)
    (worst,) = read_objectives(["task:minimize"], F1)
    assert worst.direction == "minimize"


@pytest.mark.parametrize("wrong", [["accuracy"], ["task:up"], [""], ["task", "macro_f1"], [":minimize"]])
def test_objectives_without_a_direction_or_twice_are_refused(wrong):
    with pytest.raises(UserError, match=r"hydra\.sweeper\.objectives="):
        read_objectives(wrong, F1)
