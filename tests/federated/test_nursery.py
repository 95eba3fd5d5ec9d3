"""The process that worker processes are forked from."""

import json
import os
import pickle
import queue
import random
import select
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedpriv.errors import UserError
from fedpriv.federated.engines.nursery import _REQUEST, Nursery
from fedpriv.federated.engines.pool import PoolExecutor


def app(folder: str) -> Any:
    """Write what a worker sees of the process that it is forked from; it is no app, and gets no message."""
    drawn = [random.random(), float(torch.rand(1))]
    drawn.append(float(np.random.random()))  # noqa: NPY002 - the state that a fork copies
    Path(folder, str(os.getpid())).write_text(
        json.dumps((drawn, torch.get_num_threads(), len(list(Path("/proc/self/fd").iterdir()))))
    )


def silent(folder: str) -> Any:
    """Never be ready."""
    time.sleep(600)


def placed(folder: str) -> Any:
    """Write where it imports from."""
    import queue

    Path(folder, "placed").write_text(json.dumps((queue.__file__, sys.path)))


def broken(folder: str) -> Any:
    """Fail."""
    raise ValueError("a factory that fails")


NAME = f"{__name__}:app"
NOBODY = 2**22 + 1
"""No process has this number: Linux gives none above 2^22."""


def started(nursery: Nursery, folder: Path) -> tuple[int, Connection, Connection]:
    """Fork a worker and give it its configuration, without waiting for it."""
    (theirs, requests), (replies, answered) = os.pipe(), os.pipe()
    worker = nursery.fork(theirs, answered)
    os.close(theirs)
    os.close(answered)
    given = Connection(requests, readable=False)
    given.send_bytes(pickle.dumps((nursery.app, str(folder))))
    return worker, given, Connection(replies, writable=False)


def gone(process: int) -> bool:
    for _ in range(500):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def threads_of(nursery: Nursery) -> int:
    return len(list(Path(f"/proc/{nursery._process.pid}/task").iterdir()))


@pytest.mark.parametrize(("threads", "pools"), [(1, None), (4, "1"), (4, None)])
def test_it_has_no_threads_but_openblas_and_none_when_it_forks_or_a_held_lock_could_be_copied(
    threads, pools, monkeypatch
):
    """OpenBLAS has as many threads as ``OPENBLAS_NUM_THREADS`` says, or else as a worker is to have."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if pools:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", pools)
    with Nursery("fedpriv.apps:client_app", threads) as nursery:
        nursery.end(NOBODY, patience_s=0)  # answered once all is imported
        if threads == 1 or pools:
            assert threads_of(nursery) == 1
        (theirs, requests), (replies, answered) = os.pipe(), os.pipe()
        nursery.fork(theirs, answered)
        assert threads_of(nursery) == 1
        for each in (theirs, requests, replies, answered):
            os.close(each)


def test_workers_import_from_where_their_parent_does_and_not_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise ImportError('a file of the user')\n")
    monkeypatch.chdir(tmp_path)
    with Nursery(f"{__name__}:placed", threads=1) as nursery:
        _, given, replies = started(nursery, tmp_path)
        assert replies.recv_bytes() == b"ready"
        given.close()
        replies.close()
    assert json.loads((tmp_path / "placed").read_text()) == [queue.__file__, sys.path]


def test_workers_import_what_is_in_the_working_folder_where_their_parent_does(tmp_path, monkeypatch):
    """A user's own task lies there, with ``python -m``; the path is no variable, so it is not inherited."""
    (tmp_path / "own_task.py").write_text("def app(folder):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with Nursery("own_task:app", threads=1) as nursery:
        _, given, replies = started(nursery, tmp_path)
        assert replies.recv_bytes() == b"ready"
        given.close()
        replies.close()


def test_an_interrupt_is_not_for_it_even_before_it_is_there(tmp_path, capfd):
    with Nursery(NAME, threads=1) as nursery:
        for _ in range(20):
            os.kill(nursery._process.pid, signal.SIGINT)
            time.sleep(0.005)
        worker, given, replies = started(nursery, tmp_path)
        os.kill(worker, signal.SIGINT)
        assert replies.recv_bytes() == b"ready"
        given.close()
        replies.close()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert capfd.readouterr().err == ""


def test_workers_draw_their_own_randomness_and_have_no_files_of_others(tmp_path):
    with Nursery(NAME, threads=2) as nursery:
        workers = [started(nursery, tmp_path) for _ in range(3)]
        for _, _, replies in workers:
            assert replies.recv_bytes() == b"ready"
        seen = [json.loads((tmp_path / str(worker)).read_text()) for worker, _, _ in workers]
        assert len({value for drawn, _, _ in seen for value in drawn}) == 9
        assert [threads for _, threads, _ in seen] == [2, 2, 2]
        assert len({files for _, _, files in seen}) == 1
        for worker, given, replies in workers:
            given.close()
            nursery.end(worker, patience_s=60)
            assert gone(worker)
            assert replies.poll(0)
            with pytest.raises(EOFError):
                replies.recv_bytes()
            replies.close()


def test_a_worker_that_does_not_end_is_killed(tmp_path):
    with Nursery(f"{__name__}:silent", threads=1) as nursery:
        worker, given, replies = started(nursery, tmp_path)
        nursery.end(worker, patience_s=0)
        assert gone(worker)
        nursery.end(worker, patience_s=0)  # once more is nothing
        given.close()
        replies.close()


def test_an_answer_that_nobody_waited_for_is_nobody_elses(tmp_path):
    with Nursery(NAME, threads=1) as nursery:
        first = [started(nursery, tmp_path)]
        nursery._socket.sendall(_REQUEST.pack(nursery._asked + 1, NOBODY, 0.0))
        nursery._asked += 1
        for _ in range(2):
            first.append(started(nursery, tmp_path))
        for worker, given, replies in first:
            assert replies.recv_bytes() == b"ready"
            assert (tmp_path / str(worker)).is_file()
            given.close()
            replies.close()


def test_its_workers_go_with_it(tmp_path):
    with Nursery(NAME, threads=1) as nursery:
        worker, given, replies = started(nursery, tmp_path)
        assert replies.recv_bytes() == b"ready"
        os.kill(nursery._process.pid, signal.SIGKILL)
        assert select.select([replies], [], [], 10)[0]
        assert gone(worker)
        nursery.end(worker, patience_s=60)
        with pytest.raises(UserError, match=r"^engine\.workers: a worker process did not start"):
            nursery.fork(0, 1)
        given.close()
        replies.close()


@pytest.mark.parametrize("name", [f"{__name__}:broken", "tests.federated.no_such_module:app"])
def test_a_worker_that_cannot_begin_is_one_line_below_its_own_message(name, tmp_path, capfd):
    with Nursery(name, threads=1) as nursery, pytest.raises(UserError, match=r"^engine\.workers: "):
        PoolExecutor(nursery, str(tmp_path), workers=2)
    said = capfd.readouterr().err
    assert "a factory that fails" in said or "No module named 'tests.federated.no_such_module'" in said
