"""docs/relays.md: its commands are run, and its tables are what the code has."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.bench._load import series
from fedpriv import cli
from fedpriv.relays.attempt import UNREACHABLE
from fedpriv.relays.plan import Layout, Plan
from fedpriv.relays.settings import AdversarySettings, ClientSettings, ModelServerSettings, RelaySettings
from fedpriv.services.outgoing import healthy
from fedpriv.services.settings import HttpLimits
from fedpriv.sharing.causes import Cause

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "relays.md").read_text()
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)]
START, APART = BLOCKS


def table(heading: str) -> list[list[str]]:
    """The rows of the table that begins with this line, cell by cell."""
    start = PAGE.index(heading)
    rows = PAGE[start : PAGE.index("\n\n", start)].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def started(command: str, folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "fedpriv.cli", *shlex.split(command)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )


def ended(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    process.wait(30)
    process.stdout.close()


def test_every_command_of_the_page_is_of_a_kind_that_these_tests_run():
    assert [command.split()[2] for command in START] == ["up", "submit", "submit"]
    assert [command.split()[2] for command in APART] == ["keys", "serve", "serve"]


@pytest.mark.slow
def test_the_first_three_commands_answer_and_draw_and_every_series_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(1).integers(0, 256, (36, 60), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "eye.png")
    up = started(START[0], tmp_path)
    try:
        while "Ctrl-C" not in (line := up.stdout.readline()):
            assert line, (tmp_path / "log").read_text()
        for command in START[1:]:
            cli.main(shlex.split(command)[1:])
        lines = capsys.readouterr().out.splitlines()
        assert ["gaze" in line for line in lines] == [True, True]
        assert ["emotion" in line for line in lines] == [True, False]
        assert (tmp_path / "eye.answer.png").exists()
        assert (tmp_path / "answers" / "eye.answer.png").exists()
        shown = series(Layout.read(Path("outputs/relays")).urls["model_server"])
        named = [name for row in table("| series |") for name in re.findall(r"`(\w+)`", row[0])]
        assert len(named) > 10
        assert [name for name in named if not any(each.startswith(name) for each in shown)] == []
    finally:
        ended(up)


@pytest.mark.slow
def test_services_started_one_by_one_speak_https(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.main(shlex.split(APART[0])[1:])
    assert "model_server" in capsys.readouterr().out
    folder = tmp_path / "secrets"
    assert {path.name for path in folder.glob("client-*.json")} == {"client-0.json", "client-1.json"}
    layout = Layout.read(folder)
    running = [started(command, tmp_path) for command in APART[1:]]
    try:
        until = time.monotonic() + 60
        for service in ("model_server", "relay-a"):
            assert layout.urls[service].startswith("https:")
            while not healthy(layout.urls[service], layout.ca):
                assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.1)
    finally:
        for process in running:
            ended(process)


def test_every_setting_of_the_table_has_the_default_that_stands_there():
    kinds = {
        "model server": ModelServerSettings(),
        "relay": RelaySettings(),
        "client": ClientSettings(),
        "adversary": AdversarySettings(),
        "all": RelaySettings(),
    }
    listed = table("| setting |")
    for name, default, of, _ in listed:
        value = kinds[of]
        for part in name.strip("`").split("."):
            value = getattr(value, part)
        assert (value if isinstance(value, str) else json.dumps(value)) == default, name
    # what is not listed says where things are, or how many shares, which the commands say
    elsewhere = {"host", "port", "service", "tls", "http", "log_level"} | {
        "key_file",
        "clients_file",
        "relays_file",
        "models",
        "digests",
        "tracking_uri",
    }
    names = {(of, name.strip("`")) for name, _, of, _ in listed}
    assert {name for of, name in names if of == "model server"} == set(
        vars(ModelServerSettings())
    ) - elsewhere
    assert {name for of, name in names if name.startswith("http.")} == {
        f"http.{name}" for name in vars(HttpLimits())
    }


def test_every_cause_is_explained():
    assert {row[0].strip("`") for row in table("| cause |")} == {each.label for each in Cause} | {UNREACHABLE}


def test_the_numbers_of_the_text_are_the_plans():
    assert (Plan().shares, Plan().relays) == (3, 4)
    assert "A picture becomes 3 shares" in PAGE
    assert "through another of 4 relays" in PAGE


def test_every_link_of_the_page_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
