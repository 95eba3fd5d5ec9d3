"""Commands of the gallery's owner: ``fedpriv faces enroll | delete | caller``."""

import json
from collections.abc import Sequence
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.faces.options import CALLER, command_parser, connects, embeds, owns


def enroll(arguments: list[str]) -> None:
    """Enrol people: their encrypted embeddings go to the server, their names stay here."""
    parser = command_parser(
        "enroll",
        enroll,
        "fedpriv faces enroll anna anna1.png anna2.png --model outputs/2026-01-31/12-00-00\n"
        "  fedpriv faces enroll --people FOLDER --model faces.npz",
    )
    parser.add_argument("name", nargs="?", help="of one person")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="of that person")
    parser.add_argument(
        "--people", type=Path, metavar="FOLDER", help="one folder of pictures per person: far less to send"
    )
    parser.add_argument(
        "--first", type=int, metavar="N", help="with --people: only the first N pictures of everybody"
    )
    owns(parser)
    connects(parser, keyholder=False)
    embeds(parser)
    options = parser.parse_args(arguments)
    from fedpriv.faces.embed import load_embedder
    from fedpriv.faces.owner import Owner, identities

    if (options.people is None) == (options.name is None):
        raise UserError("faces enroll: give a name and its pictures, or --people FOLDER")
    people = {options.name: tuple(options.images)} if options.name else identities(options.people)
    if options.first is not None:
        if options.first < 1:
            raise UserError(f"--first {options.first}: choose 1 or more")
        people = {name: files[: options.first] for name, files in people.items()}
    owner = Owner(options.owner, options.server, options.ca)
    owner.register.require_new(list(people))
    enrolled = owner.enrol(people, load_embedder(options.model, options.tracking_uri))
    if options.json:
        print(json.dumps({"enrolled": [each.name for each in enrolled]}))
    else:
        print(f"enrolled {len(enrolled)}: {', '.join(each.name for each in enrolled[:10])}" + _more(enrolled))


def delete(arguments: list[str]) -> None:
    """Delete people; whoever was enrolled together with them is encrypted anew."""
    parser = command_parser("delete", delete, "fedpriv faces delete anna")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of people")
    owns(parser)
    connects(parser, keyholder=False)
    options = parser.parse_args(arguments)
    from fedpriv.faces.owner import Owner

    owner = Owner(options.owner, options.server, options.ca)
    for name in options.names:
        again = owner.delete(name)
        print(f"deleted {name}" + (f"; {again} others were encrypted anew" if again else ""), flush=True)


def caller(arguments: list[str]) -> None:
    """Admit a caller: make the folder that it asks with; or revoke one."""
    from fedpriv.faces.register import BUDGET

    parser = command_parser(
        "caller",
        caller,
        "fedpriv faces caller door-1\n  fedpriv faces caller door-1 --revoke\n  fedpriv faces caller --list",
    )
    parser.add_argument("name", nargs="?", help="for you; it goes nowhere")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"the caller's folder, to be made; {CALLER} without"
    )
    parser.add_argument(
        "--budget", type=int, metavar="N", help=f"openings a day; the key holder's ({BUDGET}) without"
    )
    parser.add_argument("--revoke", action="store_true", help="open nothing for it from now on")
    parser.add_argument("--list", action="store_true", help="say who is admitted")
    owns(parser)
    options = parser.parse_args(arguments)
    from fedpriv.faces.owner import admit
    from fedpriv.faces.register import Register

    if options.list:
        for each in Register(options.owner).callers():
            print(f"{each.number}  {each.budget or 'default'}  {each.name}")
        return
    if options.name is None:
        raise UserError("faces caller: give the caller a name, or --list")
    if options.revoke:
        Register(options.owner).revoke(options.name)
        print(f"revoked {options.name}")
        return
    out = options.out or CALLER
    number = admit(options.owner, options.name, out, options.budget)
    print(f"caller   {number}\nfolder   {out}\nGive the folder to the caller, and nobody else a copy of it.")


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - 10} more" if len(found) > 10 else ""
