"""The server that is started for one call ends with it, whatever ends that; and serves many at once."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.local import local_server
from fedpriv.services.certificates import certificates
from fedpriv.services.held_folder import HeldFolder

STARTS = """
import sys, time
from pathlib import Path
from fedpriv.imagediff.local import local_server
with local_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as reply:  # noqa: S310 - ours
            return reply.status == 200
    except urllib.error.URLError:
        return False


@pytest.mark.slow
def test_a_server_ends_when_who_started_it_is_killed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", STARTS, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        url = process.stdout.readline().decode().strip()
        assert answers(url)
        os.kill(process.pid, signal.SIGKILL)
        until = time.monotonic() + 30
        while answers(url):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_users_files_in_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise ImportError('a file of the user')\n")
    monkeypatch.chdir(tmp_path)
    with local_server() as url:
        assert answers(url)


def test_calls_at_the_same_time_share_a_store_in_turns(tmp_path):
    """The second server starts once the first one is gone, and finds what that one kept."""
    keys, door = UserKeys.make(SETS["images"]), np.zeros((4, 4, 3), np.uint8)
    order = []

    def second():
        with local_server(tmp_path / "store") as url, DifferenceClient(url, keys) as client:
            order.append("second")
            assert (client.difference_from("door", door + 1) == 1).all()

    with ThreadPoolExecutor(1) as pool:
        with local_server(tmp_path / "store") as url, DifferenceClient(url, keys) as client:
            waiting = pool.submit(second)
            client.store_reference("door", door)
            time.sleep(1)
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]


def test_a_call_does_not_wait_for_ever_for_a_server_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("fedpriv.imagediff.local._TURN_S", 0.3)
    said = "did not start: .*another fedpriv imagediff has it; .* can be named with --server"
    with (
        HeldFolder(tmp_path, "imagediff", "--store"),
        pytest.raises(UserError, match=said),
        local_server(tmp_path),
    ):
        pass


def test_a_server_that_does_not_start_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(
            UserError, match=r"server on loopback: did not start: .*name another folder with --store"
        ),
        local_server(tmp_path / "file" / "store"),
    ):
        pass


def test_many_owners_at_once_get_their_own_differences(server):
    failures = []

    def compare(seed):
        try:
            generator = np.random.default_rng(seed)
            pairs = [generator.integers(0, 256, (2, 50 + seed, 40, 3), dtype=np.uint8) for _ in range(3)]
            with DifferenceClient(server, UserKeys.make(SETS["images"])) as client:
                client.store_reference("same", pairs[0][0])
                for first, second in pairs:
                    assert np.array_equal(client.difference(first, second), second.astype(np.int16) - first)
                found = client.difference_from("same", pairs[0][1])
                assert np.array_equal(found, pairs[0][1].astype(np.int16) - pairs[0][0])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=compare, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_server_that_forgot_the_key_is_sent_it_again(server, keys, picture):
    """A server keeps 64 keys; the 65th owner takes the place of the one not seen for longest."""
    first, second = picture(3, 3, 1), picture(3, 3, 1)
    with DifferenceClient(server, keys) as client:
        client.difference(first, second)
        for _ in range(65):
            with DifferenceClient(server, UserKeys.make(SETS["images"])) as other:
                other._connection._introduce()
        assert np.array_equal(client.difference(first, second), second.astype(np.int16) - first)


@pytest.mark.slow
def test_over_tls_the_servers_certificate_is_checked(tmp_path, keys, picture):
    authority, made = certificates({"server": "127.0.0.1"})
    for name, text in (
        ("ca.pem", authority),
        ("cert.pem", made["server"][0]),
        ("key.pem", made["server"][1]),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    command = [sys.executable, "-m", "fedpriv.imagediff.serve", "--port", "0", "--until-eof"]
    more = ["--certificate", "cert.pem", "--certificate-key", "key.pem", "--store", "store"]
    process = subprocess.Popen(
        [*command, *more],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    first, second = picture(9, 9, 3), picture(9, 9, 3)
    try:
        url = process.stdout.readline().decode().split()[-1]
        assert url.startswith("https://")
        with DifferenceClient(url, keys, tmp_path / "ca.pem") as client:
            assert np.array_equal(client.difference(first, second), second.astype(np.int16) - first)
        with (
            DifferenceClient(url, keys) as client,
            pytest.raises(UserError, match="certificate verify failed"),
        ):
            client.difference(first, second)
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
