"""Runs the server of differences; the other commands start it too, for one call."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import Parser, command_line
from fedpriv.errors import UserError
from fedpriv.imagediff.service import DifferenceSettings, build_service
from fedpriv.relays.logs import configure
from fedpriv.relays.serve import server
from fedpriv.relays.settings import TlsSettings

LISTENS = "listens on "
STORE = Path("outputs/imagediff/store")


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are ended first."""
    import argparse

    parser = Parser(
        "fedpriv imagediff serve",
        description="Subtract encrypted pictures for whoever asks; this server cannot open any.",
        epilog="examples:\n  fedpriv imagediff serve\n  fedpriv imagediff serve --host 0.0.0.0 "
        "--certificate server.pem --certificate-key server.key --only keys-images/public.key",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1 without")
    parser.add_argument("--port", type=int, default=8090, help="port, 0 for any that is free; 8090 without")
    parser.add_argument(
        "--store", type=Path, default=STORE, metavar="FOLDER", help=f"of encrypted references; {STORE}"
    )
    parser.add_argument(
        "--only",
        type=Path,
        nargs="+",
        default=[],
        metavar="KEY",
        help="public keys served; anybody's without",
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="PEM", help="of this server, for https; plain http without"
    )
    parser.add_argument("--certificate-key", type=Path, metavar="PEM", help="its private key, mode 0600")
    parser.add_argument("--most-gib", type=float, default=16.0, help="of references on disk; 16 GiB without")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 65536:
        parser.error(f"--port {options.port}: give 0 to 65535")
    settings = DifferenceSettings(
        host=options.host,
        port=options.port,
        tls=TlsSettings(options.certificate, options.certificate_key),
        log_level=options.log_level,
        store=options.store,
        most_bytes=round(max(0.0, min(options.most_gib, 1e6)) * 2**30),
        only=tuple(map(str, options.only)),
    )
    if options.until_eof:
        threading.Thread(target=_end_with_input, daemon=True).start()
    serve(settings)


def serve(settings: DifferenceSettings) -> None:
    """Listen, say where on standard output, and serve.

    Raises:
        UserError: the address is not to be had, or a file cannot be used.
    """
    running = server(build_service(settings), settings)
    try:
        listening = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise UserError(
            f"{settings.host}:{settings.port}: {error.strerror or error}; choose --host and --port"
        ) from error
    os.umask(0o077)
    configure(settings.service, settings.log_level)
    scheme = "http" if settings.tls.certificate is None else "https"
    sys.stdout.write(f"{LISTENS}{scheme}://{settings.host}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    with listening:
        running.run(sockets=[listening])
    if not running.started:
        sys.exit(1)


def _end_with_input() -> None:
    # not sys.stdin: its lock, held here, would abort the interpreter at its end
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with command_line("fedpriv"):
        main(sys.argv[1:])
