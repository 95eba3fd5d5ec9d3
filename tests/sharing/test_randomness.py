"""The source of shares' randomness."""

import subprocess
import sys

import pytest

from fedpriv.sharing.randomness import secure_bytes


def test_as_many_bytes_come_as_were_asked_for():
    assert [len(secure_bytes(count)) for count in (0, 1, 63, 64, 65, 100_001)] == [0, 1, 63, 64, 65, 100_001]


def test_no_two_calls_agree():
    assert len({secure_bytes(16) for _ in range(1000)}) == 1000


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="negative"):
        secure_bytes(-1)


def test_a_forked_process_does_not_repeat_its_parents_bytes():
    code = (
        "import os; from fedpriv.sharing.randomness import secure_bytes; secure_bytes(8); "
        "child = os.fork(); os.write(1, secure_bytes(16).hex().encode() + b'\\n'); child and os.wait()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.split()
    assert len(lines) == 2
    assert len(set(lines)) == 2
