"""What every command line of fedpriv has: commands and their help; a mistake is one line, `| head` none."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import indent
from typing import NoReturn

from fedpriv.errors import UserError

Command = Callable[[list[str]], None]
"""Takes what follows its name; its docstring, one line, is its help."""

_INDENT = "  "
_HELP = """usage: {program} COMMAND ...

{about}

commands:
{commands}

examples:
{examples}

`{program} COMMAND --help` tells more.
"""


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as all of fedpriv does; everything else is argparse's, ``--help`` too.

    Raises:
        UserError: instead of printing the usage and leaving; the command line prints it, with status 2.
    """

    def error(self, message: str) -> NoReturn:
        """Refuse, and say which help tells more."""
        command = self.prog.removeprefix("fedpriv ")
        named = "" if command == self.prog else f"{command}: "
        raise UserError(f"{named}{message}; see `{self.prog} --help`")


def command_parser(program: str, command: Callable[..., None], examples: str, more: str = "") -> Parser:
    """Return the parser of one command, described by its docstring.

    Args:
        program: as it is called, e.g. ``fedpriv keys new``.
        command: what is called.
        examples: command lines that do something, one per line.
        more: what else the help is to tell, before the examples.
    """
    return Parser(
        program,
        description=command.__doc__,
        epilog=f"{more}\n\nexamples:\n{indent(examples, _INDENT)}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run_command(
    program: str, about: str, commands: Mapping[str, Command], examples: str, arguments: Sequence[str]
) -> None:
    """Run the one of several commands that is named first, or print what there are.

    Args:
        program: as they are called, e.g. ``fedpriv keys``.
        about: what they are for.
        commands: by name.
        examples: command lines, one per line.
        arguments: of the command line.

    Raises:
        UserError: there is no such command, or a file cannot be read or written.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = 1 + max(map(len, commands))
        lines = "\n".join(f"  {name:{width}} {command.__doc__}" for name, command in commands.items())
        shown = indent(examples, _INDENT)
        sys.stdout.write(_HELP.format(program=program, about=about, commands=lines, examples=shown))
        return
    name, *rest = arguments
    if name not in commands:
        group = program.removeprefix("fedpriv ")
        raise UserError(f"{group} {name}: no such command; choose one of {', '.join(commands)}")
    try:
        commands[name](rest)
    except ConnectionError:  # a closed pipe among them: no file's fault
        raise
    except OSError as error:
        place = error.filename or "file"
        raise UserError(f"{place}: {error.strerror or error}; choose another place") from error


@contextlib.contextmanager
def command_line(program: str) -> Iterator[None]:
    """Run a program's whole work, its help included, and leave as programs do.

    Guarantee:
        - A user's mistake is one line on standard error and status 2; Ctrl-C is 130.
        - Standard output closed by its reader (`| head`) is 141 without a word, also when that shows only in
          what was still buffered.

    Args:
        program: named at the start of the line.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except UserError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # what is still buffered goes nowhere: the interpreter would fail on it at its end
        with contextlib.suppress(OSError):  # a standard output of another kind has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
