"""Presets that are sweeps: the run takes each job of each, and a page says how it is launched."""

import itertools
from pathlib import Path

import pytest
import yaml

from fedpriv.config.as_json import typed
from fedpriv.config.check_baseline import check_asked
from fedpriv.config.checks import check
from fedpriv.config.compose import CONFIGS, compose_run

PAGES = Path(__file__).parents[2] / "experiments"
QUESTIONS = (
    "dp_levels",
    "encryption_cost",
    "heterogeneity",
    "learning_modes",
    "personalisation",
    "quantisation",
)


SLOW = ("dp_levels", "heterogeneity")
"""Most people, whom the check renders."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in QUESTIONS]
)
def test_every_job_is_one_that_the_run_takes(name):
    preset = yaml.safe_load((CONFIGS / "experiment" / f"{name}.yaml").read_text())
    swept = {key: str(values).split(",") for key, values in preset["hydra"]["sweeper"]["params"].items()}
    assert swept.pop("seed") == ["0", "1", "2", "3", "4"]
    jobs = [
        [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
        for values in itertools.product(*swept.values())
    ]
    kept = set()
    for job in jobs:
        # few images are rendered fast, and no check depends on how many there are
        config = compose_run(f"+experiment={name}", *job, "data.images_per_person=4")
        check_asked(config)
        config = typed(config)
        check(config)
        kept.add(config.tracking.run_name)
    assert len(kept) == len(jobs)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_preset_opens_with_its_launch_and_its_page_has_the_same(name):
    lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    command = f"python -m experiments.run -m +experiment={name}"
    (launch,) = [line for line in lines[:6] if command in line]
    assert "minutes on 2 cores" in launch
    page = (PAGES / name / "README.md").read_text()
    assert command in page
    assert f"fedpriv compare --experiment {name} " in page
    assert compose_run(f"+experiment={name}").tracking.experiment == name
