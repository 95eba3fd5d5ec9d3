"""For every attack, the services without the defence that it tests: there it must succeed.

A matrix of attacks that could succeed nowhere would say nothing. Code of the attacks is the same; what is
taken away is taken away in the services of this process only, for as long as the control runs.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from uvicorn.protocols.http.flow_control import FlowControl

from fedpriv.attacks.relays import absent
from fedpriv.attacks.relays.matrix import Row, run_one
from fedpriv.attacks.relays.scene import Scene, scene
from fedpriv.attacks.relays.weakened import Weakened
from fedpriv.relays import attempt, client
from fedpriv.services import protocol
from fedpriv.sharing import answer
from fedpriv.sharing.held import HeldSession
from fedpriv.sharing.room import Room

ATTEMPTS = 12


class Without(NamedTuple):
    """A defence taken away.

    Attributes:
        what: in words.
        changes: what to put in its place: object, name of attribute, value.
        prepare: what the attacker has instead, or the services do.
        least: how many of :data:`ATTEMPTS` must be accepted.
        others: what still refuses the rest, where not all must be.
    """

    what: str
    changes: tuple[tuple[Any, str, Any], ...] = ()
    prepare: Callable[[Scene, Weakened], None] | None = None
    least: int = ATTEMPTS
    others: str = ""


async def run_controls(services: Weakened, names: Iterable[str], attempts: int = ATTEMPTS) -> dict[str, Row]:
    """Run attacks, each against the services without the defence that it tests.

    Args:
        services: which run; between controls they are whole.
        names: of attacks.
        attempts: of each.
    """
    rows = {}
    for name in names:
        async with scene(services) as found:
            found.patience_s = 0.5
            without = WITHOUT[name]
            with _changed(without.changes):
                if without.prepare:
                    without.prepare(found, services)
                rows[name] = await run_one(found, name, attempts)
            services.on_restart = None
    return rows


@contextlib.contextmanager
def _changed(changes: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


_UNSEALED = Without("pieces are opened without their authentication", (absent.NO_TAGS,))
_HALF = ATTEMPTS // 2

WITHOUT: dict[str, Without] = {
    "replay_while_next": Without("the server forgets which images it had", (absent.NO_MEMORY,)),
    "replay_later": Without("the server forgets which images it had", (absent.NO_MEMORY,)),
    "replay_other_session": _UNSEALED._replace(
        least=_HALF, others="ids of one session are unexpected in the other, unless they are changed too"
    ),
    "replay_after_expiry": Without(
        "no expiry, and used images are forgotten", (absent.NO_EXPIRY, absent.NO_MEMORY)
    ),
    "replay_after_restart": Without(
        "sessions outlive the restart, what they used does not", (), absent.keeps_sessions
    ),
    "replayed_handshake": Without("first messages are not remembered", (absent.NO_REMEMBERING,)),
    "reorder": Without("clients open any image's answer", ((answer, "open_answer", absent.any_answer),)),
    "splice_two_images": _UNSEALED,
    "swap_share_index": _UNSEALED,
    "duplicate": Without("the server forgets which images it had", (absent.NO_MEMORY,)),
    "drop": Without(
        "clients do not try again",
        ((attempt.Attempt, "_again", absent.never_again), (client, "MOST_ATTEMPTS", 1)),
        least=4,
        others="pieces whose answer alone is lost were taken, and a body loses all its pieces in one way",
    ),
    "tamper_header": _UNSEALED._replace(
        least=2,
        others="of 11 fields only expiry and commitment are in no check of their own, each tried once",
    ),
    "tamper_body": _UNSEALED,
    "wrong_relay": Without(
        "a piece may come through any relay", ((HeldSession, "find", absent.through_any_relay),)
    ),
    "forged_relay": Without(
        "relays are believed without a signature",
        (absent.NO_SIGNATURE,),
        least=8,
        others="a name that is not enrolled, or none, is not the scheduled relay",
    ),
    "forged_sender": Without(
        "the client's secret is known, pieces are not authenticated",
        (absent.NO_TAGS,),
        absent.knows_secret,
        least=_HALF,
        others="key ids that are not enrolled and sessions made up are unknown",
    ),
    "expired": Without(
        "no expiry", (absent.NO_EXPIRY,), least=_HALF, others="a later expiry in the header is not authentic"
    ),
    "clock_skew": Without("no clock is looked at", (absent.NO_REMEMBERING, absent.NO_SIGNATURE)),
    "oversized_body": Without(
        "no limits on bodies and batches",
        absent.NO_LIMITS,
        least=4,
        others="the model server takes nothing unsigned, and two kinds are malformed besides",
    ),
    "slow_sender": Without("no limits on time", absent.NO_LIMITS),
    "slow_reader": Without(
        "no limit on the time in which answers are read",
        ((protocol.BoundedProtocol, "_expect_reading", absent.no_clock),),
        least=8,
        others="where the machine is slow, too many requests wait",
    ),
    "pipelined_flood": Without(
        "no bound on requests that wait for the answer to the one before",
        (
            (protocol, "MOST_QUEUED", 1 << 30),
            (protocol.QueueFlow, "resume_reading", FlowControl.resume_reading),
        ),
        least=4,
        others="memory within what honest traffic may add is not counted",
    ),
    "half_finished_flood": Without(
        "no bound on what clients leave unfinished",
        ((Room, "take", absent.unbounded),),
        least=4,
        others="as many images as fill the room are sent besides, and those it may hold",
    ),
    "colluding_relays": Without(
        "all relays collude, and can open their pieces",
        (),
        absent.holds_all,
        least=ATTEMPTS // 3,
        others="sealed pieces stay noise, and a made-up piece is not authentic",
    ),
}
"""Attack -> the defence that it tests."""
