"""The attacks on real sockets: refused by the services as they are, accepted without the defence tested."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedpriv.attacks.relays import controls, matrix
from fedpriv.attacks.relays.collusion import resembles
from fedpriv.attacks.relays.honest import Honest
from fedpriv.attacks.relays.original_attacks import ATTACKS as ORIGINAL
from fedpriv.attacks.relays.original_attacks import NOT_APPLICABLE
from fedpriv.attacks.relays.said import Said, read_said, together
from fedpriv.attacks.relays.scene import honest_settings, pictures, scene
from fedpriv.attacks.relays.tampering import FIELDS
from fedpriv.attacks.relays.victim import Victim
from fedpriv.attacks.relays.weakened import Weakened
from fedpriv.relays.client import RelayClient
from fedpriv.sharing.envelope import HEADER_BYTES

QUICK = (
    "replay_while_next",
    "replay_other_session",
    "replayed_handshake",
    "reorder",
    "splice_two_images",
    "swap_share_index",
    "duplicate",
    "tamper_header",
    "tamper_body",
    "wrong_relay",
    "forged_relay",
    "forged_sender",
    "colluding_relays",
)
LONG = tuple(name for name in matrix.ATTACKS if name not in QUICK)
NAMES = [
    "replay_while_next",
    "replay_later",
    "replay_other_session",
    "replay_after_expiry",
    "replay_after_restart",
    "replayed_handshake",
    "reorder",
    "splice_two_images",
    "swap_share_index",
    "duplicate",
    "drop",
    "tamper_header",
    "tamper_body",
    "wrong_relay",
    "forged_relay",
    "forged_sender",
    "expired",
    "clock_skew",
    "oversized_body",
    "slow_sender",
    "slow_reader",
    "pipelined_flood",
    "half_finished_flood",
    "colluding_relays",
]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory):
    with Weakened(tmp_path_factory.mktemp("attacks") / "services") as running:
        yield running


@pytest.mark.parametrize("name", QUICK)
def test_the_services_refuse_and_lose_nothing(services, name) -> None:
    (row,) = asyncio.run(matrix.run(services, 11, [name]))
    assert (row.attempted, row.accepted, row.honest_lost) == (11, 0, 0)
    assert row.refused_as.total() == 11
    assert row.honest_sent >= 10


@pytest.mark.parametrize("name", QUICK)
def test_without_the_defence_the_same_attack_is_accepted(services, name) -> None:
    row = asyncio.run(controls.run_controls(services, [name]))[name]
    assert controls.WITHOUT[name].least <= row.accepted <= row.attempted == controls.ATTEMPTS


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_without_the_defence_the_same_long_attack_is_accepted(services, name) -> None:
    row = asyncio.run(controls.run_controls(services, [name]))[name]
    assert controls.WITHOUT[name].least <= row.accepted <= row.attempted >= controls.ATTEMPTS
    if name == "drop":
        assert row.accepted == row.attempted - row.refused_as["answer_lost"]


@pytest.mark.slow
def test_processes_refuse_every_attack_and_lose_nothing(tmp_path: Path) -> None:
    with matrix.constellation(tmp_path / "services") as running:
        rows = asyncio.run(matrix.run(running, 12, matrix.ATTACKS))
        assert running.ended() is None
    assert [row.name for row in rows] == NAMES
    assert all(row.attempted >= 12 for row in rows)
    assert {row.name: row.accepted for row in rows} == dict.fromkeys(NAMES, 0)
    assert {row.name: row.honest_lost for row in rows} == dict.fromkeys(NAMES, 0)


def test_every_attack_has_its_name_its_meaning_and_its_control() -> None:
    assert list(matrix.ATTACKS) == NAMES
    assert set(controls.WITHOUT) == set(NAMES)
    assert set(ORIGINAL) | set(NOT_APPLICABLE) == set(NAMES)
    for name in NAMES:
        assert matrix.accepted_means(name).endswith(".")
        assert matrix.summary(name).endswith((".", ":"))


def test_a_control_must_accept_all_or_say_what_else_refuses_the_rest() -> None:
    for without in controls.WITHOUT.values():
        assert 0 < without.least <= controls.ATTEMPTS
        assert (without.least < controls.ATTEMPTS) == bool(without.others)


def test_fields_are_the_whole_header_without_a_gap() -> None:
    starts = [field.start for field in FIELDS.values()]
    assert starts == [0, *(field.stop for field in FIELDS.values())][:-1]
    assert max(field.stop for field in FIELDS.values()) == HEADER_BYTES


def test_an_inference_that_nobody_accounts_for_is_seen(services) -> None:
    async def go() -> tuple[int, int]:
        async with scene(services) as found:
            await found.mark()
            victim = await Victim.open(found)
            assert (await victim.deliver(victim.seal())) == (True, 0)
            before = await found.surplus()
            async with RelayClient(found.client("client-2")) as other:  # outside of the account
                await other.ask(found.honest.images[0])
            return before, await found.surplus()

    assert asyncio.run(go()) == (0, 1)


def test_a_piece_that_nobody_accounts_for_is_seen(services) -> None:
    async def go() -> int:
        async with scene(services) as found:
            await found.mark()
            victim = await Victim.open(found)
            sealed = victim.seal()
            said = await found.share(sealed.relays[0], sealed.pieces[0])  # not as the victim
            assert said == Said("busy", None)
            return await found.surplus()

    assert asyncio.run(go()) == 1


def test_a_wrong_answer_to_honest_traffic_counts_as_lost(services) -> None:
    images, answers = pictures()
    settings = honest_settings(services.layout, services.plan, "client-0")

    async def go():
        async with Honest(settings, images, answers[1:] + answers[:1]) as honest:
            honest.start()
            await honest.rest()
            return honest.all

    report = asyncio.run(go())
    assert report.sent == report.answered == report.wrong == report.lost > 0


def test_a_client_that_gets_no_answer_counts_as_lost(services, tmp_path: Path) -> None:
    images, answers = pictures()
    settings = honest_settings(services.layout, services.plan, "client-0")
    dead = type(settings)(**{**vars(settings), "relays": dict.fromkeys("abcd", "http://127.0.0.1:9")})

    async def go():
        async with Honest(type(dead)(**{**vars(dead), "timeout_s": 0.1}), images, answers) as honest:
            honest.start()
            await honest.rest()
            return honest.all

    report = asyncio.run(go())
    assert report.lost == report.sent > 0
    assert report.unanswered == Counter(unreachable=report.sent)


def test_what_shows_the_image_resembles_it_and_noise_does_not() -> None:
    image = pictures()[0][0]
    payload = np.concatenate([np.zeros(8, np.uint8), image.ravel(), np.zeros(100, np.uint8)])
    noise = np.random.default_rng(0).integers(0, 256, payload.size, dtype=np.uint8)
    assert resembles(payload, image)
    assert resembles(255 - payload, image)
    assert not resembles(noise, image)
    assert not resembles(payload + noise, image)
    assert not resembles(np.zeros_like(payload), image)


def test_what_services_say_is_read_or_named() -> None:
    assert read_said(0, b"").label == "closed"
    assert read_said(401, b'{"cause": "wrong_relay", "detail": ""}').label == "wrong_relay"
    assert read_said(502, b"<html>").label == "http_502"
    assert read_said(400, b"[]").label == "http_400"
    assert read_said(200, b"short").label == "unreadable"
    assert together([Said("b", None), Said("a", None), Said("b", None)]) == "a+b"


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fedpriv.cli", "attack", "relays", "slow_sender"]
    running = subprocess.Popen([*command, "--folder", str(tmp_path / "kept")], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while len(_with(str(tmp_path))) < 8 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)
    assert len(_with(str(tmp_path))) >= 8
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in said
    assert not _with(str(tmp_path))


def _with(text: str) -> list[int]:
    """Return the processes whose command line has a text."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and int(each.name) != os.getpid():
            try:
                if text.encode() in (each / "cmdline").read_bytes():
                    found.append(int(each.name))
            except OSError:
                continue
    return found
