"""Runs the server of statistics."""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import Parser, command_line
from fedpriv.errors import UserError
from fedpriv.relays.logs import configure
from fedpriv.relays.serve import server
from fedpriv.relays.settings import TlsSettings
from fedpriv.stats.service import StatsSettings, build_service

LISTENS = "listens on "
_KEY = Path("keys-table/public.key")
_FOLDER = Path("outputs/stats")


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM or Ctrl-C; the result under way is ended first."""
    parser = Parser(
        "fedpriv stats serve",
        description="Keep encrypted tables and add them up; this server cannot open any.",
        epilog="examples:\n  fedpriv stats serve --key public.key\n  fedpriv stats serve --host 0.0.0.0 "
        "--certificate server.pem --certificate-key server.key",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--key", type=Path, default=_KEY, help=f"public key of the tables; {_KEY} without")
    parser.add_argument(
        "--folder", type=Path, default=_FOLDER, help=f"of tables and results; {_FOLDER} without"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1 without")
    parser.add_argument("--port", type=int, default=8091, help="port, 0 for any that is free; 8091 without")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes; one a core without")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="for https; plain http without")
    parser.add_argument("--certificate-key", type=Path, metavar="PEM", help="its private key, mode 0600")
    parser.add_argument("--most-gib", type=float, default=64.0, help="of files on disk; 64 GiB without")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 65536:
        parser.error(f"--port {options.port}: give 0 to 65535")
    if not 0 <= options.workers <= 1024:
        parser.error(f"--workers {options.workers}: choose 1 to 1024")
    settings = StatsSettings(
        host=options.host,
        port=options.port,
        tls=TlsSettings(options.certificate, options.certificate_key),
        log_level=options.log_level,
        key=options.key,
        folder=options.folder,
        most_bytes=round(max(0.0, min(options.most_gib, 1e6)) * 2**30),
        workers=options.workers or len(os.sched_getaffinity(0)),
    )
    if options.until_eof:
        threading.Thread(target=_end_with_input, daemon=True).start()
    serve(settings)


def serve(settings: StatsSettings) -> None:
    """Listen, say where on standard output, and serve.

    Raises:
        UserError: the address is not to be had, or a file cannot be used.
    """
    os.umask(0o077)
    running = server(build_service(settings), settings)
    configure(settings.service, settings.log_level)
    try:
        listening = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise UserError(
            f"{settings.host}:{settings.port}: {error.strerror or error}; choose --host and --port"
        ) from error
    scheme = "http" if settings.tls.certificate is None else "https"
    sys.stdout.write(f"{LISTENS}{scheme}://{settings.host}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    with listening:
        running.run(sockets=[listening])
    if not running.started:
        sys.exit(1)


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with command_line("fedpriv"):
        main(sys.argv[1:])
