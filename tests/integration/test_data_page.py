"""docs/data.md: its commands are run as they stand."""

import re
import shlex
from pathlib import Path

import pytest

from data_tools.cli import main as fedpriv_data
from fedpriv.formats.image_list import ListEntry, write_list
from fedpriv.formats.image_record import ImageHeader
from tests.conftest import ROOT
from tests.data_tools.made import encoded, record_file
from tests.integration.forked import run_forked

PAGE = (ROOT / "docs" / "data.md").read_text()
EXTRACT, SYNTHESISE = (block.splitlines() for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
IMAGES = 12


def run(command: str) -> None:
    """Run a command on data in this process."""
    name, *arguments = shlex.split(command)
    assert name == "fedpriv-data"
    fedpriv_data(arguments)


def test_records_become_folders_and_a_sheet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record_file(
        tmp_path / "train.rec",
        ((ImageHeader(float(number % 3), number), encoded(20 * number)) for number in range(IMAGES)),
    )
    write_list(
        tmp_path / "train.lst",
        [ListEntry(number, (float(number % 3),), f"{number % 3}/{number}.jpg") for number in range(IMAGES)],
    )
    for command in EXTRACT:
        run(command)
    assert len(list(Path("faces").rglob("*.jpg"))) == IMAGES
    assert Path("sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_made_gaze_is_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *made, trained = SYNTHESISE
    for command in made:
        run(command)
    done = run_forked(trained, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Run summary" in done.stdout
