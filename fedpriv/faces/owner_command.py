"""Commands of the gallery's owner: ``fedpriv faces enroll | delete | caller``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import command_parser
from fedpriv.errors import UserError
from fedpriv.faces.in_the_clear import enrolling, meeting
from fedpriv.faces.options import CALLER, connects, embeds, owns


def enroll(arguments: list[str]) -> None:
    """Enrol people: their embeddings go to the server, encrypted unless --plain; their names stay here."""
    parser = command_parser(
        "fedpriv faces enroll",
        enroll,
        "fedpriv faces enroll anna anna1.png anna2.png --model faces.npz\n"
        "fedpriv faces enroll --people FOLDER --model faces.npz\n"
        "fedpriv faces enroll --people FOLDER --model faces.npz --plain",
    )
    parser.add_argument("name", nargs="?", help="of one person")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="of that person")
    parser.add_argument(
        "--people", type=Path, metavar="FOLDER", help="one folder of pictures per person: far less to send"
    )
    parser.add_argument(
        "--first", type=int, metavar="N", help="with --people: only the first N pictures of everybody"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="IN CLEAR: the server reads the embeddings; for a gallery of `faces serve --gallery plain`",
    )
    owns(parser)
    connects(parser, keyholder=False)
    embeds(parser)
    options = parser.parse_args(arguments)
    from fedpriv.faces.embed import load_embedder
    from fedpriv.faces.owner import Owner, identities

    if (options.people is None) == (options.name is None):
        raise UserError("faces enroll: give a name and its pictures, or --people FOLDER")
    one = options.name is not None
    people = {options.name: tuple(options.images)} if one else identities(options.people)
    if options.first is not None:
        if options.first < 1:
            raise UserError(f"--first {options.first}: choose 1 or more")
        people = {name: files[: options.first] for name, files in people.items()}
    owner = Owner(options.owner, options.server, options.ca)
    owner.register.require_new(list(people))
    if not owner.register.knows_server() and (said := meeting(options.server)):
        sys.stderr.write(f"faces enroll: {said}\n")
    if options.plain and (said := enrolling(options.server)):
        sys.stderr.write(f"faces enroll: {said}\n")
    enrolled = owner.enrol(people, load_embedder(options.model, options.tracking_uri), plain=options.plain)
    if options.json:
        kind = {"gallery": "plain"} if options.plain else {}
        print(json.dumps({"enrolled": [each.name for each in enrolled], **kind}))
    else:
        clear = " in clear" if options.plain else ""
        print(
            f"enrolled {len(enrolled)}{clear}: {', '.join(each.name for each in enrolled[:10])}"
            + _more(enrolled)
        )


def delete(arguments: list[str]) -> None:
    """Delete people; whoever was enrolled together with them is encrypted anew."""
    parser = command_parser("fedpriv faces delete", delete, "fedpriv faces delete anna")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of people")
    owns(parser)
    connects(parser, keyholder=False)
    options = parser.parse_args(arguments)
    from fedpriv.faces.owner import Owner

    owner = Owner(options.owner, options.server, options.ca)
    for name in options.names:
        again = owner.delete(name)
        how = "signed anew, in clear" if owner.plain else "encrypted anew"
        print(f"deleted {name}" + (f"; {again} others were {how}" if again else ""), flush=True)


def caller(arguments: list[str]) -> None:
    """Admit a caller: make the folder that it asks with; or revoke one."""
    from fedpriv.faces.register import BUDGET

    parser = command_parser(
        "fedpriv faces caller",
        caller,
        "fedpriv faces caller door-1\nfedpriv faces caller door-1 --revoke\nfedpriv faces caller --list",
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
