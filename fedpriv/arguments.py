"""The parser of every command line of fedpriv: a mistake is one line."""

import argparse
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
