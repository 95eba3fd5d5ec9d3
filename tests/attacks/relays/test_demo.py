"""The demonstration: the original takes the replay, the services here do not, and both are told truly."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.attacks.relays import demo
from fedpriv.attacks.relays.demo_runs import _forged, on_original, on_ours
from fedpriv.attacks.relays.holdings import eye_images
from fedpriv.cli import main
from fedpriv.errors import UserError
from fedpriv.relays.client import RelayClient
from fedpriv.relays.courier import Courier
from fedpriv.relays.plan import Plan
from fedpriv.relays.sessions import now_ms
from fedpriv.services.outgoing import connections
from fedpriv.serving.answers import KINDS
from fedpriv.serving.defaults import default_models
from tests.relays.running import Running, client_settings

EYES = list(eye_images(2, seed=9))


def local():
    return default_models().answer(EYES, [KINDS] * 2)


def test_the_original_drops_the_plain_replay_and_answers_the_rewritten_one() -> None:
    models = default_models()
    run = asyncio.run(on_original(EYES, lambda image: models.answer([image], [KINDS])[0]))
    assert [(each.how, each.accepted) for each in run.replays] == [
        ("as it is", False),
        ("its id rewritten", True),
    ]
    np.testing.assert_array_equal(run.images[0], EYES[0])
    # relay a has the middle band of both
    np.testing.assert_array_equal(run.images[1], np.concatenate([EYES[1][:12], EYES[0][12:24], EYES[1][24:]]))
    assert run.answers[0] == local()[0]
    assert run.answers[1] == models.answer([run.images[1]], [KINDS])[0] != local()[1]
    assert [set(each) for each in run.received] == [set(each.servers) for each in run.slots]


def test_here_every_replay_is_refused_and_a_genuine_piece_taken(tmp_path: Path) -> None:
    plan = Plan(adversary=True, server={"set_timeout_s": 30.0}, client={"share_s": 30.0})
    with Running(tmp_path / "c", plan) as running:
        run = asyncio.run(on_ours(EYES, running.layout))
        assert list(run.answers) == local()
        assert [each.accepted for each in run.replays] == [False] * 3
        causes = [each.cause for each in run.replays]
        assert causes[0] == "already_used"
        assert causes[1] in ("wrong_relay", "not_authentic")  # as the schedule has it
        assert causes[2] == "not_authentic"
        assert all("a" in each and len(each) == 3 for each in run.envelopes)

        async def genuine():
            settings = client_settings(running.layout)
            async with RelayClient(settings) as client, connections() as http:
                sealed = (await client.session()).seal(EYES[0], KINDS, now_ms())
                relay, envelope = sealed.shares[0]
                upstream = Courier(http, f"{running.layout.urls[f'relay-{relay}']}/v1/shares")
                try:
                    return await _forged(upstream, "not at all", envelope)
                finally:
                    await upstream.close()

        assert asyncio.run(genuine()).accepted


@pytest.mark.parametrize("name", ["seen.png", "answers.png", "summary.json"])
def test_files_of_somebody_else_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=rf"{name}: is there, and no demo's; name another folder"):
        demo.main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


def test_a_folder_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="name another folder") as caught:
        demo.main(["--out", str(tmp_path / "file")])
    assert "\n" not in str(caught.value)


def test_relays_lists_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    main(["relays", "--help"])
    assert "\n  demo " in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_tells_draws_and_may_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        # the first time with services in this process: seven fewer to start
        patched.setattr(demo, "Constellation", Running)
        try:
            main(["relays", "demo", "--out", str(folder)])
        finally:
            signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == ""
    first = (folder / "summary.json").stat()
    command = [sys.executable, "-m", "fedpriv.cli", "relays", "demo", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "summary.json").stat().st_mtime_ns > first.st_mtime_ns
    lines = done.stdout.splitlines()
    assert sum("ACCEPTED" in line for line in lines) == 1
    assert sum("refused" in line for line in lines) == 4
    assert sum("the model's own answer" in line for line in lines) == 2
    assert sum("WRONG" in line for line in lines) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["answers.png", "seen.png", "summary.json"]
    for name in ("answers.png", "seen.png"):
        with Image.open(folder / name) as picture:
            picture.verify()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["replay_refused"] is True
    assert summary["fedpriv"]["answers"] == summary["model"]
    assert summary["original"]["answers"][0] == summary["model"][0]
    assert summary["original"]["gaze_off_deg"][1] > 1.0
