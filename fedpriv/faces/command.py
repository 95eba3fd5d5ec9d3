"""The command line ``fedpriv faces``."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import Command, command_parser, run_command
from fedpriv.config.tracking_address import checked_address
from fedpriv.faces.caller_command import identify, verify
from fedpriv.faces.options import KEYHOLDER_PORT, SERVER_PORT, owns
from fedpriv.faces.owner_command import caller, delete, enroll
from fedpriv.services.options import listens

_GALLERY = Path("faces-gallery")
_DIMENSION = 128


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    run_command("fedpriv faces", _ABOUT, COMMANDS, _EXAMPLES, arguments)


def _serve(arguments: list[str]) -> None:
    """Run the server: keeps the gallery, encrypted or plain, and compares; has no secret key."""
    parser = command_parser(
        "fedpriv faces serve",
        _serve,
        "fedpriv faces serve --public keys-faces/public.key\n"
        "fedpriv faces serve --public keys-faces/public.key --gallery plain --folder watch-list\n"
        "fedpriv faces serve --folder gallery --host 0.0.0.0 --certificate tls.pem --certificate-key tls.key",
    )
    parser.add_argument("--folder", type=Path, default=_GALLERY, help=f"of the gallery; {_GALLERY}")
    parser.add_argument(
        "--public", type=Path, metavar="FILE", help="the owner's public.key; needed to begin a gallery"
    )
    parser.add_argument(
        "--dimension", type=int, default=_DIMENSION, metavar="D", help="of the embeddings, to begin one; 128"
    )
    parser.add_argument(
        "--gallery",
        choices=("encrypted", "plain"),
        help="to begin one; plain: THE SERVER READS EVERY TEMPLATE, and only probes are encrypted; encrypted",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that compute; 1")
    listens(parser, SERVER_PORT)
    options = parser.parse_args(arguments)
    from fedpriv.faces.running import run_server

    run_server(options)


def _keyholder(arguments: list[str]) -> None:
    """Run the key holder: tells callers accepted or not, or who, within their budget."""
    from fedpriv.faces.false_accepts import FAR
    from fedpriv.faces.register import BUDGET

    parser = command_parser(
        "fedpriv faces keyholder",
        _keyholder,
        "fedpriv faces keyholder\n"
        "fedpriv faces keyholder --far 1e-4 --budget 10\n"
        "fedpriv faces keyholder --model faces.npz\n"
        "fedpriv faces keyholder --owner keys-faces --threshold 0.45",
    )
    owns(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="COSINE",
        help="from which a face is accepted; without, that of --far",
    )
    parser.add_argument(
        "--far",
        type=float,
        metavar="RATE",
        help="how often a stranger may be accepted as somebody, by what `fedpriv faces export` measured with "
        f"the model; {FAR:g}, or the least that it could measure",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="of `fedpriv faces export`, to take what was measured from; without, what enrolling with one "
        "left in the register",
    )
    parser.add_argument(
        "--budget", type=int, default=BUDGET, metavar="N", help=f"openings a day for each caller; {BUDGET}"
    )
    parser.add_argument(
        "--raw-scores",
        action="store_true",
        help="also tell scores: whoever gets as many as an embedding has numbers can rebuild the template",
    )
    listens(parser, KEYHOLDER_PORT)
    options = parser.parse_args(arguments)
    from fedpriv.faces.running import run_keyholder

    run_keyholder(options)


def _export(arguments: list[str]) -> None:
    """Write a run's face model into one file: enrolling and asking then need no run."""
    parser = command_parser(
        "fedpriv faces export", _export, "fedpriv faces export outputs/2026-01-31/12-00-00 faces.npz"
    )
    parser.add_argument("source", help="a run's output folder, an MLflow run id, or models:/NAME/VERSION")
    parser.add_argument("file", type=Path, help="what to write, ending in .npz")
    parser.add_argument(
        "--tracking-uri", type=checked_address, metavar="URI", help="the MLflow store of a run id"
    )
    options = parser.parse_args(arguments)
    from fedpriv.faces.embed import export, load_embedder
    from fedpriv.faces.false_accepts import FAR, in_words

    export(options.source, options.file, options.tracking_uri)
    made = load_embedder(str(options.file))
    print(f"{options.file}: embeddings of {made.dimension} numbers, digest {made.digest[:16]}")
    measured = made.false_accepts
    chosen = None if measured is None else measured.at(FAR)
    if measured is None or chosen is None:
        print("FAR not measured: that takes a run's folder, and people held out; choose --threshold yourself")
    else:
        print(in_words(measured, FAR, chosen))


COMMANDS: dict[str, Command] = {
    "serve": _serve,
    "keyholder": _keyholder,
    "enroll": enroll,
    "verify": verify,
    "identify": identify,
    "delete": delete,
    "caller": caller,
    "export": _export,
}

_ABOUT = """Face verification and identification under encryption: the server compares what it cannot read.

The server computes and never opens; the key holder opens and is sent no probe; a caller is told yes or no,
or a name. Where the server may know the templates, as of a list of its own, the gallery can be plain (`serve
--gallery plain`, `enroll --plain`): then probes alone are hidden from it. The key holder has the whole key:
one that was split (`fedpriv keys split`) has no service here."""

_EXAMPLES = """fedpriv keys new faces
fedpriv faces serve --public keys-faces/public.key &
fedpriv faces enroll --people FOLDER --model faces.npz
fedpriv faces keyholder &
fedpriv faces caller door-1
fedpriv faces identify picture.png --model faces.npz"""
