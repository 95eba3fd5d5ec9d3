from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fedpriv.tracking.mlflow_logger import RunLogger


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests: creating the schema takes a second."""
    folder = tmp_path_factory.mktemp("tracking")
    uri = f"sqlite:///{folder}/mlflow.db"
    RunLogger.start(uri, "first", None, None, {}, 0).finish()
    return uri


@pytest.fixture(scope="session")
def client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri)


@pytest.fixture
def start(tracking_uri: str) -> Callable[..., RunLogger]:
    def start(config: dict | None = None, **settings) -> RunLogger:
        return RunLogger.start(tracking_uri, "tests", "a run", None, config or {}, 7, **settings)

    return start


@pytest.fixture
def artifact_text(client: MlflowClient, tmp_path: Path) -> Callable[[str, str], str]:
    def read(run_id: str, name: str) -> str:
        return Path(client.download_artifacts(run_id, name, str(tmp_path))).read_text()

    return read
