"""A private, encrypted, tracked run that is killed (-9) anywhere and resumed: nothing is under-counted."""

import json
import os
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.parties import build_site
from fedpriv.errors import UserError
from fedpriv.privacy.ledger import FILE, Ledger
from tests.conftest import ROOT
from tests.integration import crash_forks
from tests.schema_once import read_schema_once

ROUNDS, CLIENTS, POINTS, DELTA = 6, 2, 50, 1e-5
SMALLEST = (
    "task=gaze",
    "data.people=4",
    "data.images_per_person=4",
    "evaluation.test_subjects=1",
    "evaluation.pictures=0",
    f"evaluation.every={ROUNDS}",
    f"federation.clients={CLIENTS}",
    f"federation.rounds={ROUNDS}",
    "engine.workers=0",
    "engine.threads=1",
    # seeded: the model can be compared bit by bit; without a target: no round falls to a charge
    "privacy=dp_sgd",
    "privacy.noise=fast",
    "privacy.epsilon=null",
    "privacy.noise_multiplier=1.0",
    "training.batch_size=4",
    "secure=bfv",
    "tracking=mlflow",
    "tracking.log_model=false",
    "tracking.log_partition=false",
)


class Forks:
    """Talks to the process of :mod:`tests.integration.crash_forks`."""

    def __init__(self, *overrides):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.crash_forks", *overrides],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.rest = b""
        assert self.line() == "ready"

    def line(self, seconds=None):
        """The next line; None if none comes in so many seconds."""
        while b"\n" not in self.rest:
            if seconds is not None and not select.select([self.process.stdout], [], [], seconds)[0]:
                return None
            data = os.read(self.process.stdout.fileno(), 4096)
            assert data, "the forks' parent ended"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def run(self, folder, overrides, kill_after=None, point=None):
        """Run, or resume without ``overrides``, and return exit code and seconds; kill it after so many."""
        given = {
            "folder": str(folder / "out"),
            "log": str(folder / "releases"),
            "overrides": overrides,
            "point": point,
        }
        started = time.perf_counter()
        self.process.stdin.write(json.dumps(given).encode() + b"\n")
        child = int(self.line())
        if kill_after is None:
            return int(self.line()), time.perf_counter() - started
        code = self.line(max(0.0, started + kill_after - time.perf_counter()))
        if code is None:
            os.kill(child, signal.SIGKILL)
            code = self.line()
        return int(code), time.perf_counter() - started

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


class Trial:
    """A folder for one run: output, ledger, MLflow's database and the log of what left the clients."""

    def __init__(self, folder, database):
        self.folder, self.database, self.ledger = folder, database, folder / "ledger"
        folder.mkdir()
        if database is not None:
            shutil.copy(database, folder / "mlflow.db")
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.overrides = [*SMALLEST, f"tracking.uri={self.uri}", f"privacy.ledger={self.ledger}"]

    def releases(self):
        """(process, client, round) of every update that left a client."""
        log = self.folder / "releases"
        lines = log.read_text().splitlines() if log.exists() else []
        return [tuple(int(word) for word in line.split()[:3]) for line in lines]

    def first_release(self):
        """When the first update left a client."""
        return int((self.folder / "releases").read_text().split()[3]) / 1000.0

    def charges(self):
        """How often each round of each share was charged."""
        path = self.ledger / FILE
        lines = path.read_text().splitlines() if path.exists() else []
        found = [entry for entry in map(json.loads, lines) if entry["event"] == "charge"]
        return Counter((entry["share"], entry["round"]) for entry in found)

    def rounds_kept(self):
        """The last round in the checkpoint; None where there is none."""
        try:
            return Checkpoint(self.folder / "out").load().history[-1].number
        except UserError:
            return None

    def tracked(self):
        """All MLflow runs."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("fedpriv")
        return client, [] if experiment is None else client.search_runs([experiment.experiment_id])


@pytest.fixture(scope="module")
def site():
    """The clients, for what identifies their images in a ledger and what a round costs them."""
    config = compose_run(*SMALLEST)
    config.run_id = "00" * 16
    return build_site(to_json(config))


def require_nothing_lost(trial, undisturbed, site, kept):
    """Compare a run that was resumed after ``kept`` rounds with an undisturbed one."""
    ended, whole = (Checkpoint(each.folder / "out").load() for each in (trial, undisturbed))
    assert Checkpoint(trial.folder / "out").record().finished
    # the model is that of the undisturbed run, and what was kept was not trained again
    assert ended.parameters.tobytes() == whole.parameters.tobytes()
    last = trial.releases()[-1][0] if trial.releases() else None
    if kept < ROUNDS:
        assert [number for process, _, number in trial.releases() if process == last] == [
            number for number in range(kept + 1, ROUNDS + 1) for _ in range(CLIENTS)
        ]
    # the history has each round once, and its epsilon is never below the undisturbed run's
    assert [result.number for result in ended.history] == list(range(ROUNDS + 1))
    for result, other in zip(ended.history[1:], whole.history[1:], strict=True):
        assert result.epsilon >= other.epsilon
        assert result.replied == CLIENTS
    # nor what the ledger says; it has a charge for each update that left a client, in whatever process
    shares = [site.examples(client) for client in range(CLIENTS)]
    charges, left = trial.charges(), Counter((client, number) for _, client, number in trial.releases())
    for (client, number), count in left.items():
        assert charges[shares[client].identity, number] >= count
    for client, share in enumerate(shares):
        spent = Ledger(trial.ledger).spent(share, DELTA).epsilon
        assert spent >= Ledger(undisturbed.ledger).spent(share, DELTA).epsilon
        # run and ledger count every update that left, also those of rounds that were trained twice
        updates = sum(count for (whose, _), count in left.items() if whose == client)
        cost = site.plan(client).spent_at_most((), updates).epsilon
        assert min(spent, ended.history[-1].epsilon) >= cost * (1 - 1e-9)
    # one run in MLflow, with every round once
    client, runs = trial.tracked()
    assert len(runs) == 1
    assert runs[0].info.status == "FINISHED"
    for name in ("epsilon", "bytes_up"):
        steps = sorted(metric.step for metric in client.get_metric_history(runs[0].info.run_id, name))
        assert steps == list(range(0 if name == "bytes_up" else 1, ROUNDS + 1))


def kill(forks, trial, share, whole):
    """Run a trial and kill it at a share of the seconds that a whole one takes; leave its folder filled."""
    while (code := forks.run(trial.folder, trial.overrides, share * whole)[0]) == 0:
        # the machine was faster this time: again, a little earlier
        shutil.rmtree(trial.folder)
        share, trial = 0.9 * share, Trial(trial.folder, trial.database)
    assert code == -signal.SIGKILL


@pytest.fixture
def folder(tmp_path):
    """Where trials are: in memory, if it can be. A kill loses nothing that was written to any file system.

    On a disk a quarter of a trial is waiting for it to be sure of that, which only its power cut would need.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a folder of a name of its own is made there
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """The process that runs and resumes, with a database that has no run."""
    read_schema_once()
    warm = Trial(tmp_path_factory.mktemp("forks") / "warm", None)
    started = Forks(*warm.overrides)
    client, runs = warm.tracked()
    for each in runs:
        client.delete_run(each.info.run_id)
    started.database = warm.folder / "mlflow.db"
    yield started
    started.close()


@pytest.mark.slow
def test_killed_at_50_random_points_and_resumed_a_run_is_never_charged_less_than_undisturbed(
    folder, site, forks
):
    chance, seconds, starts, in_rounds = random.Random(7), [], [], 0
    for attempt in range(3):
        undisturbed = Trial(folder / f"undisturbed{attempt}", forks.database)
        before = time.time()
        code, took = forks.run(undisturbed.folder, undisturbed.overrides)
        assert code == 0
        seconds.append(took)
        starts.append(undisturbed.first_release() - before)
    whole, start = statistics.median(seconds), statistics.median(starts) / statistics.median(seconds)
    require_nothing_lost(undisturbed, undisturbed, site, 0)

    for point in range(POINTS):
        # a fifth of the points before the first update leaves a client, four fifths from there on
        share = start * chance.random() if point % 5 == 0 else start + (1.0 - start) * chance.random()
        trial = Trial(folder / f"point{point}", forks.database)
        kill(forks, trial, share, whole)
        Ledger(trial.ledger).check()
        if point % 5 == 4:  # what goes on with it is killed as well
            forks.run(trial.folder, None, chance.random() * whole)
        kept = trial.rounds_kept()
        if kept is None:  # it came to nothing: no update, no charge, no figure
            assert not trial.releases()
            assert not trial.charges()
            assert not any("epsilon" in each.data.metrics for each in trial.tracked()[1])
        code = forks.run(trial.folder, None)[0]
        if code == crash_forks.NO_CHECKPOINT:  # not even begun: it is run again
            assert not trial.tracked()[1]
            code = forks.run(trial.folder, trial.overrides)[0]
        assert code == 0
        in_rounds += 0 < (kept or 0) < ROUNDS
        require_nothing_lost(trial, undisturbed, site, kept or 0)
        shutil.rmtree(trial.folder)
    assert in_rounds > POINTS / 4


@pytest.mark.slow
def test_killed_at_any_point_of_its_beginning_or_its_end_a_run_is_one_run_in_mlflow(folder, site, forks):
    undisturbed = Trial(folder / "undisturbed", forks.database)
    assert forks.run(undisturbed.folder, undisturbed.overrides)[0] == 0
    (whole,) = undisturbed.tracked()[1]
    for number, point in enumerate(crash_forks.POINTS):
        trial = Trial(folder / f"point{number}", forks.database)
        assert forks.run(trial.folder, trial.overrides, point=point)[0] == -signal.SIGKILL
        left = trial.tracked()[1]
        if point == "before MLflow hears of it":
            assert left == []
        else:
            (ended,) = left
            assert ended.info.status == ("FINISHED" if "finished" in point else "RUNNING")
        kept = trial.rounds_kept() or 0
        assert forks.run(trial.folder, None)[0] == 0
        require_nothing_lost(trial, undisturbed, site, kept)
        client, (run,) = trial.tracked()
        assert [run.info.run_id] == [each.info.run_id for each in left or [run]]
        for kind in ("params", "metrics", "tags"):
            assert (
                getattr(run.data, kind).keys() - {"resumed_after_round"} == getattr(whole.data, kind).keys()
            )
        assert "config.yaml" in {item.path for item in client.list_artifacts(run.info.run_id)}
        assert len(client.get_metric_history(run.info.run_id, "baseline_angular_error_deg")) == 1
        shutil.rmtree(trial.folder)


@pytest.mark.slow
def test_run_again_in_the_same_folder_what_was_killed_there_is_ended_in_mlflow(folder, forks):
    trial = Trial(folder / "run", forks.database)
    assert forks.run(trial.folder, trial.overrides, point="when MLflow has it")[0] == -signal.SIGKILL
    assert forks.run(trial.folder, trial.overrides)[0] == 0
    assert sorted(run.info.status for run in trial.tracked()[1]) == ["FINISHED", "KILLED"]
