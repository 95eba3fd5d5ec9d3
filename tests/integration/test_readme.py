"""The README's commands are run, for fewer rounds, and the refusals that it shows are what they print."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
TOUR = [command for command in COMMANDS if command.startswith("fedpriv run") and "my_fer" not in command]
# what the text around them runs; asking through relays is run by tests/integration/test_relayed_run.py
TOUR += [each for each in re.findall(r"`(fedpriv run [^`]+)`", README) if "relayed_inference" not in each]
PICTURES = [command for command in COMMANDS if command.startswith(("fedpriv keys", "fedpriv imagediff"))]
# the last pair stands in the text
PICTURES += ["fedpriv imagediff reference door door.png", "fedpriv imagediff run --reference door now.png"]
DATA = [command for command in COMMANDS if command.startswith("fedpriv-data") or "my_fer" in command]


def environment() -> dict[str, str]:
    """That of the tests, which names their cache, with the commands of this Python first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def forked():
    """Runs a command of the README like :func:`shell`, without importing everything again."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.command_forks"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        text=True,
        bufsize=1,
    )

    def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        name, *arguments = shlex.split(command)
        assert name == "fedpriv"
        work = folder / "work"
        work.mkdir()
        said = {stream: str(folder / stream) for stream in ("stdout", "stderr")}
        parent.stdin.write(json.dumps({"arguments": arguments, "folder": str(work), **said}) + "\n")
        code = int(parent.stdout.readline())
        texts = [Path(path).read_text() for path in said.values()]
        return subprocess.CompletedProcess(command, code, *texts)

    with parent:
        yield run
        parent.stdin.close()


def test_every_command_is_of_a_kind_that_these_tests_run():
    others = [
        c
        for c in COMMANDS
        # the demonstration is run by tests/attacks/relays/test_demo.py
        if c not in TOUR + DATA + PICTURES
        and not c.startswith(("make run", "make test", "mlflow ui"))
        and c != "fedpriv relays demo"
    ]
    assert not others
    assert len(TOUR) >= 5
    assert any("audit.enabled=true" in command for command in TOUR)


def taste(command: str) -> str:
    """The same command for two rounds; the figures of long training are checked in tests/tasks."""
    short = re.sub(r" federation\.rounds=\d+", "", command) + " federation.rounds=2"
    if "task=emotion" in command or "task=face" in command:
        short += " data.people=24 evaluation.test_subjects=8"
    if "task=emotion" in command:
        short += " data.images_per_person=24"
    elif "task=face" not in command and "data.root" not in command:
        short += " data.images_per_person=50"
    if "audit.enabled" in command:
        short += " audit.canaries=200"
    if command != TOUR[0]:  # starting worker processes takes longer than such a run
        short += " engine.workers=0"
    return short


@pytest.mark.slow
@pytest.mark.parametrize("command", TOUR)
def test_the_tours_commands_run_and_end_with_the_table(command, tmp_path, request, forked):
    if "FACES" in command:
        command = command.replace("FACES", str(request.getfixturevalue("real_data") / "orl_faces"))
    # the commands after this one start as the first does
    done = (shell if command == TOUR[0] else forked)(taste(command), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Run summary" in done.stdout
    assert "after training" in done.stdout
    assert ("proven by audit" in done.stdout) == ("audit.enabled" in command)
    assert len(list(tmp_path.glob("**/mlflow.db"))) == 1


@pytest.mark.slow
def test_the_commands_on_pictures_run_one_after_the_other(tmp_path):
    assert all(command.removeprefix("fedpriv imagediff ") in README for command in PICTURES)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    for name, image in zip(("before", "after", "door", "now"), (*images, *images), strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    for command in PICTURES:
        done = shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    drawn = {path.name for path in (tmp_path / "outputs" / "imagediff").glob("*.png")}
    assert len(drawn) >= 3


@pytest.mark.slow
def test_the_commands_on_data_run_one_after_the_other(tmp_path):
    assert len(DATA) >= 5
    for command in DATA:
        done = shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_make_runs_main_job_beats_the_mean_predictor_privately_and_encrypted(tmp_path):
    recipe = re.search(r"^run:.*\n\t\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, *shlex.split(recipe[1])],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    number = lambda label: float(re.search(rf"{label}[^│]*│ ([\d.]+)", done.stdout)[1])  # noqa: E731
    assert number("after training") < 0.75 * number("baseline")
    assert 7.5 < number("epsilon") <= 8.0
    for label in ("one update", "clients train", "decrypt", "MLflow run"):
        assert label in done.stdout


def test_mlflow_shows_the_runs(tmp_path):
    command = next(command for command in COMMANDS if command.startswith("mlflow ui"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [*shlex.split(command), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    assert answer.status == 200
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        pytest.fail("mlflow ui did not answer within a minute")
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def test_the_refusals_read_as_the_readme_says(tmp_path):
    block = re.search(r"```\n(\$ fedpriv run data\.poeple.*?)```", README, re.DOTALL)[1]
    examples = re.findall(r"\$ (.*)\n(.*)\n", block)
    assert len(examples) == 2
    for command, line in examples:
        done = shell(command, tmp_path)
        assert (done.returncode, done.stderr) == (2, line + "\n")
        assert not list(tmp_path.iterdir())


def test_no_placeholder_is_left():
    assert "@@" not in README


def test_the_documents_that_the_readme_names_are_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
