"""Runs the server of statistics."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import command_line, command_parser
from fedpriv.services.options import keeps, listening, listens, most_bytes
from fedpriv.services.running import run
from fedpriv.stats.service import StatsSettings, build_service

_KEY = Path("keys-table/public.key")
_FOLDER = Path("outputs/stats")


def main(arguments: Sequence[str]) -> None:
    """Keep encrypted tables and add them up, until SIGTERM or Ctrl-C; this server cannot open any."""
    parser = command_parser(
        "fedpriv stats serve",
        main,
        "fedpriv stats serve --key public.key\n"
        "fedpriv stats serve --host 0.0.0.0 --certificate server.pem --certificate-key server.key",
    )
    parser.add_argument("--key", type=Path, default=_KEY, help=f"public key of the tables; {_KEY} without")
    parser.add_argument(
        "--folder", type=Path, default=_FOLDER, help=f"of tables and results; {_FOLDER} without"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes; one a core without")
    keeps(parser, "files", 64)
    listens(parser, 8091)
    options = parser.parse_args(arguments)
    if not 0 <= options.workers <= 1024:
        parser.error(f"--workers {options.workers}: choose 1 to 1024")
    settings = StatsSettings(
        **listening(options),
        key=options.key,
        folder=options.folder,
        most_bytes=most_bytes(options),
        workers=options.workers or len(os.sched_getaffinity(0)),
    )
    os.umask(0o077)
    run(build_service(settings), settings, "stats serve")


if __name__ == "__main__":
    with command_line("fedpriv"):
        main(sys.argv[1:])
