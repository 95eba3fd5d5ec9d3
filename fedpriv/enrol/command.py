"""The command line ``fedpriv enrol``."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.arguments import Command, Parser, command_parser, run_command
from fedpriv.enrol.words import grouped, ungrouped, whole
from fedpriv.errors import UserError
from fedpriv.he.cards import CLIENT, HOLDER
from fedpriv.he.provision import enrolment_file

_OVERRIDES = "settings of the runs, as for `fedpriv run`, e.g. secure=bfv_committee secure.min_clients=3"


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands."""
    run_command("fedpriv enrol", _ABOUT, COMMANDS, _EXAMPLES, arguments)


def _party(arguments: list[str]) -> None:
    """Make a party's own signing key, and the card to send."""
    parser = command_parser(
        "fedpriv enrol party",
        _party,
        "fedpriv enrol party keys --client 0\nfedpriv enrol party keys --holder 1",
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="the party's key folder, made with mode 0700"
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--client", type=int, metavar="N", help="be client N, numbered from 0")
    which.add_argument("--holder", type=int, metavar="N", help="be key holder N, numbered from 0")
    options = parser.parse_args(arguments)
    from fedpriv.enrol.party import card_file, make_party

    role, number = (HOLDER, options.holder) if options.client is None else (CLIENT, options.client)
    card = make_party(options.folder, role, number)
    print(f"card         {card_file(options.folder, role, number)}")
    print(f"fingerprint  {grouped(card.fingerprint)}")
    print(
        "Send the card to who collects them, and read the fingerprint to them over another channel. Nothing "
        "else leaves\nthe folder: whoever has signing.key can sign as this party."
    )


def _shared_key(arguments: list[str]) -> None:
    """Make the key that key holder 0 shares with all clients (secure.keys=authority)."""
    parser = command_parser(
        "fedpriv enrol shared-key",
        _shared_key,
        "fedpriv enrol shared-key keys secure=bfv federation.clients=3",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="key holder 0's key folder")
    _takes_overrides(parser)
    options = parser.parse_intermixed_args(arguments)
    from fedpriv.enrol.shared import make_shared_key
    from fedpriv.enrol.terms import run_for

    path, fingerprint = make_shared_key(options.folder, run_for(options.overrides))
    print(f"shared key   {path}")
    print(f"fingerprint  {grouped(fingerprint)}")
    print(
        "Give the file to every client over a private channel, never to the server: with it the server reads "
        "every update.\nThe fingerprint is public; the coordinator needs it."
    )


def _collect(arguments: list[str]) -> None:
    """Check everybody's cards and make the enrolment."""
    parser = command_parser(
        "fedpriv enrol collect",
        _collect,
        "fedpriv enrol collect enrolment.json *.card.json secure=bfv_committee secure.min_clients=3 "
        "federation.min_replies=3\n"
        "fedpriv enrol collect enrolment.json *.card.json --shared-key-fingerprint '0123 ...' secure=bfv",
        "An argument with = in it is a setting, unless it begins with . or /; federation.clients is the\n"
        "number of clients' cards. privacy.unit=client looks at the run's data, for the size of its model.",
    )
    parser.add_argument("enrolment", type=Path, metavar="ENROLMENT.json", help="is made; never replaced")
    parser.add_argument("given", nargs="+", metavar="CARD|KEY=VALUE", help="everybody's cards; " + _OVERRIDES)
    parser.add_argument(
        "--shared-key-fingerprint", metavar="F", help="of the key that clients and key holder 0 share"
    )
    options = parser.parse_intermixed_args(arguments)
    cards = [Path(each) for each in options.given if not _is_override(each)]
    overrides = [each for each in options.given if _is_override(each)]
    name = "--shared-key-fingerprint"
    shared = options.shared_key_fingerprint and ungrouped(name, options.shared_key_fingerprint, 32)
    if options.enrolment.exists():
        raise UserError(f"{options.enrolment}: exists already; an enrolment is never replaced, name another")
    from fedpriv.enrol.collect import collect

    enrolment = collect(cards, overrides, shared)
    enrolment.save(options.enrolment)
    print("\n".join(whole(enrolment)))
    print(
        f"Send {options.enrolment} to every party and to the server. Every party accepts it with "
        "`fedpriv enrol accept`,\nand all compare the digest with each other over another channel: it is "
        "what they trust."
    )


def _accept(arguments: list[str]) -> None:
    """Check an enrolment and put it into a party's key folder."""
    parser = command_parser(
        "fedpriv enrol accept",
        _accept,
        "fedpriv enrol accept keys enrolment.json\n"
        "fedpriv enrol accept keys enrolment.json --shared-key shared.key secure=bfv",
        "With settings it is also checked that the enrolment admits a run with them.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the party's key folder")
    parser.add_argument("enrolment", type=Path, metavar="ENROLMENT.json", help="from the coordinator")
    _takes_overrides(parser)
    parser.add_argument("--digest", metavar="D", help="refuse an enrolment that has another")
    parser.add_argument(
        "--shared-key", type=Path, metavar="FILE", help="from key holder 0: checked, and copied into FOLDER"
    )
    options = parser.parse_intermixed_args(arguments)
    digest = options.digest and ungrouped("--digest", options.digest, 64)
    from fedpriv.enrol.accept import accept
    from fedpriv.enrol.party import parties_in

    enrolment = accept(options.folder, options.enrolment, digest, options.overrides, options.shared_key)
    print("\n".join(whole(enrolment)))
    parties = list(parties_in(options.folder))
    print(f"Accepted as {', '.join(party.name for party in parties)} in {enrolment_file(options.folder)}")
    if enrolment.shared_key is not None:
        for party in parties:
            if not party.shared_key.exists():
                print(f"Missing: {party.shared_key}, from key holder 0; accept once more, with --shared-key")
    print("Compare the digest with the other parties before you start a node.")


def _show(arguments: list[str]) -> None:
    """Say who is enrolled on what terms; no secret is shown."""
    parser = command_parser(
        "fedpriv enrol show",
        _show,
        "fedpriv enrol show keys\nfedpriv enrol show enrolment.json client-0.card.json",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="FOLDER|FILE",
        help="a key folder, an enrolment or cards (*.card.json)",
    )
    paths = parser.parse_args(arguments).paths
    from fedpriv.enrol.show import shown

    for path in paths:
        print("\n".join(shown(path)))


def _all(arguments: list[str]) -> None:
    """Make everybody's keys in one folder, for a trial on one machine."""
    parser = command_parser(
        "fedpriv enrol all",
        _all,
        "fedpriv enrol all trial secure=bfv federation.clients=4\n"
        "fedpriv run secure=bfv federation.clients=4 secure.key_folder=trial",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="is made; never replaced")
    _takes_overrides(parser)
    options = parser.parse_intermixed_args(arguments)
    from fedpriv.enrol.terms import run_for
    from fedpriv.enrol.trial import make_all

    enrolment = make_all(options.folder, run_for(options.overrides))
    print("\n".join(whole(enrolment)))
    print(
        f"WHOEVER HAS {options.folder} CAN READ EVERYTHING: all parties' keys lie in it. For trials "
        "only;\non real sites each party makes its own with `fedpriv enrol party`. Use it as "
        f"secure.key_folder={options.folder}"
    )


def _takes_overrides(parser: Parser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=_OVERRIDES)


def _is_override(text: str) -> bool:
    return "=" in text and not text.startswith((".", "/"))


COMMANDS: dict[str, Command] = {
    "party": _party,
    "shared-key": _shared_key,
    "collect": _collect,
    "accept": _accept,
    "show": _show,
    "all": _all,
}

_ABOUT = """Keys for real sites: every party makes its own, and all accept one list of public keys and terms.
docs/sites.md is the whole way, party by party."""

_EXAMPLES = """fedpriv enrol party keys --client 0
fedpriv enrol collect enrolment.json *.card.json secure=bfv_committee secure.holders=2
fedpriv enrol accept keys enrolment.json
fedpriv enrol all trial secure=bfv"""
