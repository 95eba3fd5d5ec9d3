"""The folder of a sweep is one sweep's at a time."""

import os

import pytest

from fedpriv.errors import UserError
from fedpriv.sweeps.record import SweepRecord


def test_two_sweeps_in_one_folder_do_not_take_each_others_jobs(tmp_path):
    lock = SweepRecord.take(tmp_path / "sweep")
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir=.*: another sweep is under way there"):
        SweepRecord.take(tmp_path / "sweep")
    os.close(lock)
    os.close(SweepRecord.take(tmp_path / "sweep"))
