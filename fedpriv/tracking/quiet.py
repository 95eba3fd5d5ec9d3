"""Keeps MLflow's noise, and its changes to logging, away from the program around it."""

import contextlib
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Hold back what MLflow and its libraries say about themselves.

    Guarantee:
        Level and handlers of the root logger come out as they went in: importing
        ``mlflow.pytorch`` (3.17) calls ``logging.basicConfig(level=ERROR)``, which would silence
        the INFO and WARNING lines of the whole program.
        Warning filters come out as they went in.
        No progress of a download is drawn, whether or not tqdm is there.

    Edge cases:
        Warnings of MLflow's loggers still pass; held back are their INFO lines, and tracebacks of database
        errors with their SQL: the same errors are raised.
        What Alembic says of a database of a schema that this MLflow does not know is MLflow's exception.
        Of Python warnings, deprecations and MLflow's own are held back.
    """
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("mlflow", "mlflow.store.db.utils", "alembic"))]
    levels = [logger.level for logger in loggers]
    handlers = list(root.handlers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"mlflow\b")
        for logger in loggers[1:]:
            logger.setLevel(logging.WARNING)

        def untraced(record: logging.LogRecord) -> bool:  # one for each block: blocks are nested
            return record.exc_info is None

        loggers[2].addFilter(untraced)
        before = os.environ.get(_BARS)
        os.environ[_BARS] = "false"
        try:
            yield
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "alembic":
                raise
            from mlflow.exceptions import MlflowException  # alembic is there, so MLflow is

            raise MlflowException(f"{error}: made by another version of MLflow") from error
        finally:
            if before is None:
                os.environ.pop(_BARS, None)
            else:
                os.environ[_BARS] = before
            loggers[2].removeFilter(untraced)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            root.handlers[:] = handlers


def mlflow_pytorch() -> Any:
    """Import ``mlflow.pytorch`` without its side effects on logging."""
    with quiet_mlflow():
        return importlib.import_module("mlflow.pytorch")
