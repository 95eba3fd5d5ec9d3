"""The command line ``fedpriv keys``."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import Command, command_parser, run_command
from fedpriv.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    run_command("fedpriv keys", _ABOUT, COMMANDS, _EXAMPLES, arguments)


def _new(arguments: list[str]) -> None:
    """Make a key pair: secret.key stays with you, public.key goes to the server."""
    from fedpriv.he.users.sets import PURPOSES

    parser = command_parser(
        "fedpriv keys new",
        _new,
        "fedpriv keys new faces\nfedpriv keys new table --out clinic\nfedpriv keys new images --to-split",
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
        help="larger parameters, whose secret key `fedpriv keys split` can divide among several holders; "
        "those of a table always can",
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
    parser = command_parser(
        "fedpriv keys show", _show, "fedpriv keys show keys-faces\nfedpriv keys show public.key share.key"
    )
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
    parser = command_parser(
        "fedpriv keys split",
        _split,
        "fedpriv keys new table\nfedpriv keys split keys-table --holders 3",
        "Each holder gets a folder of its own: share.key, mode 0600, and public.key. Any of them short of\n"
        "all learn nothing of the key. Whoever runs this sees the whole key; a table's secret.key is to be\n"
        "deleted once all shares have arrived. No command opens faces or images with shares: keep their\n"
        "secret.key.",
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
    if keys.set.purpose in _OPENED_BY_SHARES:
        print(
            f"Give each holder its folder over a private channel, then delete the shares and {SECRET_FILE} "
            "here: you have\nseen the whole key, and whoever has all shares has it too."
        )
    else:
        print(
            f"Keep {SECRET_FILE}: no command opens {keys.set.purpose} with shares, and without it nothing is "
            "opened. Shares are\nof use to programs of your own (fedpriv.he.users.shares)."
        )


_OPENED_BY_SHARES = ("table",)
"""What a command reads shares for: `fedpriv stats decrypt`."""

COMMANDS: dict[str, Command] = {"new": _new, "show": _show, "split": _split}

_ABOUT = "Keys for computing on ciphertexts: faces, image differences and table statistics."

_EXAMPLES = """fedpriv keys new faces
fedpriv keys show keys-faces
fedpriv keys new table --out clinic
fedpriv keys split clinic --holders 3"""
