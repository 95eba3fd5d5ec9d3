"""Processes that are killed at any point, and processes that charge at once."""

import hashlib
import json
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fedpriv.privacy.charge import Charge, SampledGaussian
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import FILE, Ledger

ROOT = Path(__file__).parents[2]

# One process imports and forks a writer for each line that it reads: importing takes longer than a test may.
FORKS = """
import os, sys
import numpy as np
from fedpriv.privacy.charge import Charge, SampledGaussian
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import Ledger

def write(folder, writer, first, count):
    ledger = Ledger(folder)
    for number in range(first, first + count):
        share = of_digests(np.array([writer, 1000 + number % 3], np.uint64))
        ledger.charge([Charge(share, SampledGaussian(0.25, 1.0, 1), f"writer{writer}", number, 1e-5)])
        os.write(1, f"{writer} {number}\\n".encode())  # acknowledged: from here on noise may be released

from pathlib import Path
for line in sys.stdin:
    folder, writer, first, count = line.split()
    child = os.fork()
    if not child:
        write(Path(folder), int(writer), int(first), int(count))
        os.write(1, f"end {writer}\\n".encode())
        os._exit(0)
    os.write(1, f"pid {child}\\n".encode())
"""


class Forks:
    """Talks to the process that forks writers."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0
        )
        self.rest = b""

    def start(self, folder, writer, first=0, count=10**6):
        self.process.stdin.write(f"{folder} {writer} {first} {count}\n".encode())
        lines = []
        while True:
            lines += self.lines(wait=True)
            for line in lines:
                if line.startswith("pid"):
                    return int(line.split()[1]), [other for other in lines if other != line]

    def lines(self, wait):
        if wait or select.select([self.process.stdout], [], [], 0)[0]:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, "the writers' parent ended"
            *lines, self.rest = (self.rest + data).split(b"\n")
            return [line.decode() for line in lines]
        return []


@pytest.fixture
def forks():
    made = Forks()
    yield made
    made.process.stdin.close()
    made.process.wait(timeout=20)
    made.process.stdout.close()


def charged(folder):
    """Return (run, round) of every charge in a file whose chain holds, checked here."""
    previous, found = "0" * 64, []
    for line in (folder / FILE).read_bytes().splitlines(keepends=True):
        entry = json.loads(line)
        assert entry["previous"] == previous
        previous = hashlib.sha256(line).hexdigest()
        if entry["event"] == "charge":
            found.append((entry["run"], entry["round"]))
    return found


def test_guarantee_kill_9_at_any_point_never_loses_an_acknowledged_charge(forks, tmp_path):
    folder, acknowledged, chance = tmp_path / "ledger", [], random.Random(5)
    for attempt in range(40):
        child, lines = forks.start(folder, 1, 10_000 * attempt)
        # some before their first charge, the others in the midst of writing
        enough = chance.choice([0, 1, 1, 2, 3])
        while len(lines) < enough:
            lines += forks.lines(wait=True)
        time.sleep(chance.uniform(0.0, 0.015))
        os.kill(child, 9)
        while Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
            time.sleep(0.001)
        lines += forks.lines(wait=False)
        acknowledged += [("writer1", int(line.split()[1])) for line in lines]

        ledger = Ledger(folder)
        accounts = ledger.summary()
        found = charged(folder) if (folder / FILE).exists() else []
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found)) == sum(account.charges for account in accounts)
        # of each killed writer at most one charge was under way
        assert len(found) <= len(acknowledged) + attempt + 1
    assert len(acknowledged) >= 30
    spent = Ledger(folder).spent(of_digests(np.array([1], np.uint64)), 1e-5).epsilon
    afresh = Ledger(tmp_path / "undisturbed")
    share = of_digests(np.array([1], np.uint64))
    afresh.charge(
        [Charge(share, SampledGaussian(0.25, 1.0, 1), run, number, 1e-5) for run, number in acknowledged]
    )
    assert spent >= afresh.spent(share, 1e-5).epsilon


def test_guarantee_two_processes_charging_at_once_make_one_valid_chain(forks, tmp_path):
    folder = tmp_path / "ledger"
    _, lines = forks.start(folder, 1, count=200)
    _, more = forks.start(folder, 2, count=200)
    lines += more
    while not {"end 1", "end 2"} <= set(lines):
        lines += forks.lines(wait=True)
    found = charged(folder)
    assert len(found) == 400
    assert set(found) == {(f"writer{n}", number) for n in (1, 2) for number in range(200)}
    # each process had seen what the other wrote before: its shares are written once
    assert sum(account.charges for account in Ledger(folder).summary()) == 400


def test_guarantee_any_beginning_of_what_was_not_yet_acknowledged_leaves_the_rest_counted(tmp_path):
    folder = tmp_path / "ledger"
    shares = [of_digests(np.array([number], np.uint64)) for number in range(3)]
    Ledger(folder).charge([Charge(shares[0], SampledGaussian(0.25, 1.0, 1), "a", 1, 1e-5)])
    path, head = folder / FILE, folder / f"{FILE}.head"
    before, old_head = path.read_bytes(), head.read_bytes()
    Ledger(folder).charge([Charge(each, SampledGaussian(0.25, 1.0, 1), "a", 2, 1e-5) for each in shares])
    after = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(after) if byte == 10]
    for length in sorted({*range(len(before), len(after), 41), *ends, *(end - 1 for end in ends)}):
        if length < len(before):
            continue
        path.write_bytes(after[:length])
        head.write_bytes(old_head)
        ledger = Ledger(folder)
        accounts = ledger.summary()
        assert accounts[0].share.identity == shares[0].identity
        charges = after[:length][: after[:length].rfind(b"\n") + 1].count(b'"event":"charge"')
        assert sum(account.charges for account in accounts) == charges >= 1
        ledger.charge([Charge(shares[2], SampledGaussian(0.25, 1.0, 1), "a", 3, 1e-5)])
        assert sum(account.charges for account in Ledger(folder).summary()) == charges + 1
