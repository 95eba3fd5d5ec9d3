import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fedpriv.sweeps.processes import Process, end

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
GUEST = """
import subprocess, sys, time
from fedpriv.sweeps.processes import Process, follow
machine, pid, started = sys.argv[1:]
follow(Process(machine, int(pid), int(started)))
print("ready", flush=True)
time.sleep(600)
"""


def process_of(child):
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].split()
    return dataclasses.replace(Process.own(), pid=child.pid, started=int(fields[19]))


def test_a_process_lives_until_it_ends_and_another_of_its_number_is_not_it():
    assert Process.own().lives
    assert not dataclasses.replace(Process.own(), started=1).lives
    with subprocess.Popen(SLEEP) as child:
        process = process_of(child)
        assert process.lives
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.lives  # a zombie is none
    assert not process.lives


def test_what_is_on_another_machine_is_taken_to_live_and_is_left_alone():
    with subprocess.Popen(SLEEP) as child:
        elsewhere = dataclasses.replace(process_of(child), machine="another")
        end([elsewhere], 0.1)
        assert elsewhere.lives
        assert child.poll() is None
        child.kill()
    assert elsewhere.lives


def test_processes_are_asked_to_end_and_this_one_is_not():
    with subprocess.Popen(SLEEP) as child:
        end(
            [process_of(child), Process.own(), dataclasses.replace(Process.own(), pid=child.pid, started=1)],
            20,
        )
        assert child.wait(timeout=20) == -signal.SIGTERM


def test_who_follows_a_launcher_ends_when_that_was_killed():
    with subprocess.Popen(SLEEP) as launcher:
        process = process_of(launcher)
        words = [process.machine, str(process.pid), str(process.started)]
        with subprocess.Popen(
            [sys.executable, "-c", GUEST, *words], stdout=subprocess.PIPE, text=True
        ) as guest:
            assert guest.stdout.readline() == "ready\n"
            time.sleep(1)
            assert guest.poll() is None
            launcher.kill()
            launcher.wait()
            assert guest.wait(timeout=20) == -signal.SIGTERM
