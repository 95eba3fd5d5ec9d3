import logging
import warnings

import pytest

from fedpriv.tracking.quiet import quiet_mlflow


def test_levels_handlers_and_filters_come_out_as_they_went_in(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    loggers = [logging.root, *map(logging.getLogger, ("mlflow", "mlflow.store.db.utils", "alembic"))]
    before = [[logger.level for logger in loggers], list(warnings.filters)]
    with quiet_mlflow():
        logging.basicConfig(level=logging.ERROR)
        assert logging.root.level == logging.ERROR
    assert [[logger.level for logger in loggers], list(warnings.filters)] == before
    assert logging.root.handlers == []


def test_they_come_out_even_after_an_exception():
    @quiet_mlflow()
    def fails():
        logging.root.setLevel(logging.CRITICAL)
        raise ValueError("x")

    before = logging.root.level
    with pytest.raises(ValueError, match="x"):
        fails()
    assert logging.root.level == before


def test_info_and_deprecations_are_held_back_warnings_pass(recwarn):
    logger = logging.getLogger("mlflow.store.db.utils")
    with quiet_mlflow():
        assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert not recwarn.list


def test_warnings_of_other_code_pass():
    with quiet_mlflow(), pytest.raises(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_tracebacks_of_databases_are_held_back_in_nested_blocks_and_nowhere_else(caplog):
    logger = logging.getLogger("mlflow.store.db.utils")

    def told():
        caplog.clear()
        try:
            raise ValueError("[SQL: SELECT 1]")
        except ValueError as error:
            logger.exception("caught %s", error)
        logger.warning("will be retried")
        return [record.getMessage() for record in caplog.records]

    with quiet_mlflow():
        with quiet_mlflow():
            pass
        assert told() == ["will be retried"]
    assert told() == ["caught [SQL: SELECT 1]", "will be retried"]
