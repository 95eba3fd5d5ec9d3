"""The README's commands are run, for fewer rounds, and the refusals that it shows are what they print."""

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from fedpriv.faces.embed import load_embedder
from tests.faces.processes import service
from tests.integration.forked import environment, run_forked

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
# they need each other, the services beside them
FACES = COMMANDS[
    COMMANDS.index("fedpriv run task=face federation.rounds=12 hydra.run.dir=outputs/faces") : COMMANDS.index(
        "fedpriv keys new table"
    )
]
STATS = [command for command in COMMANDS if command.startswith(("fedpriv stats", "fedpriv keys new table"))]
TOUR = [
    command
    for command in COMMANDS
    if command.startswith("fedpriv run") and "my_fer" not in command and command not in FACES
]
# what the text around them runs; asking through relays is run by tests/integration/test_relayed_run.py
TOUR += [each for each in re.findall(r"`(fedpriv run [^`]+)`", README) if "relayed_inference" not in each]
PICTURES = [
    command for command in COMMANDS if command.startswith(("fedpriv keys new images", "fedpriv imagediff"))
]
# the last pair stands in the text
PICTURES += ["fedpriv imagediff reference door door.png", "fedpriv imagediff run --reference door now.png"]
# the one that registers at a run's end is of the tour
MODELS = COMMANDS[COMMANDS.index("fedpriv register RUN_ID gaze --alias champion") :][:3]
DATA = [
    command
    for command in COMMANDS
    if (command.startswith("fedpriv-data") or "my_fer" in command) and command not in FACES
]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def test_every_command_is_of_a_kind_that_these_tests_run():
    others = [
        c
        for c in COMMANDS
        # the demonstration is run by tests/attacks/relays/test_demo.py, compare by
        # tests/experiments/test_compare.py
        if c not in TOUR + DATA + PICTURES + FACES + STATS + MODELS
        and not c.startswith(("make run", "make test", "mlflow ui", "fedpriv compare"))
        and c != "fedpriv relays demo"
    ]
    assert not others
    assert len(TOUR) >= 5
    assert any("audit.enabled=true" in command for command in TOUR)


def taste(command: str) -> str:
    """The same command for two rounds; the figures of long training are checked in tests/tasks."""
    short = re.sub(r" federation\.rounds=\d+", "", command) + " federation.rounds=2"
    # nothing but a silent client waits so long
    short = short.replace("client_timeout_s=10", "client_timeout_s=3")
    if "task=emotion" in command or "task=face" in command:
        short += " data.people=24 evaluation.test_subjects=8"
    if "task=emotion" in command:
        short += " data.images_per_person=24"
    elif "task=face" not in command and "data.root" not in command:
        short += " data.images_per_person=16"
    if "audit.enabled" in command:
        short += " audit.canaries=200"
    if "search" in command:
        short += " hydra.sweeper.n_trials=3"
    if command != TOUR[0]:  # starting worker processes takes longer than such a run
        short += " engine.workers=0 engine.threads=1"
    return short


@pytest.mark.slow
@pytest.mark.parametrize("command", TOUR)
def test_the_tours_commands_run_and_end_with_the_table(command, tmp_path, request):
    if "FACES" in command:
        command = command.replace("FACES", str(request.getfixturevalue("real_data") / "orl_faces"))
    # the commands after this one start as the first does
    done = (shell if command == TOUR[0] else run_forked)(taste(command), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    if " -m " in command:
        assert re.search(r"(\d+) jobs: \1 finished", done.stdout)
        return
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
        done = run_forked(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    drawn = {path.name for path in (tmp_path / "outputs" / "imagediff").glob("*.png")}
    assert len(drawn) >= 3


def shown(first: str) -> list[str]:
    """Return the lines of the block of output that begins with ``first``."""
    (block,) = re.findall(rf"```\n({re.escape(first)}.*?)```", README, re.DOTALL)
    return block.splitlines()


@pytest.mark.slow
def test_the_commands_on_faces_run_with_their_services_and_answer_as_plain_embeddings_do(tmp_path):
    """The model is trained for two rounds here, so that names may differ from those that are shown."""
    work, said = tmp_path / "work", ""
    work.mkdir()
    short = "data.people=24 data.images_per_person=8 evaluation.test_subjects=8 engine.workers=0"
    asked = ("verify", "identify")
    with contextlib.ExitStack() as running:
        server = keyholder = ""
        for command in FACES:
            _, group, name, *others = shlex.split(command)
            if others[-1] == "&":
                url, _ = running.enter_context(service(name, *others[:-1], folder=work))
                server, keyholder = (server, url) if name == "keyholder" else (url, keyholder)
                continue
            if command == FACES[0]:
                command = command.replace("rounds=12", "rounds=2") + f" {short}"
            if group == "faces" and name in (*asked, "enroll", "delete"):
                command += f" --server {server}"
            if name in asked:
                command += f" --keyholder {keyholder}"
            done = run_forked(command, work)
            assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
            said += done.stdout if name in (*asked, "delete") else ""
    model = load_embedder(str(work / "faces.npz"))
    pictures = [
        [work / "people" / f"face000{who}" / f"000{which}.jpg" for which in range(6)] for who in range(8)
    ]
    gallery = np.stack([model.read(files[:3]).sum(axis=0) for files in pictures])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    scores = np.stack([model.read([pictures[who][5]])[0] @ gallery.T for who in (0, 2, 4)])

    assert model.false_accepts is not None
    far, threshold = model.false_accepts.at(0.1) or (0.0, 0.0)
    assert far == 0.1

    def best(row: int, people: range) -> str:
        found = max(people, key=lambda who: scores[row, who])
        return f"face000{found}" if scores[row, found] > threshold else "nobody"

    assert said.splitlines() == [
        f"{'' if scores[0, 0] > threshold else 'not '}accepted  (31 openings left today)",
        f"people/face0002/0005.jpg: {best(1, range(8))}  (30 openings left today)",
        f"people/face0004/0005.jpg: {best(2, range(8))}  (29 openings left today)",
        "deleted face0000; 7 others were encrypted anew",
        f"people/face0000/0005.jpg: {best(0, range(1, 8))}  (28 openings left today)",
    ]

    def unnamed(lines: list[str]) -> list[str]:
        return [re.sub(r"^(not )?accepted|: \w+ ", "", line) for line in lines]

    assert unnamed(said.splitlines()) == unnamed(shown("accepted"))


@pytest.mark.slow
def test_the_commands_on_tables_run_and_print_what_is_shown(tmp_path, real_data):
    assert len(STATS) == 5
    shutil.copy(real_data / "framingham.csv", tmp_path)
    printed = []
    for command in STATS:
        done = run_forked(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
        printed.append(done.stdout)
    lines = iter(printed[-2].splitlines())
    # in this order, with others between them
    assert all(line in lines for line in shown("column  "))
    table = np.genfromtxt(real_data / "framingham.csv", delimiter=",", names=True)
    columns = json.loads(printed[-1])["columns"]
    assert set(columns) == set(table.dtype.names)
    for name, found in columns.items():
        values = table[name][np.isfinite(table[name])]
        assert found["count"] == len(values)
        assert found["mean"] == pytest.approx(values.mean(), rel=1e-9)
        assert found["standard_deviation"] == pytest.approx(values.std(ddof=1), rel=1e-9)


@pytest.mark.slow
def test_the_commands_on_registered_models_run_one_after_the_other(tmp_path):
    done = run_forked(taste("fedpriv run task=gaze"), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    store = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = store.search_runs([store.get_experiment_by_name("fedpriv").experiment_id])
    register, evaluate, relays = MODELS
    done = run_forked(register.replace("RUN_ID", run.info.run_id), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert store.get_model_version_by_alias("gaze", "champion").run_id == run.info.run_id
    done = run_forked(evaluate, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "angular error" in done.stdout
    with subprocess.Popen(
        shlex.split(relays), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as serving:
        lines = list(itertools.takewhile(lambda line: "Ctrl-C" not in line, serving.stdout))
        assert serving.poll() is None, "".join(lines)
        serving.terminate()


@pytest.mark.slow
def test_the_commands_on_data_run_one_after_the_other(tmp_path):
    assert len(DATA) >= 5
    for command in DATA:
        done = run_forked(command, tmp_path)
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


def test_mlflow_shows_the_runs(tmp_path, database):
    database(tmp_path / "mlflow.db")
    command = next(command for command in COMMANDS if command.startswith("mlflow ui"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [*shlex.split(command), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        cwd=tmp_path,
        # or it starts seven processes for jobs of its own, which show no run
        env={**environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
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
        done = run_forked(command, tmp_path)
        assert (done.returncode, done.stderr) == (2, line + "\n")
        assert not list(tmp_path.iterdir())


def test_no_placeholder_is_left():
    assert "@@" not in README


def test_the_documents_that_the_readme_names_are_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
