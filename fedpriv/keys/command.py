"""The command line ``fedpriv keys``."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from fedpriv.arguments import Parser
from fedpriv.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = "\n".join(f"  {name:6} {function.__doc__}" for name, function in COMMANDS.items())
        print(_HELP.format(commands=lines))
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"keys {name}: no such command; choose one of {', '.join(COMMANDS)}")
    try:
        COMMANDS[name](rest)
    except BrokenPipeError:
        raise
    except OSError as error:
        place = error.filename or "file"
        raise UserError(f"{place}: {error.strerror or error}; choose another place") from error


def _new(arguments: list[str]) -> None:
    """Make a key pair: secret.key stays with you, public.key goes to the server."""
    from fedpriv.he.users.sets import PURPOSES

    parser = _parser(
        "new",
        _new,
        "fedpriv keys new faces\n  fedpriv keys new table --out clinic\n  fedpriv keys new images --to-split",
    )
    parser.add_argument(
        "purpose", choices=PURPOSES, metavar="|".join(PURPOSES), help="what is to be computed"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="made with mode 0700 where there is none; default keys-PURPOSE",
    )
    parser.add_argument(
        "--to-split",
        action="store_true",
        help="larger parameters, whose secret key `fedpriv keys split` can divide among several holders",
    )
    options = parser.parse_args(arguments)
    from fedpriv.he.users.key_heads import grouped
    from fedpriv.he.users.keys import SECRET_FILE, UserKeys
    from fedpriv.he.users.public_keys import PUBLIC_FILE
    from fedpriv.he.users.sets import SETS

    wanted = [each for each in SETS.values() if each.purpose == options.purpose]
    chosen = next(each for each in wanted if each.splits or not options.to_split)
    folder = options.out or Path(f"keys-{options.purpose}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = UserKeys.make(chosen)
    keys.save(folder)
    print(f"secret key   {folder / SECRET_FILE}")
    print(f"public key   {folder / PUBLIC_FILE}")
    print(f"fingerprint  {grouped(keys.fingerprint)}")
    print(
        f"Give {PUBLIC_FILE} to the server and to whoever is to encrypt for you, and read the fingerprint "
        f"to them over\nanother channel. Never give away {SECRET_FILE}: with it every ciphertext is read. "
        "Keep a copy of it: without it none is."
    )


def _show(arguments: list[str]) -> None:
    """Say what key files are; no secret is shown."""
    parser = _parser("show", _show, "fedpriv keys show keys-faces\n  fedpriv keys show public.key share.key")
    parser.add_argument(
        "paths",
        type=Path,
        nargs="*",
        metavar="FOLDER|FILE",
        help="key files, or folders with some; default: the folders keys-PURPOSE that are here",
    )
    paths = parser.parse_args(arguments).paths
    from fedpriv.he.users.sets import PURPOSES
    from fedpriv.keys.showing import shown

    paths = paths or [path for each in PURPOSES if (path := Path(f"keys-{each}")).is_dir()]
    if not paths:
        raise UserError("keys show: no folder keys-PURPOSE is here; name a key file or a folder")
    for path in paths:
        print("\n".join(shown(path)))


def _split(arguments: list[str]) -> None:
    """Divide a secret key among several holders, all of whom are needed to decrypt."""
    parser = _parser(
        "split",
        _split,
        "fedpriv keys new table\n  fedpriv keys split keys-table --holders 3",
        "Each holder gets a folder of its own: share.key, mode 0600, and public.key. Any of them short of\n"
        "all learn nothing of the key. Whoever runs this sees the whole key; delete secret.key once all\n"
        "shares have arrived.",
    )
    parser.add_argument("secret", type=Path, metavar="SECRET", help="secret.key, or its folder")
    parser.add_argument("--holders", type=int, default=3, metavar="N", help="how many; default 3")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="gets holder-1, holder-2, ...; default that of SECRET",
    )
    options = parser.parse_args(arguments)
    from fedpriv.he.users.key_heads import grouped
    from fedpriv.he.users.keys import SECRET_FILE, UserKeys
    from fedpriv.he.users.shares import split

    keys = UserKeys.load(options.secret)
    home = options.secret if options.secret.is_dir() else options.secret.parent
    folder = options.out or home
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in split(keys, folder, options.holders):
        print(f"share        {path}")
    print(f"fingerprint  {grouped(keys.fingerprint)}")
    print(
        f"Give each holder its folder over a private channel, then delete the shares and {SECRET_FILE} here: "
        "you have\nseen the whole key, and whoever has all shares has it too."
    )


def _parser(name: str, function: Callable[[list[str]], None], examples: str, more: str = "") -> Parser:
    return Parser(
        prog=f"fedpriv keys {name}",
        description=function.__doc__,
        epilog=f"{more}\n\nexamples:\n  {examples}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


COMMANDS: dict[str, Callable[[list[str]], None]] = {"new": _new, "show": _show, "split": _split}

_HELP = """usage: fedpriv keys COMMAND ...

Keys for computing on ciphertexts: faces, image differences and table statistics.

commands:
{commands}

examples:
  fedpriv keys new faces
  fedpriv keys show keys-faces
  fedpriv keys new table --out clinic
  fedpriv keys split clinic --holders 3

`fedpriv keys COMMAND --help` tells more."""
