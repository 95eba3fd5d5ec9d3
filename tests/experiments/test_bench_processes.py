"""Fresh processes of benchmarks import nothing from the folder in which the command was given."""

import os
import subprocess
from pathlib import Path

import pytest

from experiments.bench import engine, extract, secure, tracking


class Started(Exception):
    """Something was to be started."""


@pytest.mark.parametrize(
    ("bench", "arguments"),
    [(engine, ["ours"]), (extract, ["ours", Path()]), (secure, ["bfv", []]), (tracking, ["off", Path(), []])],
)
def test_a_users_files_in_the_working_folder_are_not_imported(bench, arguments, tmp_path, monkeypatch):
    def start(command, **named):
        raise Started(command)

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", start)
        patched.setattr(subprocess, "Popen", start)
        with pytest.raises(Started) as caught:
            bench._in_fresh_process(*arguments)
    (command,) = caught.value.args
    (tmp_path / "queue.py").write_text("raise ImportError('a file of the user')\n")
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "own.py").touch()
    # -c puts the working folder where -m does
    begun = [*command[: command.index("-m")], "-c", "import own, queue"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "asked")}
    assert subprocess.run(begun, env=environment, check=False).returncode == 0
