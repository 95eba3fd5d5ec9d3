"""The folder of secrets: private, gone afterwards, and swept when its process was killed."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from fedpriv import scratch
from fedpriv.scratch import private_folder


def test_the_folder_is_private_and_gone_after_the_block():
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "secret").write_text("x")
    assert not folder.exists()


def test_the_folder_is_gone_after_an_exception():
    with pytest.raises(RuntimeError), private_folder() as folder:
        raise RuntimeError
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(monkeypatch):
    code = (
        "import time\nfrom fedpriv.scratch import private_folder\n"
        "with private_folder() as f:\n print(f, flush=True)\n time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        path = other.stdout.readline().strip()
        monkeypatch.setattr(scratch, "_YOUNG_S", 0.0)
        with private_folder():
            assert os.path.isdir(path)  # noqa: PTH112 - it lives, so it stays
        other.send_signal(signal.SIGKILL)
        other.wait()
        time.sleep(0.01)
        assert os.path.isdir(path)  # noqa: PTH112
        with private_folder():
            assert not os.path.exists(path)  # noqa: PTH110
