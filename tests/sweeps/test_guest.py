"""A job in a process that is its launcher's, and not its own."""

import signal
import subprocess
import sys

SLOW = """
import time
print("begun", flush=True)
try:
    time.sleep(1)
except BaseException as error:
    raise ImportError("cut off") from error  # as some packages' own imports do
print("imported", flush=True)
"""
GUEST = """
import sys, time
from fedpriv.sweeps.guest import as_guest
from fedpriv.sweeps.record import SweepRecord
with as_guest(SweepRecord(None, None, "e", 1, None, {})):
    import slow
    time.sleep(60)
"""


def test_a_signal_that_comes_during_an_import_waits_for_its_end(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, "-c", GUEST],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (143, "imported\n", "")
