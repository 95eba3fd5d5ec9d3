"""What every command line of fedpriv has: a mistake is one line, and `| head` is none."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from fedpriv.errors import UserError


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
