"""Studies without a run: a storage of each test's own, and searches of functions instead of jobs."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from fedpriv.sweeps.search.objectives import Objective
from fedpriv.sweeps.search.settings import Settings
from fedpriv.sweeps.search.space import read_space
from fedpriv.sweeps.search.storage import place, prepare_storage
from fedpriv.sweeps.search.study import open_study
from fedpriv.tracking.store import locate

PLAIN = {
    "n_trials": 20,
    "n_jobs": None,
    "objectives": ["task"],
    "sampler": {"name": "tpe", "seed": 0, "startup_trials": 4},
    "pruner": {"name": "median", "startup_trials": 2, "warmup_rounds": 1},
    "storage": None,
    "study_name": None,
}
"""Settings as they are composed."""

SPACE = {"x": "interval(-3, 3)", "scale": "tag(log, interval(1e-3, 1))", "kind": "choice(a, b)"}
ERROR = Objective("error", "error (deg)", lower_is_better=True)
BASE = "ab" * 16


@pytest.fixture(autouse=True, scope="session")
def _unsynced() -> Iterator[None]:
    """Let SQLite not wait for the disk: what a power failure leaves is not tested here."""

    def unsynced(connection, _):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", unsynced)
    yield
    event.remove(Engine, "connect", unsynced)


@pytest.fixture(scope="session")
def _empty(tmp_path_factory) -> Path:
    location = place(None, locate(f"sqlite:///{tmp_path_factory.mktemp('study')}/mlflow.db"))
    prepare_storage(location)
    return location.database


@pytest.fixture
def location(tmp_path, _empty):
    """Where studies are kept: a database without any; to make one takes a second."""
    found = place(None, locate(f"sqlite:///{tmp_path}/mlflow.db"))
    shutil.copy(_empty, found.database)
    return found


@pytest.fixture
def study(location):
    """Open the study of a small space in the test's storage; settings and parts of it can be others."""

    def opened(space=SPACE, objectives=(ERROR,), base=BASE, rounds=5, **settings):
        read = Settings.of({**PLAIN, **settings})
        return open_study(location, base, read_space(space, []), objectives, read, rounds)

    return opened
