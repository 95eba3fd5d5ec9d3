"""One parser for every command line: one line, status 2, and the help of argparse."""

import argparse

import pytest

from fedpriv.arguments import Parser
from fedpriv.cli import main
from fedpriv.errors import UserError


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
