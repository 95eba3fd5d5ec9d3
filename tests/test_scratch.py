"""The folder of secrets: private, gone afterwards, and swept when its process was killed."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

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


@pytest.mark.parametrize("steps", range(8))
def test_edge_a_kill_at_any_step_of_the_removal_leaves_what_is_found_again_or_empty(monkeypatch, steps):
    """Each folder has secrets at two depths; the process dies after ``steps`` files and folders went."""
    code = f"""
import os, signal, sys
from pathlib import Path
from fedpriv import scratch
left = {steps}
def audit(event, arguments):
    global left
    if event in ("os.remove", "os.rmdir") and armed:
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
armed = False
sys.addaudithook(audit)
with scratch.private_folder() as folder:
    for name in ("a.key", "clients/0/b.key", "z.key"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    print(folder, flush=True)
    armed = True
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder = Path(done.stdout.strip())
    assert done.returncode in (-signal.SIGKILL, 0), done.stderr
    assert (done.returncode == 0) == (not folder.exists())
    if folder.exists() and not (folder / "lock").exists():
        assert not list(folder.iterdir())
    monkeypatch.setattr(scratch, "_YOUNG_S", 0.0)
    time.sleep(0.01)
    with private_folder():
        assert not folder.exists()


def test_a_folder_of_somebody_else_with_our_prefix_stays(tmp_path, monkeypatch):
    mine = tmp_path / "fedpriv-thesis"
    mine.mkdir()
    (mine / "chapter").write_text("x")
    monkeypatch.setattr(scratch, "_YOUNG_S", -1.0)
    scratch._sweep(tmp_path)
    assert (mine / "chapter").exists()
