"""Keeps MLflow's noise, and its changes to logging, away from the program around it."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Hold back what MLflow and its libraries say about themselves.

    Guarantee:
        Level and handlers of the root logger come out as they went in: importing
        ``mlflow.pytorch`` (3.17) calls ``logging.basicConfig(level=ERROR)``, which would silence
        the INFO and WARNING lines of the whole program.
        Warning filters come out as they went in.

    Edge cases:
        Warnings of MLflow's loggers still pass; only their INFO lines are held back.
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
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            root.handlers[:] = handlers


def mlflow_pytorch() -> Any:
    """Import ``mlflow.pytorch`` without its side effects on logging."""
    with quiet_mlflow():
        return importlib.import_module("mlflow.pytorch")
