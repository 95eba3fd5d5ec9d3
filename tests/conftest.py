"""Shared by all tests: a private cache and ledger, real data where there is some, and a tiny run."""

import atexit
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)

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
    from fedpriv.config.compose import compose_run

    return lambda *overrides: compose_run(*TINY, *overrides)
