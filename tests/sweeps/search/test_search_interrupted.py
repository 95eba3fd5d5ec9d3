"""A search that is cut off leaves tables and plots of the trials that are done, and goes on unharmed."""

import contextlib
import csv
import os
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from mlflow import MlflowClient
from mlflow.entities import Metric
from omegaconf import OmegaConf

from fedpriv.config.compose import CONFIGS
from fedpriv.config.schema import register as schema
from fedpriv.sweeps import plugin, sweep
from fedpriv.sweeps.reports import Report, ReportFile
from fedpriv.sweeps.search.command import search
from tests.conftest import TINY

RATE = "training.learning_rate=tag(log,interval(1e-3,1e-1))"


class Cut:
    """A launcher that runs nothing: errors by the trial's number, and what ends the command in between."""

    def __init__(self, folder, uri, errors, ended_by, unmeasured=()):
        self.folder, self.client = folder, MlflowClient(uri)
        self.errors, self.ended_by, self.unmeasured = errors, ended_by, unmeasured

    def launch(self, jobs, initial_job_idx):
        told, cut_off = ReportFile(self.folder), False
        for number in range(initial_job_idx, initial_job_idx + len(jobs)):
            if number not in self.errors:
                cut_off = True
                continue
            name = "other" if number in self.unmeasured else "angular_error_deg"
            experiment = self.client.get_experiment_by_name("fedpriv").experiment_id
            run_id = self.client.create_run(experiment, tags={"metric": "angular_error_deg"}).info.run_id
            for key, value in ((name, self.errors[number]), ("clients_failed", 0.0)):
                self.client.log_batch(run_id, [Metric(key, value, int(time.time() * 1000), 1)])
            self.client.set_terminated(run_id, "FINISHED")
            told.append(Report(number, "finished", "angular_error_deg", self.errors[number], run_id=run_id))
        if cut_off:
            raise self.ended_by
        return [None] * len(jobs)


@pytest.fixture
def command(tmp_path, database, monkeypatch):
    """Run the command of a search whose jobs a :class:`Cut` launches; return what it left in MLflow."""
    uri = database(tmp_path / "mlflow.db")
    plugin.register()
    schema()
    monkeypatch.setattr(sweep, "current", None)

    def run(n_jobs, *given, expected=None):
        overrides = [each for each in TINY if each != "tracking=none"]
        overrides.append(f"tracking.uri={uri}")
        own = ["hydra/sweeper=search", "hydra.sweeper.n_trials=4", "hydra.sweeper.pruner.name=none"]
        own.append(f"hydra.sweeper.n_jobs={n_jobs}")
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("config", [*overrides, *own], return_hydra_config=True)
            OmegaConf.set_readonly(config.hydra, False)
            config.hydra.runtime.cwd, config.hydra.sweep.dir = str(tmp_path), "sweep"
            loader = GlobalHydra.instance().config_loader()
            launcher = Cut(tmp_path / "sweep", uri, *given)
            with pytest.raises(expected) if expected else contextlib.nullcontext():
                search(config, loader, launcher, config.hydra.sweeper, [*overrides, RATE])
        os.close(sweep.current._lock)  # as at the process's end
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("fedpriv").experiment_id
        (parent,) = client.search_runs([experiment], "tags.fedpriv_kind = 'search'")
        folder = tmp_path / f"left-{time.monotonic_ns()}"
        folder.mkdir()
        return parent, Path(client.download_artifacts(parent.info.run_id, "", str(folder)))

    return run


def rows(folder):
    found = csv.DictReader((folder / "study.csv").read_text().splitlines())
    return [(row["trial"], row["state"], row["angular_error_deg"]) for row in found]


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt(), SystemExit(143)], ids=["ctrl-c", "sigterm"])
def test_trials_that_are_done_are_in_table_and_plots_at_once_and_replaced_at_the_end(
    command, capsys, ended_by
):
    parent, folder = command(1, {0: 9.0, 1: 4.0}, ended_by, expected=type(ended_by))
    assert parent.info.status == "KILLED"
    assert parent.data.tags["search_best"] == "1"
    assert rows(folder) == [("0", "complete", "9"), ("1", "complete", "4")]
    heading = "2 trials, 2 complete; interrupted, the command repeated goes on with it"
    assert heading in (folder / "study.md").read_text()
    assert (folder / "history_angular_error_deg.png").read_bytes().startswith(b"\x89PNG")
    output, errors = capsys.readouterr()
    assert heading in output
    told = "fedpriv: search interrupted; 2 jobs are done, repeat the command to go on"
    assert [line for line in errors.splitlines() if "Downloading" not in line and line] == [told]
    parent, folder = command(1, {2: 3.0, 3: 5.0}, None)
    assert (parent.info.status, parent.data.tags["search_best"]) == ("FINISHED", "2")
    assert rows(folder)[2:] == [("2", "complete", "3"), ("3", "complete", "5")]
    assert "interrupted" not in (folder / "study.md").read_text()


def test_of_trials_side_by_side_those_that_ended_count_and_the_others_are_taken_up_again(command):
    _, folder = command(2, {0: 9.0}, KeyboardInterrupt(), expected=KeyboardInterrupt)
    assert rows(folder) == [("0", "complete", "9")]
    _, folder = command(2, {1: 7.0, 2: 3.0, 3: 5.0}, None)
    assert [value for _, _, value in rows(folder)] == ["9", "7", "3", "5"]


def test_a_trial_that_lacks_the_objective_is_left_for_the_command_repeated_to_refuse(command, capsys):
    errors = {0: 9.0}
    _, folder = command(2, errors, KeyboardInterrupt(), {0}, expected=KeyboardInterrupt)
    assert {path.name for path in folder.iterdir()} == {"sweep.md", "sweep.csv"}  # no trial is done
    command(2, {0: 9.0, 1: 8.0}, None, {0, 1}, expected=SystemExit)
    assert "angular_error_deg: was not measured in any round" in capsys.readouterr().err


def test_a_store_that_is_gone_when_it_is_interrupted_is_one_line(command, capsys, monkeypatch):
    def gone(*_):
        raise OSError("disk full\nat line 2")

    monkeypatch.setattr("fedpriv.sweeps.search.result.add_files", gone)
    command(1, {0: 9.0}, KeyboardInterrupt(), expected=KeyboardInterrupt)
    assert (
        "fedpriv: tables and plots so far are not in MLflow: OSError: disk full\n" in capsys.readouterr().err
    )
