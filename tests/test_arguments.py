"""One parser for every command line: one line, status 2, and the help of argparse."""

import argparse
import os
import subprocess
import sys

import pytest

from data_tools.cli import main as data_main
from fedpriv.arguments import Parser, command_parser, run_command
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


def _greet(arguments: list[str]) -> None:
    """Greet somebody."""
    parser = command_parser(
        "fedpriv people greet", _greet, "fedpriv people greet anna\nfedpriv people greet", "More."
    )
    parser.add_argument("name")
    parser.add_argument("--loudly", action="store_true")
    sys.stdout.write(f"hello {parser.parse_args(arguments).name}\n")


def _fail(arguments: list[str]) -> None:
    """Fail as files, services and readers do."""
    raise {"file": FileNotFoundError(2, "No such file", "x.txt"), "full": OSError(28, "No space left")}.get(
        arguments[0], BrokenPipeError()
    )


def run_people(*arguments: str) -> None:
    commands = {"greet": _greet, "fail": _fail}
    run_command("fedpriv people", "About people.", commands, "fedpriv people greet anna", arguments)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_a_group_of_commands_lists_them(arguments, capsys):
    run_people(*arguments)
    assert capsys.readouterr().out == (
        "usage: fedpriv people COMMAND ...\n\nAbout people.\n\ncommands:\n  greet  Greet somebody.\n"
        "  fail   Fail as files, services and readers do.\n\nexamples:\n  fedpriv people greet anna\n\n"
        "`fedpriv people COMMAND --help` tells more.\n"
    )


def test_a_command_is_described_by_its_docstring_and_takes_no_abbreviation(capsys):
    run_people("greet", "anna")
    assert capsys.readouterr().out == "hello anna\n"
    with pytest.raises(SystemExit):
        run_people("greet", "--help")
    said = capsys.readouterr().out
    assert said.startswith("usage: fedpriv people greet [-h] [--loudly] name\n\nGreet somebody.\n")
    assert said.endswith("More.\n\nexamples:\n  fedpriv people greet anna\n  fedpriv people greet\n")
    with pytest.raises(UserError, match="people greet: unrecognized arguments: --loud;"):
        run_people("greet", "anna", "--loud")


def test_what_goes_wrong_with_a_command_is_one_line():
    with pytest.raises(UserError, match=r"^people bow: no such command; choose one of greet, fail$"):
        run_people("bow")
    with pytest.raises(UserError, match=r"^x\.txt: No such file; choose another place$"):
        run_people("fail", "file")
    with pytest.raises(UserError, match=r"^file: No space left; choose another place$"):
        run_people("fail", "full")
    with pytest.raises(BrokenPipeError):
        run_people("fail", "pipe")
