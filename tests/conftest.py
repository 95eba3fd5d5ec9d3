"""Shared by all tests: a private cache and ledger, real data where there is some, and a tiny run."""

import atexit
import copy
import functools
import gc
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# threads that wait for their turn by spinning eat the processors that tests in other processes need
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # reads it on import
from hypothesis import settings

# an example that takes long on a loaded machine shows nothing; this also gives the drawing of data its time
# on CI the same data every time: who changes something hears of what that broke, and of nothing else
settings.register_profile("fedpriv", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("fedpriv")

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)


_full_collections = 0


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare the garbage collector what collection imports: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        if "fedpriv.config.compose" in sys.modules:
            from tests.composing import share

            share()
        gc.freeze()
        gc.enable()


def pytest_runtest_logfinish() -> None:
    """Spare it what tests import and keep, too, once it has looked at all of that in vain."""
    global _full_collections
    if gc.get_stats()[2]["collections"] > _full_collections:
        gc.collect()
        gc.freeze()
        _full_collections = gc.get_stats()[2]["collections"]


def pytest_runtest_setup() -> None:
    """Take back the threads that a run before gave to this process: the other processors are busy too."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have every worker start with its part of the slow tests, so that none waits for one at the end.

    ``--dist worksteal`` cuts the list into as many even blocks as there are workers.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    block = [turn * len(items) // workers for turn in range(workers + 1)]
    part = [turn * len(slow) // workers for turn in range(workers + 1)]
    items[:] = [
        item
        for turn in range(workers)
        for item in (
            *slow[part[turn] : part[turn + 1]],
            *fast[block[turn] - part[turn] : block[turn + 1] - part[turn + 1]],
        )
    ]


# on import, so that no test and no environment that one copies ever names the user's own privacy ledger
_STATE = tempfile.TemporaryDirectory(prefix="fedpriv-state-")
atexit.register(_STATE.cleanup)
os.environ["XDG_STATE_HOME"] = _STATE.name


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    # processes of one test run share what they render
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    before = os.environ.get("FEDPRIV_CACHE")
    os.environ["FEDPRIV_CACHE"] = str(shared / "cache")
    yield
    if before is None:
        del os.environ["FEDPRIV_CACHE"]
    else:
        os.environ["FEDPRIV_CACHE"] = before


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Give every test, and the processes that it starts, a state directory, and so a ledger, of its own."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    # the folder appears with the first thing that is kept there
    monkeypatch.setenv("XDG_STATE_HOME", str(Path(_STATE.name, name)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip."""
    folder = Path(os.environ.get("FEDPRIV_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "orl_faces").is_dir():
        pytest.skip(f"no real data in {folder}; set FEDPRIV_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def _no_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fedpriv.tracking.store import locate, open_experiment

    path = tmp_path_factory.mktemp("no-runs") / "mlflow.db"
    open_experiment(locate(f"sqlite:///{path}"), "Default")
    return path


@pytest.fixture(scope="session")
def database(_no_runs: Path) -> Callable[[Path], str]:
    """Put a database of MLflow without runs somewhere and return its URI; to make one takes a second."""

    def database(path: Path) -> str:
        shutil.copy(_no_runs, path)
        return f"sqlite:///{path}"

    return database


TINY = (
    "task=gaze",
    "data.people=6",
    "data.images_per_person=16",
    "evaluation.test_subjects=2",
    "evaluation.pictures=4",
    "federation.clients=4",
    "federation.rounds=2",
    "federation.client_timeout_s=60",
    "engine.workers=0",
    "engine.threads=1",
    "tracking=none",
)


@pytest.fixture
def tiny() -> Callable[..., "object"]:
    """Compose a run that takes about a second; overrides win."""
    return lambda *overrides: copy.deepcopy(_composed(*TINY, *overrides))


@functools.cache
def _composed(*overrides: str) -> "object":
    """Composing takes longer than many a test of what came of it."""
    from fedpriv.config.compose import compose_run

    return compose_run(*overrides)
