"""Folders that are one command's and one process's: never somebody else's files, never two at a time."""

import signal
import subprocess
import sys
import threading

import pytest

from fedpriv.errors import UserError
from fedpriv.services.held_folder import HeldFolder

HOLD = """
import sys, time
from pathlib import Path
from fedpriv.services.held_folder import HeldFolder
held = HeldFolder(Path(sys.argv[1]), "thing", "--folder")
print("held", flush=True)
time.sleep(60)
"""


def held(folder, wait_s=0.0) -> HeldFolder:
    return HeldFolder(folder, "thing", "--folder", wait_s)


def test_a_folder_is_made_marked_and_private(tmp_path) -> None:
    with held(tmp_path / "a" / "b") as found:
        assert found.path == tmp_path / "a" / "b"
        assert [each.name for each in found.path.iterdir()] == [".fedpriv-thing"]
        assert found.path.stat().st_mode & 0o077 == 0


def test_an_empty_folder_and_a_marked_one_with_files_are_taken(tmp_path) -> None:
    with held(tmp_path):
        (tmp_path / "mine").write_text("x")
    with held(tmp_path):
        assert (tmp_path / "mine").read_text() == "x"


@pytest.mark.parametrize("name", ["notes.txt", ".git", ".fedpriv-other"])
def test_a_folder_with_files_of_somebody_else_is_refused_and_left_as_it_was(tmp_path, name) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=r"holds files that are not fedpriv's own; name .* with --folder"):
        held(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("target", ["there", "not-there"])
def test_a_mark_that_is_a_link_is_not_followed(tmp_path, target) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / ".fedpriv-thing").symlink_to(tmp_path / target)
    with pytest.raises(UserError, match="name another folder with --folder"):
        held(tmp_path / "f")
    assert not (tmp_path / "not-there").exists()


def test_a_file_is_no_folder(tmp_path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(UserError, match="f: File exists; name another folder with --folder"):
        held(tmp_path / "f")


def test_a_second_holder_is_refused_in_the_same_process_too(tmp_path) -> None:
    with held(tmp_path), pytest.raises(UserError, match="another fedpriv thing has it"):
        held(tmp_path)
    held(tmp_path).close()


def test_who_waits_gets_it_when_it_is_free(tmp_path) -> None:
    first, order = held(tmp_path), []

    def second() -> None:
        with held(tmp_path, wait_s=60.0):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.2)
    order.append("first")
    first.close()
    thread.join(30)
    assert order == ["first", "second"]


def test_a_process_that_is_killed_holds_it_no_longer(tmp_path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another fedpriv thing has it"):
            held(tmp_path)
        other.send_signal(signal.SIGKILL)
        other.wait()
    held(tmp_path).close()


def test_those_that_begin_at_once_take_turns(tmp_path) -> None:
    inside, most = 0, 0

    at_once = threading.Barrier(8)

    def work(number: int) -> None:
        nonlocal inside, most
        at_once.wait(30)
        for turn in range(20):
            with held(tmp_path / "f", wait_s=60.0):
                inside += 1
                most = max(most, inside)
                (tmp_path / "f" / f"{number}-{turn}").touch()
                inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert most == 1
    assert len(list((tmp_path / "f").iterdir())) == 1 + 8 * 20
