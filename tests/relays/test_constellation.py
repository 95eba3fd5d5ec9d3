"""Services as processes: started, asked, restarted under load, killed; and what they leave to be seen."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.cli import main
from fedpriv.errors import UserError
from fedpriv.relays.client import RelayClient, Unanswered
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.plan import Layout, Plan
from fedpriv.services.outgoing import healthy
from fedpriv.serving.answers import Answer
from fedpriv.serving.defaults import default_models
from tests.relays.running import client_settings

SERVER = {"set_timeout_s": 2.0, "hold_s": 0.5}


@pytest.fixture(scope="module")
def constellation(tmp_path_factory):
    plan = Plan(adversary=True, server=SERVER)
    with Constellation(tmp_path_factory.mktemp("processes") / "c", plan) as running:
        yield running


def images(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, 256, (36, 60), dtype=np.uint8) for _ in range(count)]


async def sustained(
    running: Constellation, seconds: float, disturb=lambda: None
) -> list[tuple[int, Answer | Unanswered]]:
    """Keep eight images under way while the services are disturbed and for some seconds after.

    Returns:
        What came of each.
    """
    pool, found, until = images(16), [], float("inf")

    async def ask(client: RelayClient, start: int) -> None:
        which = start
        while time.monotonic() < until:
            try:
                found.append((which, (await client.ask(pool[which])).answer))
            except Unanswered as error:
                found.append((which, error))
            which = (which + 1) % len(pool)

    async def disturbed() -> None:
        nonlocal until
        try:
            await asyncio.to_thread(disturb)
        finally:
            until = time.monotonic() + seconds

    async with RelayClient(client_settings(running.layout)) as client:
        await client.ask(pool[0])
        async with asyncio.TaskGroup() as group:
            for start in range(8):
                group.create_task(ask(client, start))
            group.create_task(disturbed())
    return found


def check(found: list[tuple[int, Answer | Unanswered]]) -> int:
    """Every answer is the model's own to that very image; return how many images got none."""
    right = default_models().answer(images(16), [("gaze", "emotion")] * 16)
    assert all(each == right[which] for which, each in found if isinstance(each, Answer))
    errors = [each for _, each in found if isinstance(each, Unanswered)]
    assert all("\n" not in str(each) for each in errors)
    assert len(found) > len(errors)
    return len(errors)


def test_pictures_are_submitted_and_drawn(constellation, tmp_path, capsys) -> None:
    for name, image in zip(("one", "two"), images(2), strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    folder = str(constellation.layout.folder)
    main(["relays", "submit", str(tmp_path / "one.png"), str(tmp_path / "two.png"), "--folder", folder])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("gaze pitch" in line and "emotion" in line for line in lines)
    with Image.open(tmp_path / "one.answer.png") as drawn:
        assert drawn.width > 216
    url = constellation.urls["gateway"]
    target = tmp_path / "drawn"
    main(
        [
            "relays",
            "submit",
            str(tmp_path / "one.png"),
            "--to",
            url,
            "--models",
            "gaze",
            "--pictures",
            str(target),
        ]
    )
    assert "emotion" not in capsys.readouterr().out
    assert [each.name for each in target.iterdir()] == ["one.answer.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "missing.png", "--to", "URL"], "missing.png"),
        (["submit", __file__, "--to", "URL"], "test_constellation.py"),
        (["submit", "x.png", "--to", "ftp://x"], "is no URL"),
        (["submit", "x.png", "--folder", "nowhere"], "fedpriv relays up"),
        (["submit"], "IMAGE"),
        (["down"], "no such command"),
        (["keys", "--relays", "1", "--folder", "k"], "relays=1"),
        (["up", "--shares", "9", "--folder", "k"], "shares=9"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    constellation, arguments, said, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = constellation.urls["gateway"]
    with pytest.raises(SystemExit) as caught:
        main(["relays", *(url if each == "URL" else each for each in arguments)])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.count("\n") == 1
    assert said in error


def test_nothing_secret_is_to_be_seen_of_processes_and_logs(constellation) -> None:
    asyncio.run(sustained(constellation, 0.5))
    folder = constellation.layout.folder
    secrets = [each.read_text().strip() for each in folder.glob("*.key")]
    assert len(secrets) == 4 + 1 + 2
    for service in constellation.plan.services:
        process = Path(f"/proc/{constellation.pid(service)}")
        seen = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
        seen += constellation.log(service).encode()
        assert not any(secret.encode() in seen or bytes.fromhex(secret) in seen for secret in secrets)


def test_logs_are_json_lines_without_content(constellation) -> None:
    for service in constellation.plan.services:
        lines = [json.loads(line) for line in constellation.log(service).splitlines()]
        assert lines
        assert all({"time", "level", "service", "event"} <= set(line) for line in lines)
        assert all(line["service"] == service for line in lines)
        assert all(len(json.dumps(line)) < 1000 for line in lines)


def test_a_service_that_cannot_start_is_named_with_its_reason(tmp_path) -> None:
    plan = Plan(relays=2, shares=2, models=("no/such/model",))
    with pytest.raises(UserError, match=r"model_server: ended at its start: .*no/such/model"):
        Constellation(tmp_path / "c", plan).start()


@pytest.mark.slow
def test_a_relay_killed_and_restarted_under_load_loses_no_image(constellation) -> None:
    def disturb() -> None:
        for name in ("relay-b", "relay-c"):
            time.sleep(0.5)
            constellation.kill(name)
            time.sleep(0.5)
            constellation.restart(name)

    found = asyncio.run(sustained(constellation, 1.0, disturb))
    assert check(found) == 0


@pytest.mark.slow
def test_relays_ended_gracefully_one_after_another_lose_no_image(constellation) -> None:
    def disturb() -> None:
        for name in constellation.plan.names:
            constellation.terminate(f"relay-{name}")
            constellation.restart(f"relay-{name}")

    assert check(asyncio.run(sustained(constellation, 1.0, disturb))) == 0


@pytest.mark.slow
def test_the_model_server_killed_gives_retried_answers_or_clear_errors(constellation) -> None:
    def disturb() -> None:
        time.sleep(0.5)
        constellation.kill("model_server")
        time.sleep(0.5)
        constellation.restart("model_server")

    found = asyncio.run(sustained(constellation, 1.5, disturb))
    check(found)
    assert isinstance(found[-1][1], Answer)


def test_a_users_files_in_the_working_folder_are_not_imported(constellation, tmp_path, monkeypatch) -> None:
    (tmp_path / "queue.py").write_text("raise ImportError('a file of the user')\n")
    monkeypatch.chdir(tmp_path)
    constellation.restart("model_server")


@pytest.mark.slow
def test_up_ends_all_services_when_it_is_told_to_and_when_it_is_killed(tmp_path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        folder = tmp_path / number.name
        command = [sys.executable, "-m", "fedpriv.cli", "relays", "up", "--relays", "2", "--shares", "2"]
        with subprocess.Popen([*command, "--folder", str(folder)], stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            while b"Ctrl-C" not in running.stdout.readline():
                assert running.poll() is None
            urls = Layout.read(folder).urls
            assert all(map(healthy, urls.values()))
            running.send_signal(number)
            running.wait(30)
        until = time.monotonic() + 20
        while any(map(healthy, urls.values())) and time.monotonic() < until:
            time.sleep(0.2)
        assert not any(map(healthy, urls.values()))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_flood_of_half_finished_sets_keeps_memory_bounded_and_honest_images_answered(tmp_path) -> None:
    """An enrolled client sends one share of each of 20,000 images: 85 MB of them are never held at once."""
    bound = 8 << 20
    server = {"set_timeout_s": 2.0, "hold_s": 0.2, "max_client_bytes": bound}
    with Constellation(tmp_path / "c", Plan(clients=2, server=server)) as running:
        before = {name: resident(running.pid(name)) for name in running.plan.services}

        async def flood() -> int:
            busy = 0
            async with RelayClient(client_settings(running.layout, "client-1")) as client:
                for _ in range(8):
                    session = await client._sessions.open()
                    for _ in range(20):
                        now_ms = time.time_ns() // 1_000_000
                        shares = []
                        for _ in range(125):
                            session._answered = session._next  # a client that forgets its own window
                            shares.append(session.seal(images(1)[0], ("gaze",), now_ms).shares[0])
                        records = await asyncio.gather(
                            *(client.courier(s.relay).ask(s.envelope) for s in shares)
                        )
                        busy += sum(isinstance(each, bytes) and each[0] == 14 for each in records)
            return busy

        async def both():
            flooding = asyncio.create_task(flood())
            honest = await sustained(running, 5.0)
            return await flooding, honest

        busy, honest = asyncio.run(both())
        assert check(honest) == 0
        assert busy > 0
        grown = {name: resident(running.pid(name)) - before[name] for name in before}
        print({name: f"{each / 2**20:.1f} MiB" for name, each in grown.items()})  # noqa: T201 - with -s
        assert grown["model_server"] < bound + (48 << 20)
        assert max(grown[name] for name in grown if name.startswith("relay-")) < 48 << 20


def test_keys_are_made_and_kept_and_services_listed(tmp_path, capsys) -> None:
    command = ["relays", "keys", "--folder", str(tmp_path / "k"), "--relays", "3", "--tls", "--clients", "2"]
    main(command)
    first = (tmp_path / "k" / "relays.secret").read_text()
    main(command)
    assert (tmp_path / "k" / "relays.secret").read_text() == first
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "model_server",
        "relay-a",
        "relay-b",
        "relay-c",
        "gateway",
    ]
    assert all("https://127.0.0.1:" in line for line in lines[:5])
