"""Options that several commands of ``fedpriv faces`` have."""

import argparse
from pathlib import Path

from fedpriv.config.tracking_address import checked_address

OWNER, CALLER = Path("keys-faces"), Path("faces-caller")
SERVER_PORT, KEYHOLDER_PORT = 8092, 8093
SERVER, KEYHOLDER = f"http://127.0.0.1:{SERVER_PORT}", f"http://127.0.0.1:{KEYHOLDER_PORT}"


def owns(parser: argparse.ArgumentParser) -> None:
    """Add the owner's folder."""
    parser.add_argument(
        "--owner",
        type=Path,
        default=OWNER,
        metavar="FOLDER",
        help=f"with secret.key, made by `fedpriv keys new faces`; {OWNER}",
    )


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
        help="face model: a run's output folder, an MLflow run id, models:/NAME/VERSION, a .npz file of "
        "`fedpriv faces export`, or pixels:D (no model, to try the services)",
    )
    parser.add_argument(
        "--tracking-uri", type=checked_address, metavar="URI", help="the MLflow store of a run id"
    )
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
        help="send the embedding in clear: a thousandth of the bytes, and the server sees it; not to a plain "
        "gallery",
    )
    connects(parser, keyholder=True)
    embeds(parser)
