"""Processes that compute: in order, and never left over, whatever ends the one that they compute for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.processes import in_processes

COMPUTES = """
import sys
from pathlib import Path
from fedpriv.he.tables.processes import in_processes
from tests.he.tables.test_processes import forever
for _ in in_processes(forever, [(Path(sys.argv[1]) / str(number),) for number in range(2)], 2):
    pass
"""


def square(number: int) -> int:
    return number * number


def forever(path: Path) -> None:
    path.with_suffix(".half").write_text(str(os.getpid()))
    path.with_suffix(".half").rename(path)
    time.sleep(300)


def end(path: Path) -> None:
    path.write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)


def alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def until(true, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(true())


def started(folder: Path) -> list[int]:
    """Return the processes of :func:`forever` that wrote their numbers into a folder."""
    files = [folder / "0", folder / "1"]
    assert until(lambda: all(path.exists() for path in files))
    return [int(path.read_text()) for path in files]


def test_answers_come_in_the_order_of_the_calls():
    assert list(in_processes(square, [(n,) for n in range(9)], 2)) == [n * n for n in range(9)]


@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_one_that_they_compute_for(tmp_path, killed_by):
    with subprocess.Popen([sys.executable, "-c", COMPUTES, str(tmp_path)]) as process:
        numbers = started(tmp_path)
        assert all(map(alive, numbers))
        process.send_signal(killed_by)
    assert until(lambda: not any(map(alive, numbers)))


STARTS = """
import os, signal, sys
from multiprocessing import util
from fedpriv.he.tables.processes import in_processes
spawn, spawned_before = util.spawnv_passfds, []
def spawned(*arguments):
    number = spawn(*arguments)
    spawned_before.append(number)
    if len(spawned_before) == 3:  # the first tracks resources
        os.kill(os.getpid(), signal.SIGTERM)
    return number
util.spawnv_passfds = spawned
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
list(in_processes(abs, [(number,) for number in range(4)], 2))
"""


def test_a_signal_while_a_process_starts_leaves_none_that_waits_for_what_it_is_to_do():
    done = subprocess.run(
        [sys.executable, "-c", STARTS], check=False, timeout=120, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (143, "")


def test_processes_end_when_the_iteration_is_given_up(tmp_path):
    calls = [(tmp_path / str(number),) for number in range(2)]
    rounds = in_processes(late, [(tmp_path, *each) for each in calls], 2)
    assert next(rounds) == 0
    numbers = started(tmp_path)
    rounds.close()
    assert not any(map(alive, numbers))


def late(folder: Path, path: Path) -> int:
    """Answer for the first call when there are two processes at work, and never for the others."""
    path.with_suffix(".half").write_text(str(os.getpid()))
    path.with_suffix(".half").rename(path)
    while path.name != "0" or not (folder / "1").exists():
        time.sleep(0.05)
    return 0


def test_a_process_that_is_killed_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="for lack of memory; choose fewer with --workers"):
        list(in_processes(end, [(tmp_path / "x",)], 1))
    assert (tmp_path / "x").exists()
