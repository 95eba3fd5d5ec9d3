"""``fedpriv attack NAME``: attacks run for real against this project's own protections, one file each."""

import sys
from collections.abc import Callable, Sequence

from fedpriv.errors import UserError


def _audit(arguments: Sequence[str]) -> None:
    """Bound the epsilon of a run from below by canaries, beside what it claims."""
    from experiments.attack.audit import main as audit

    audit(arguments)


def _relays(arguments: Sequence[str]) -> None:
    """Attack secret-shared inference through relays: the whole matrix, beside the original's design."""
    from experiments.attack.relays import main as relays

    relays(arguments)


def _templates(arguments: Sequence[str]) -> None:
    """Rebuild enrolled faces from answers to chosen probes: raw scores, and accept or reject in a budget."""
    from experiments.attack.templates import main as templates

    templates(arguments)


ATTACKS: dict[str, Callable[[Sequence[str]], None]] = {
    "audit": _audit,
    "relays": _relays,
    "templates": _templates,
}
"""Name -> command; its docstring is its help. Imports wait until it is called."""


def relays_by_name(arguments: Sequence[str]) -> None:
    """Run ``fedpriv relays attack NAME...``."""
    from experiments.attack.relays import main_by_name

    main_by_name(arguments)


_HELP = """usage: fedpriv attack NAME ...

Attack this project's own protections, for real.

attacks:
{attacks}

`fedpriv attack NAME --help` tells more."""


def main(arguments: Sequence[str]) -> None:
    """Run one attack.

    Raises:
        UserError: for an unknown attack, or what the attack refuses.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        attacks = "\n".join(f"  {name:9} {function.__doc__}" for name, function in ATTACKS.items())
        sys.stdout.write(_HELP.format(attacks=attacks) + "\n")
        return
    if arguments[0] not in ATTACKS:
        raise UserError(f"attack {arguments[0]}: no such attack; choose one of {', '.join(ATTACKS)}")
    ATTACKS[arguments[0]](arguments[1:])
