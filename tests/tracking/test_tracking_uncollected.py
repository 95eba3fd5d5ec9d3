import gc
import importlib
import sys

import pytest

from fedpriv.tracking.uncollected import uncollected


def test_garbage_is_left_alone_inside_and_looked_for_after():
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), uncollected():
        raise ValueError("inside")
    assert gc.isenabled()


def test_what_a_block_imports_is_never_looked_through_again_and_a_block_without_imports_keeps_nothing(
    monkeypatch, tmp_path
):
    (tmp_path / "imported_once.py").write_text("kept = [[]]\n")
    monkeypatch.syspath_prepend(tmp_path)

    def one_block() -> bool:
        with uncollected():
            module = importlib.import_module("imported_once")
        return any(found is module.kept for found in gc.get_objects())

    try:
        gc.unfreeze()  # what other tests left frozen
        assert not one_block()
        assert gc.get_freeze_count() > 0
        gc.unfreeze()
        assert one_block()
        assert gc.get_freeze_count() == 0
    finally:
        sys.modules.pop("imported_once", None)
        gc.freeze()  # as tests/conftest.py has it


def test_a_model_is_written_without_a_look_at_all_packages(start, monkeypatch):
    import numpy as np
    from mlflow.utils import environment
    from torch import nn

    before = environment.warn_dependency_requirement_mismatches
    requirements = sys.modules["mlflow.utils.requirements_utils"]
    monkeypatch.setattr(requirements, "_MODULES_TO_PACKAGES", None)
    with start() as run:
        run.log_model(nn.Linear(3, 2), np.zeros((1, 3), np.float32), {})
    assert requirements._MODULES_TO_PACKAGES is None, "MLflow listed the files of every package"
    assert environment.warn_dependency_requirement_mismatches is before
