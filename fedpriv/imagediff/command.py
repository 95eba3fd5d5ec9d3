"""The command line ``fedpriv imagediff``."""

import argparse
import contextlib
import functools
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedpriv.arguments import Command, command_parser, run_command
from fedpriv.errors import UserError

_KEYS = Path("keys-images")
_OUT = Path("outputs/imagediff")
_STORE = _OUT / "store"


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    run_command("fedpriv imagediff", _ABOUT, COMMANDS, _EXAMPLES, arguments)


def _serve(arguments: list[str]) -> None:
    """Run a server that subtracts encrypted pictures and can open none."""
    from fedpriv.imagediff.serve import main as serve

    serve(arguments)


def _run(arguments: list[str]) -> None:
    """Compare pictures under encryption; print numbers, draw the difference and the changes."""
    parser = command_parser(
        "fedpriv imagediff run",
        _run,
        "fedpriv imagediff run before.png after.png\n"
        "fedpriv imagediff run before/ after/ --json\n"
        "fedpriv imagediff run --reference door now.png --server https://example.org:8090",
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        type=Path,
        metavar="PICTURE",
        help="A B [A B ...], or two folders, whose files of one name are compared; with --reference "
        "B [B ...]. The difference is B - A",
    )
    parser.add_argument("--reference", metavar="NAME", help="compare with what the server keeps as NAME")
    parser.add_argument(
        "--threshold", type=int, default=25, help="a pixel changed if a channel did by more; default 25"
    )
    parser.add_argument(
        "--least", type=int, default=9, metavar="PIXELS", help="smallest region listed; default 9"
    )
    parser.add_argument("--out", type=Path, default=_OUT, metavar="FOLDER", help=f"of pictures; {_OUT}")
    parser.add_argument("--array", action="store_true", help="write the exact difference as .npy, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object last on standard output")
    _where(parser)
    options = parser.parse_args(arguments)
    if not 0 <= options.threshold < 255:
        parser.error(f"--threshold {options.threshold}: give 0 to 254")
    if options.least < 1:
        parser.error(f"--least {options.least}: give 1 or more")
    from fedpriv.imagediff.client import DifferenceClient
    from fedpriv.imagediff.comparing import Look, compared, paired
    from fedpriv.imagediff.report import as_text

    keys = _keys(options, fresh=options.reference is None)
    pairs = paired(options.pictures, options.reference is not None)
    look = Look(options.threshold, options.least, options.out, options.array)
    store = None if options.reference is None else options.store
    results: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:

        @functools.cache
        def connected() -> tuple[DifferenceClient, float]:
            # once the first pictures are read: a mistake in them needs no server
            client = DifferenceClient(stack.enter_context(_server(options, store)), keys, options.ca)
            return stack.enter_context(client), time.perf_counter()

        for each in compared(lambda: connected()[0], pairs, options.reference, look):
            results.append(each)
            if not options.json:
                print(as_text(each), flush=True)
        client, begin = connected()
        seconds = time.perf_counter() - begin
    whole = {
        "server": client.url,
        "key": keys.fingerprint,
        "seconds": round(seconds, 3),
        "sent_bytes": client.sent_bytes,
        "received_bytes": client.received_bytes,
        "pairs": results,
    }
    if options.json:
        print(json.dumps(whole))
    else:
        sent, received = client.sent_bytes / 1e6, client.received_bytes / 1e6
        print(f"{seconds:.2f} s, {sent:.1f} MB sent, {received:.1f} MB received, by {client.url}")


def _reference(arguments: list[str]) -> None:
    """Have a server keep an encrypted picture under a name, for `run --reference`; or delete it."""
    parser = command_parser(
        "fedpriv imagediff reference",
        _reference,
        "fedpriv keys new images\nfedpriv imagediff reference door door.png\n"
        "fedpriv imagediff run --reference door now.png\nfedpriv imagediff reference door --delete",
    )
    parser.add_argument("name", metavar="NAME", help="letters, digits, '.', '_', '-'; the server learns it")
    parser.add_argument("picture", nargs="?", type=Path, metavar="PICTURE", help="replaces what was there")
    parser.add_argument("--delete", action="store_true", help="delete it instead")
    _where(parser)
    options = parser.parse_args(arguments)
    if options.delete == (options.picture is not None):
        parser.error("give a picture, or --delete")
    from fedpriv.he.pictures.reading import described, read_picture
    from fedpriv.imagediff.client import DifferenceClient

    keys = _keys(options, fresh=False)
    picture = None if options.delete else read_picture(options.picture)
    with _server(options, options.store) as url, DifferenceClient(url, keys, options.ca) as client:
        if picture is None:
            client.forget(options.name)
            print(f"{options.name}: deleted by {url}")
        else:
            client.store_reference(options.name, picture)
            sent = client.sent_bytes / 1e6
            print(f"{options.name}: {described(picture.shape)}, {sent:.1f} MB encrypted, kept by {url}")


def _keys(options: argparse.Namespace, fresh: bool) -> Any:
    """Return the owner's keys; new ones for this call where none are named and ``fresh`` ones will do."""
    from fedpriv.he.users.keys import UserKeys
    from fedpriv.he.users.sets import parameter_set

    folder: Path = options.keys or _KEYS
    if options.keys is None and not folder.exists():
        if not fresh:
            raise UserError(
                f"{folder}: no keys; make them with `fedpriv keys new images`, or name others with --keys"
            )
        sys.stderr.write("keys: new ones, for this call only\n")
        return UserKeys.make(parameter_set("images"))
    return UserKeys.load(folder, "images")


@contextlib.contextmanager
def _server(options: argparse.Namespace, store: Path | None) -> Iterator[str]:
    """Yield the URL of the server that was named, or of one started for this call with its ``store``."""
    if options.server is not None:
        yield options.server
        return
    from fedpriv.imagediff.local import local_server

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended
    with local_server(store) as url:
        sys.stderr.write(
            f"server: {url}, a process of its own started for this call; --server names another\n"
        )
        yield url


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys", type=Path, metavar="FOLDER", help=f"made by `fedpriv keys new images`; {_KEYS}"
    )
    parser.add_argument("--server", metavar="URL", help="one started on loopback for this call without")
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority of an https server's certificate")
    parser.add_argument(
        "--store",
        type=Path,
        default=_STORE,
        metavar="FOLDER",
        help=f"references of a server started here; {_STORE}",
    )


COMMANDS: dict[str, Command] = {"run": _run, "reference": _reference, "serve": _serve}

_ABOUT = "Differences of encrypted pictures: a server subtracts what only you can open."

_EXAMPLES = """fedpriv imagediff run before.png after.png
fedpriv imagediff serve --port 8090"""
