"""One parser for every command line: one line, status 2, and the help of argparse."""

import argparse
import os
import subprocess
import sys

import pytest

from data_tools.cli import main as data_main
from fedpriv.arguments import Parser
from fedpriv.cli import main
from fedpriv.errors import UserError
from fedpriv.serving.export import main as export_main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["privacy", "show", "--delta", "x"], "privacy: argument --delta: invalid float value: 'x'"),
        (["privacy"], "privacy: the following arguments are required: command"),
        (["attack", "audit", "--level", "foo"], "attack audit: argument --level: invalid choice"),
        (["bench", "foo"], "bench: argument name: invalid choice"),
        (["evaluate"], "evaluate: one of the arguments --run --checkpoint is required"),
        (["relays", "up", "--shares", "x"], "relays up: argument --shares: invalid int value"),
        (["enrol", "show"], "enrol show: the following arguments are required"),
        (["enrol", "party", "k", "--client", "0", "--two\nlines"], "enrol party: unrecognized arguments"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_command_and_its_help(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"fedpriv: {said}")
    assert error.endswith(" --help`\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("made", [Parser, argparse.ArgumentParser])
def test_the_help_is_that_of_argparse(made, capsys):
    parser = made("fedpriv thing", description="Does it.")
    parser.add_argument("--times", type=int, help="how often")
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: fedpriv thing [-h] [--times TIMES]\n\nDoes it.\n")


def test_a_program_of_its_own_is_named_once():
    with pytest.raises(UserError, match=r"^unrecognized arguments: --x; see `python -m that --help`$"):
        Parser("python -m that").parse_args(["--x"])


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        (data_main, ["split"], "fedpriv-data: argument COMMAND: invalid choice: 'split'"),
        (data_main, ["extract"], "fedpriv-data: the following arguments are required: --rec, --out"),
        (data_main, ["list", "--all"], "fedpriv-data: unrecognized arguments: --all"),
        (export_main, [], "fedpriv: the following arguments are required: source, file"),
        (export_main, ["a", "b.npz", "--quarter"], "fedpriv: unrecognized arguments: --quarter"),
    ],
)
def test_programs_of_their_own_say_their_mistakes_in_one_line_too(program, arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        program(arguments)
    assert stopped.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(said)
    assert error.endswith(" --help`\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("fedpriv.cli", ["--help"]),
        ("fedpriv.cli", ["privacy", "--help"]),
        ("data_tools.cli", []),
    ],
    ids=str,
)
def test_output_that_nobody_reads_any_more_is_no_traceback(module, arguments, buffered):
    """As in ``fedpriv --help | head -1``: the reader is gone before anything, or only the end, is written."""
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    try:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment, check=False)
    finally:
        os.close(write)
    assert done.stderr == b""
    # argparse itself passes over a help that cannot be written at once
    assert done.returncode in ((141,) if buffered else (0, 141))
