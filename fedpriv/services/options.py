"""Options of commands that run a service."""

import argparse
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.services.ending import end_with_input
from fedpriv.services.settings import TlsSettings

_MOST_GIB = 1e6


def listens(parser: argparse.ArgumentParser, port: int) -> None:
    """Add where it listens, its certificate, what it logs and when it ends."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1 without")
    parser.add_argument(
        "--port", type=int, default=port, help=f"port, 0 for any that is free; {port} without"
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="PEM", help="of this service, for https; plain http without"
    )
    parser.add_argument("--certificate-key", type=Path, metavar="PEM", help="its private key, mode 0600")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")


def keeps(parser: argparse.ArgumentParser, what: str, gib: float) -> None:
    """Add how much it keeps on disk."""
    parser.add_argument("--most-gib", type=float, default=gib, help=f"of {what} on disk; {gib:g} GiB without")


def listening(options: argparse.Namespace) -> dict[str, Any]:
    """Return fields of :class:`~fedpriv.services.settings.ServiceSettings`; end with the input if told to.

    Raises:
        UserError: the port is none.
    """
    if not 0 <= options.port < 65536:
        raise UserError(f"--port {options.port}: give 0 to 65535")
    if options.until_eof:
        end_with_input()
    return {
        "host": options.host,
        "port": options.port,
        "tls": TlsSettings(options.certificate, options.certificate_key),
        "log_level": options.log_level,
    }


def most_bytes(options: argparse.Namespace) -> int:
    """Return how much it keeps, within what a number of bytes may be."""
    gib: float = options.most_gib
    return round(max(0.0, min(gib, _MOST_GIB)) * 2**30)
