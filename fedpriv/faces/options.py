"""Options that several commands of ``fedpriv faces`` have."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fedpriv.arguments import Parser

OWNER, CALLER = Path("keys-faces"), Path("faces-caller")
SERVER, KEYHOLDER = "http://127.0.0.1:8090", "http://127.0.0.1:8091"


def owns(parser: argparse.ArgumentParser) -> None:
    """Add the owner's folder."""
    parser.add_argument(
        "--owner",
        type=Path,
        default=OWNER,
        metavar="FOLDER",
        help=f"with secret.key, made by `fedpriv keys new faces`; {OWNER}",
    )


def listens(parser: argparse.ArgumentParser, port: int) -> None:
    """Add where a service listens, and its certificate."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1")
    parser.add_argument("--port", type=int, default=port, help=f"{port} without")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="of this service; plain HTTP without")
    parser.add_argument("--key", type=Path, metavar="PEM", help="of the certificate, mode 0600")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def connects(parser: argparse.ArgumentParser, keyholder: bool) -> None:
    """Add where the services are."""
    parser.add_argument("--server", default=SERVER, metavar="URL", help=f"{SERVER} without")
    if keyholder:
        parser.add_argument("--keyholder", default=KEYHOLDER, metavar="URL", help=f"{KEYHOLDER} without")
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority of https services' certificates")


def embeds(parser: argparse.ArgumentParser) -> None:
    """Add the model."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN",
        help="face model: a run's output folder, an MLflow run id, a .npz file of `fedpriv faces export`, or "
        "pixels:D (no model, to try the services)",
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="the MLflow store of a run id")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each answer")


def asks(parser: argparse.ArgumentParser) -> None:
    """Add what a caller needs."""
    parser.add_argument(
        "--caller",
        type=Path,
        default=CALLER,
        metavar="FOLDER",
        help=f"made by `fedpriv faces caller`; {CALLER}",
    )
    parser.add_argument(
        "--plain-probe",
        action="store_true",
        help="send the embedding in clear: a thousandth of the bytes, and the server sees it",
    )
    connects(parser, keyholder=True)
    embeds(parser)


def command_parser(name: str, function: Callable[..., None], examples: str) -> Parser:
    """Return the parser of a command, described by its function's docstring."""
    return Parser(
        f"fedpriv faces {name}",
        description=function.__doc__,
        epilog=f"examples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
