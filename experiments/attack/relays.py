"""``fedpriv attack relays``: every attack on the running services, beside honest traffic."""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.attack._relays_matrix import Matrix, show
from fedpriv.arguments import Parser
from fedpriv.attacks.relays.learned import eye_images, leaks
from fedpriv.attacks.relays.matrix import (
    ATTACKS,
    Row,
    constellation,
    run,
    summary,
)
from fedpriv.attacks.relays.original_attacks import NOT_APPLICABLE, Outcome
from fedpriv.attacks.relays.original_attacks import run as run_original
from fedpriv.errors import UserError
from fedpriv.progress import track
from fedpriv.scratch import private_folder

_MOST_ATTEMPTS = 700
_LEARNED_FROM = 64

_EXAMPLES = """examples:
  fedpriv attack relays
  fedpriv attack relays --controls
  fedpriv attack relays replay_while_next tamper_header --attempts 20
  fedpriv attack relays --json > matrix.json"""


def main(arguments: Sequence[str]) -> None:
    """Run the command line; exit status 1 when an attack was accepted or an honest image lost.

    Raises:
        UserError: for an attack that does not exist, or services that do not start.
    """
    _main(_parser("fedpriv attack relays", "*"), arguments)


def main_by_name(arguments: Sequence[str]) -> None:
    """Run ``fedpriv relays attack NAME...``: the same, and attacks must be named."""
    _main(_parser("fedpriv relays attack", "+"), arguments)


def _main(parser: Parser, arguments: Sequence[str]) -> None:
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in ATTACKS]:
        raise UserError(f"attack relays {unknown[0]}: no such attack; choose from {', '.join(ATTACKS)}")
    if not 1 <= options.attempts <= _MOST_ATTEMPTS:
        raise UserError(f"--attempts {options.attempts}: choose 1 to {_MOST_ATTEMPTS}")
    names = list(dict.fromkeys(options.names)) or list(ATTACKS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the services are ended
    found = measure(names, options.attempts, options.controls, options.folder)
    if options.json:
        print(json.dumps(found.as_json()))
    else:
        show(found)
    if not found.held:
        sys.stdout.flush()
        sys.exit(1)


def measure(
    names: Sequence[str], attempts: int, controls: bool = False, folder: Path | None = None
) -> Matrix:
    """Run attacks.

    Args:
        names: of :data:`fedpriv.attacks.relays.matrix.ATTACKS`.
        attempts: of each.
        controls: also against services without the defence that each attack tests.
        folder: for keys and logs of the services, which are kept; a folder that goes away without.

    Raises:
        UserError: the services do not start.
    """
    begun = time.perf_counter()
    with _folder(folder) as place:
        with constellation(place / "services") as running:
            rows = asyncio.run(run(running, attempts, track(names, "attacks")))
            if ended := running.ended():
                raise UserError(f"{ended}: ended under attack; see its log, kept with --folder")
        broken = _run_controls(place / "controls", names) if controls else {}
    original: dict[str, Outcome] = {}
    for name in track([name for name in names if name not in NOT_APPLICABLE], "the original's design"):
        original |= asyncio.run(run_original(attempts, [name]))
    everything = set(names) == set(ATTACKS)
    found = leaks(eye_images(_LEARNED_FROM)) if everything else {}
    return Matrix(rows, original, broken, found, time.perf_counter() - begun)


def _run_controls(folder: Path, names: Sequence[str]) -> dict[str, Row]:
    from fedpriv.attacks.relays.controls import run_controls
    from fedpriv.attacks.relays.weakened import Weakened

    logging.getLogger("fedpriv.services").setLevel(logging.CRITICAL)  # what is broken complains
    with Weakened(folder) as services:
        return asyncio.run(run_controls(services, track(names, "controls")))


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is None:
        with private_folder() as folder:
            yield folder
    else:
        yield given


def _parser(program: str, count: str) -> Parser:
    lines = "\n".join(f"  {name:22} {summary(name)}" for name in ATTACKS)
    parser = Parser(
        program,
        description="Start model server, relays, gateway and adversary on loopback, run attacks on them\n"
        "with honest traffic beside each, and the same attacks against the original's design.\n"
        "Exit status 1 when anything was accepted, an honest image lost, or a relay learned more\n"
        "than chance gives.",
        epilog=f"attacks:\n{lines}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "names", nargs=count, metavar="NAME", help="which attacks" + ("; all without" if count == "*" else "")
    )
    add("--attempts", type=int, default=100, metavar="N", help="of each attack (default 100)")
    add(
        "--controls",
        action="store_true",
        help="run each attack also without the defence that it tests: there it must be accepted",
    )
    add("--folder", type=Path, metavar="DIR", help="keep keys, settings and logs of the services here")
    add("--json", action="store_true", help="print one JSON object last")
    return parser
