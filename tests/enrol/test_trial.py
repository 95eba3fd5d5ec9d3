"""Everybody's keys in one folder: what a run needs, complete or not there at all."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from fedpriv.config.secure import codec_of, policy_of
from fedpriv.enrol.terms import run_for
from fedpriv.enrol.trial import make_all
from fedpriv.errors import UserError
from fedpriv.he.provision import load_enrolment, require


@pytest.mark.parametrize("scheme", ["none", "bfv", "ckks", "bfv_committee"])
def test_a_run_finds_all_that_it_requires(tmp_path, scheme):
    config = run_for([f"secure={scheme}", "federation.clients=3"])
    enrolment = make_all(tmp_path / "trial", config)
    require(tmp_path / "trial", 3, codec_of(config), policy_of(config))
    assert load_enrolment(tmp_path / "trial") == enrolment
    assert len(enrolment.clients) == 3


def test_nobody_else_can_read_it_and_nothing_is_left_beside_it(tmp_path):
    make_all(tmp_path / "trial", run_for(["secure=bfv", "federation.clients=2"]))
    assert [path.name for path in tmp_path.iterdir()] == ["trial"]
    places = [tmp_path / "trial", *(tmp_path / "trial").rglob("*")]
    modes = {(each.is_dir(), stat.S_IMODE(each.stat().st_mode)) for each in places}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_what_is_there_is_never_replaced_but_for_an_empty_folder(tmp_path):
    config = run_for(["secure=none", "federation.clients=2"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(UserError, match=rf"{name}: exists already; name a new folder"):
            make_all(tmp_path / name, config)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    make_all(tmp_path / "empty", config)
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o700
    assert len(list(tmp_path.iterdir())) == 3


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing is missing; make it first"):
        make_all(tmp_path / "missing" / "trial", run_for(["secure=none"]))


KILLED = """
import os, signal, sys
from pathlib import Path

def die(event, arguments):
    if event == "os.link" and "enrolment.json" in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)

from fedpriv.enrol.terms import run_for
from fedpriv.enrol.trial import make_all

config = run_for(["secure=none", "federation.clients=2"])
sys.addaudithook(die)
make_all(Path(sys.argv[1]), config)
"""


def test_killed_half_way_there_is_no_folder_of_that_name(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "trial")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "trial").exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".trial.")
    assert left.stat().st_mode & 0o777 == 0o700


def test_where_the_disk_fails_nothing_is_left(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    config = run_for(["secure=none", "federation.clients=2"])
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error"):
        make_all(tmp_path / "trial", config)
    assert not list(tmp_path.iterdir())
