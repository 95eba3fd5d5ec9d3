"""The process that worker processes are forked from."""

import json
import os
import pickle
import random
import select
import signal
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
    drawn = [random.random(), float(np.random.random())]  # noqa: NPY002 - the state that a fork copies
    Path(folder, str(os.getpid())).write_text(
        json.dumps((drawn, torch.get_num_threads(), len(list(Path("/proc/self/fd").iterdir()))))
    )


def silent(folder: str) -> Any:
    """Never be ready."""
    time.sleep(600)


def broken(folder: str) -> Any:
    """Fail."""
    raise ValueError("a factory that fails")


NAME = f"{__name__}:app"


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


def test_it_has_one_thread_when_it_forks_or_a_lock_could_be_copied_while_it_is_held():
    with Nursery("fedpriv.apps:client_app", threads=1) as nursery:
        (theirs, requests), (replies, answered) = os.pipe(), os.pipe()
        nursery.fork(theirs, answered)
        assert len(list(Path(f"/proc/{nursery._process.pid}/task").iterdir())) == 1
        for each in (theirs, requests, replies, answered):
            os.close(each)


def test_workers_draw_their_own_randomness_and_have_no_files_of_others(tmp_path):
    with Nursery(NAME, threads=2) as nursery:
        workers = [started(nursery, tmp_path) for _ in range(3)]
        for _, _, replies in workers:
            assert replies.recv_bytes() == b"ready"
        seen = [json.loads((tmp_path / str(worker)).read_text()) for worker, _, _ in workers]
        assert len({value for drawn, _, _ in seen for value in drawn}) == 6
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
        nursery._socket.sendall(_REQUEST.pack(nursery._asked + 1, 2**22 + 1, 0.0))
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
