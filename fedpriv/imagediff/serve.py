"""Runs the server of differences; the other commands start it too, for one call."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import command_line, command_parser
from fedpriv.imagediff.service import DifferenceSettings, build_service
from fedpriv.services.options import keeps, listening, listens, most_bytes
from fedpriv.services.running import run

STORE = Path("outputs/imagediff/store")


def main(arguments: Sequence[str]) -> None:
    """Subtract encrypted pictures for whoever asks, until SIGTERM or Ctrl-C; this server cannot open any."""
    parser = command_parser(
        "fedpriv imagediff serve",
        main,
        "fedpriv imagediff serve\n"
        "fedpriv imagediff serve --host 0.0.0.0 --certificate server.pem --certificate-key server.key "
        "--only keys-images/public.key",
    )
    parser.add_argument(
        "--store", type=Path, default=STORE, metavar="FOLDER", help=f"of encrypted references; {STORE}"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="S", help="seconds, for another server that has the store"
    )
    parser.add_argument(
        "--only",
        type=Path,
        nargs="+",
        default=[],
        metavar="KEY",
        help="public keys served; anybody's without",
    )
    keeps(parser, "references", 16)
    listens(parser, 8090)
    options = parser.parse_args(arguments)
    settings = DifferenceSettings(
        **listening(options),
        store=options.store,
        wait_s=options.wait,
        most_bytes=most_bytes(options),
        only=tuple(map(str, options.only)),
    )
    os.umask(0o077)
    run(build_service(settings), settings, "imagediff serve")


if __name__ == "__main__":
    with command_line("fedpriv"):
        main(sys.argv[1:])
