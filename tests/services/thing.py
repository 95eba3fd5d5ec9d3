"""The echo as a program, for tests of how services start and end: ``python -m tests.services.thing``."""

import sys

from fedpriv.arguments import Parser, command_line
from fedpriv.services.ending import end_with_parent
from fedpriv.services.options import keeps, listening, listens, most_bytes
from fedpriv.services.running import run
from fedpriv.services.settings import ServiceSettings
from tests.services.serving import echoing


def main() -> None:
    parser = Parser("thing")
    listens(parser, 8099)
    keeps(parser, "things", 2)
    parser.add_argument("--with-parent", type=int)
    options = parser.parse_args(sys.argv[1:])
    if options.with_parent is not None:
        end_with_parent(options.with_parent)
    settings = ServiceSettings(**listening(options), service="thing")
    sys.stderr.write(f"keeps {most_bytes(options)}\n")
    run(echoing(settings), settings, "thing serve")


if __name__ == "__main__":
    with command_line("fedpriv"):
        main()
