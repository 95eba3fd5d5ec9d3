"""The command line ``fedpriv faces``."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.faces.caller_command import identify, verify
from fedpriv.faces.options import command_parser, listens, owns
from fedpriv.faces.owner_command import caller, delete, enroll

_GALLERY = Path("faces-gallery")
_DIMENSION = 128


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = "\n".join(f"  {name:10} {function.__doc__}" for name, function in COMMANDS.items())
        print(_HELP.format(commands=lines))
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"faces {name}: no such command; choose one of {', '.join(COMMANDS)}")
    try:
        COMMANDS[name](rest)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or 'file'}: {error.strerror or error}; choose another place"
        ) from error


def _serve(arguments: list[str]) -> None:
    """Run the server: keeps the encrypted gallery and compares; has no secret key."""
    parser = command_parser(
        "serve",
        _serve,
        "fedpriv faces serve --public keys-faces/public.key\n"
        "  fedpriv faces serve --folder gallery --host 0.0.0.0 --certificate tls.pem --key tls.key",
    )
    parser.add_argument("--folder", type=Path, default=_GALLERY, help=f"of the gallery; {_GALLERY}")
    parser.add_argument(
        "--public", type=Path, metavar="FILE", help="the owner's public.key; needed to begin a gallery"
    )
    parser.add_argument(
        "--dimension", type=int, default=_DIMENSION, metavar="D", help="of the embeddings, to begin one; 128"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that compute; 1")
    listens(parser, 8090)
    options = parser.parse_args(arguments)
    from fedpriv.faces.running import run_server

    run_server(options)


def _keyholder(arguments: list[str]) -> None:
    """Run the key holder: tells callers accepted or not, or who, within their budget."""
    from fedpriv.faces.register import BUDGET

    parser = command_parser(
        "keyholder",
        _keyholder,
        "fedpriv faces keyholder --threshold 0.45\n  fedpriv faces keyholder --owner keys-faces --budget 10",
    )
    owns(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="COSINE",
        help="from which a face is accepted; depends on the model; 0.5",
    )
    parser.add_argument(
        "--budget", type=int, default=BUDGET, metavar="N", help=f"openings a day for each caller; {BUDGET}"
    )
    parser.add_argument(
        "--raw-scores",
        action="store_true",
        help="also tell scores: whoever gets as many as an embedding has numbers can rebuild the template",
    )
    listens(parser, 8091)
    options = parser.parse_args(arguments)
    from fedpriv.faces.running import run_keyholder

    run_keyholder(options)


def _export(arguments: list[str]) -> None:
    """Write a run's face model into one file: enrolling and asking then need no run."""
    parser = command_parser("export", _export, "fedpriv faces export outputs/2026-01-31/12-00-00 faces.npz")
    parser.add_argument("source", help="a run's output folder or an MLflow run id")
    parser.add_argument("file", type=Path, help="what to write, ending in .npz")
    parser.add_argument("--tracking-uri", metavar="URI", help="the MLflow store of a run id")
    options = parser.parse_args(arguments)
    from fedpriv.faces.embed import export, load_embedder

    export(options.source, options.file, options.tracking_uri)
    made = load_embedder(str(options.file))
    print(f"{options.file}: embeddings of {made.dimension} numbers, digest {made.digest[:16]}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "serve": _serve,
    "keyholder": _keyholder,
    "enroll": enroll,
    "verify": verify,
    "identify": identify,
    "delete": delete,
    "caller": caller,
    "export": _export,
}

_HELP = """usage: fedpriv faces COMMAND ...

Face verification and identification on a gallery that its server cannot read.

commands:
{commands}

The server computes and never opens; the key holder opens and never sees a probe; a caller is told yes or no,
or a name.

examples:
  fedpriv keys new faces
  fedpriv faces serve --public keys-faces/public.key &
  fedpriv faces enroll --people FOLDER --model faces.npz
  fedpriv faces keyholder --threshold 0.45 &
  fedpriv faces caller door-1
  fedpriv faces identify picture.png --model faces.npz

`fedpriv faces COMMAND --help` tells more."""
