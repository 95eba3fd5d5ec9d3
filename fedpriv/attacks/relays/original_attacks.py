"""The attacks of the matrix against the original's design, each run for real on its sockets.

The attacker is relay A, or whoever has broken into it: it sees its own bands, ids in clear included, and
reaches the model server. It does not know the seed. What its own check refuses, the original is credited
with: a band replayed as it is carries an old id and is dropped.

An attempt is *accepted* when the image that the model server puts together is not the one that was sent, or
is put together twice; where an attack wants something else, its line in :data:`ATTACKS` says what.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fedpriv.attacks.relays import original_attempts as attempt
from fedpriv.attacks.relays.original import Original
from fedpriv.attacks.relays.original_scene import Scene

SLOW_S = 6.0
"""How long a slow sender stalls: more than the relays here allow."""


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        attempted: how often it was tried.
        accepted: how often it got what it wants.
        why: one line.
    """

    attempted: int
    accepted: int
    why: str


class _Attack(NamedTuple):
    run: Callable[[Scene], Awaitable[bool]]
    why: str


ATTACKS: dict[str, _Attack] = {
    "replay_while_next": _Attack(attempt.replay_while_next, "an old id is not the current one: dropped"),
    "replay_later": _Attack(attempt.replay_later, "an old id is not the current one: dropped"),
    "replay_after_restart": _Attack(
        attempt.replay_after_restart, "the same seed gives the same ids again, and old bands are current"
    ),
    "reorder": _Attack(
        attempt.reorder, "bands are placed by the server they name; those of the next image are lost"
    ),
    "splice_two_images": _Attack(
        attempt.splice_two_images,
        "the id is in clear and bound to nothing: an old band under the new id is taken",
    ),
    "swap_share_index": _Attack(attempt.swap_share_index, "a band's place is what the band itself says"),
    "duplicate": _Attack(
        attempt.duplicate, "a second copy replaces the first, and is dropped once the image is whole"
    ),
    "drop": _Attack(
        attempt.drop,
        "accepted: an image is lost; no retry and no time-out, so every later one is lost with it",
    ),
    "tamper_header": _Attack(
        attempt.tamper_header,
        "an altered id is dropped, an altered server is believed if it is in the sequence",
    ),
    "tamper_body": _Attack(attempt.tamper_body, "nothing authenticates a band"),
    "wrong_relay": _Attack(
        attempt.wrong_relay,
        "accepted: a band counts that came through a relay not in the sequence; nobody looks",
    ),
    "forged_relay": _Attack(
        attempt.forged_relay, "accepted: a band counts that was posted by no relay; relays prove nothing"
    ),
    "forged_sender": _Attack(
        attempt.forged_sender,
        "whoever has read the id passes for the application and sends an image of its own",
    ),
    "oversized_body": _Attack(
        attempt.oversized_body, "accepted: a body of over 1 MiB is read; there is no limit"
    ),
    "slow_sender": _Attack(
        attempt.slow_sender, "accepted: a stalled body still holds its connection at the end"
    ),
    "half_finished_flood": _Attack(
        attempt.half_finished_flood, "one set is kept for all, and bands of other ids are dropped"
    ),
    "colluding_relays": _Attack(
        attempt.colluding_relays, "accepted: n - 1 relays hold two thirds of the image, pixel by pixel"
    ),
}
"""Name -> how it is run, and in one line what came of it and why; with what is accepted, where that is other
than a wrong image."""

NOT_APPLICABLE = {
    "replay_other_session": "has no sessions: one schedule for all clients",
    "replay_after_expiry": "bands carry no time and never expire",
    "replayed_handshake": "has no handshake: the seed is all, for ever",
    "expired": "bands carry no time: one that was held back is taken however late",
    "clock_skew": "looks at no clock",
    "slow_reader": "its answers to bands are a few bytes: there is nothing that a reader could leave",
    "pipelined_flood": "of the HTTP server, which is no part of the design",
}
"""Attacks that have no meaning for this design, and why."""

_AT_ONCE = ("slow_sender",)


async def run(attempts: int, names: Sequence[str], *, slow_s: float = SLOW_S) -> dict[str, Outcome]:
    """Run attacks against the original's design.

    Args:
        attempts: of each.
        names: of :data:`ATTACKS`; those of :data:`NOT_APPLICABLE` are left out of the result.
        slow_s: how long a slow sender stalls.

    Raises:
        ValueError: a name is neither.
    """
    if unknown := [name for name in names if name not in ATTACKS and name not in NOT_APPLICABLE]:
        raise ValueError(f"{unknown[0]}: no attack; one of {', '.join([*ATTACKS, *NOT_APPLICABLE])}")
    outcomes: dict[str, Outcome] = {}
    async with Original() as original:
        scene = Scene(original, slow_s)
        for name in names:
            if name in NOT_APPLICABLE:
                continue
            attack = ATTACKS[name]
            if name in _AT_ONCE:
                accepted = sum(await asyncio.gather(*(attack.run(scene) for _ in range(attempts))))
            else:
                accepted = 0
                for number in range(attempts):
                    scene.begin(number)
                    accepted += await attack.run(scene)
            outcomes[name] = Outcome(attempts, accepted, attack.why)
    return outcomes
