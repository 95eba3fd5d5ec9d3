"""Presets that are sweeps or searches: the run takes each job, and a page says how they are launched."""

import csv
import itertools
from collections import Counter
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
SEARCHES = ("gaze_search",)
"""What these try follows from what they find; tests/sweeps/search has the corners of their spaces."""

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


@pytest.mark.parametrize("name", [*QUESTIONS, *SEARCHES])
def test_a_preset_opens_with_its_launch_and_its_page_has_the_same(name):
    lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    command = f"python -m experiments.run -m +experiment={name}"
    launches = [line for line in lines[:6] if command in line]
    assert "minutes on 2 cores" in launches[0]
    page = (PAGES / name / "README.md").read_text()
    for launch in launches:
        assert launch.lstrip("# ").partition("   ")[0] in page
    assert compose_run(f"+experiment={name}").tracking.experiment == name


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_page_of_a_sweep_has_the_command_that_made_its_table(name):
    assert f"fedpriv compare --experiment {name} " in (PAGES / name / "README.md").read_text()


@pytest.mark.parametrize("name", SEARCHES)
def test_the_page_of_a_search_has_its_table_and_says_that_its_best_figure_flatters(name):
    page = (PAGES / name / "README.md").read_text()
    assert "| trial | state |" in page
    assert "flatters" in page
    with (PAGES / name / "table.csv").open() as file:
        states = [row["state"] for row in csv.DictReader(file)]
    preset = yaml.safe_load((CONFIGS / "experiment" / f"{name}.yaml").read_text())
    assert len(states) == preset["hydra"]["sweeper"]["n_trials"]
    said = ", ".join(f"{count} {state}" for state, count in Counter(states).items())
    assert f"{len(states)} trials, {said}" in " ".join(page.split())
