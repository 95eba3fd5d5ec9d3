"""The matrix: every attack on the running services, with honest traffic beside it, and what came of it."""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpriv.attacks.relays import (
    collusion,
    dropping,
    exhaustion,
    hoarding,
    impostors,
    ordering,
    replays,
    tampering,
)
from fedpriv.attacks.relays.scene import Scene, Services, scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.plan import Plan

Attack = Callable[[Scene, int], Awaitable[Tally]]

ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        replays.replay_while_next,
        replays.replay_later,
        replays.replay_other_session,
        replays.replay_after_expiry,
        replays.replay_after_restart,
        impostors.replayed_handshake,
        ordering.reorder,
        tampering.splice_two_images,
        tampering.swap_share_index,
        ordering.duplicate,
        dropping.drop,
        tampering.tamper_header,
        tampering.tamper_body,
        tampering.wrong_relay,
        impostors.forged_relay,
        impostors.forged_sender,
        impostors.expired,
        impostors.clock_skew,
        exhaustion.oversized_body,
        exhaustion.slow_sender,
        hoarding.slow_reader,
        hoarding.pipelined_flood,
        exhaustion.half_finished_flood,
        collusion.colluding_relays,
    )
}
"""Name -> attack; the last paragraph of its docstring says what ``accepted`` counts."""

_ACCEPTED = "Accepted:"


@dataclass(frozen=True)
class Row:
    """What came of one attack.

    Attributes:
        name: of the attack.
        attempted: how often it was tried.
        accepted: how often the services did what it wants, by its own account or, when that is more, by the
            model server's counters.
        refused_as: the other attempts by what came back.
        honest_sent: images of the honest client beside it, and of the clients under attack.
        honest_lost: those without an answer, or with a wrong one.
        honest_retries: how often one of them had to be shared anew.
    """

    name: str
    attempted: int
    accepted: int
    refused_as: Counter[str] = field(default_factory=Counter)
    honest_sent: int = 0
    honest_lost: int = 0
    honest_retries: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {**vars(self), "refused_as": dict(self.refused_as.most_common())}


def accepted_means(name: str) -> str:
    """Return what ``accepted`` counts for an attack."""
    text = inspect.getdoc(ATTACKS[name]) or ""
    return " ".join(text.partition(_ACCEPTED)[2].split())


def summary(name: str) -> str:
    """Return the first line of an attack's docstring."""
    return (inspect.getdoc(ATTACKS[name]) or "").partition("\n")[0]


def attack_plan() -> Plan:
    """Return the constellation that is attacked: as shipped, with some bounds and times made smaller.

    They are reached sooner so; nothing else differs. Room per client: 512 KiB instead of 16 MiB; sets last
    3 s, not 5; answers are kept 1 s, not 30; requests may take 2 s, not 5.
    """
    return Plan(
        adversary=True,
        clients=3,
        server={"max_client_bytes": 1 << 19, "set_timeout_s": 3.0, "retention_s": 1.0},
        limits={"header_s": 2.0, "body_s": 2.0},
    )


def constellation(folder: Path) -> Constellation:
    """Return the services as processes, to be started."""
    return Constellation(folder, attack_plan())


async def run(
    services: Services, attempts: int, names: Iterable[str], done: Callable[[Row], None] | None = None
) -> list[Row]:
    """Run attacks one after another.

    Args:
        services: which run.
        attempts: of each.
        names: of :data:`ATTACKS`.
        done: told of every row.
    """
    rows = []
    async with scene(services) as found:
        for name in names:
            rows.append(await run_one(found, name, attempts))
            if done:
                done(rows[-1])
    return rows


async def run_one(scene: Scene, name: str, attempts: int) -> Row:
    """Run one attack beside honest traffic."""
    honest = scene.honest
    await scene.mark()
    honest.clear()
    honest.start()
    tally = await ATTACKS[name](scene, attempts)
    await honest.rest()
    surplus = await scene.surplus()
    report = honest.all
    return Row(
        name=name,
        attempted=tally.attempted,
        accepted=min(tally.attempted, max(tally.accepted, surplus)),
        refused_as=tally.refused_as,
        honest_sent=report.sent + tally.victims_sent,
        honest_lost=report.lost + tally.victims_lost,
        honest_retries=report.retries + tally.retries,
    )


def totals(rows: Sequence[Row]) -> dict[str, int]:
    """Return the sums that must be 0."""
    return {
        "accepted_total": sum(row.accepted for row in rows),
        "honest_lost_total": sum(row.honest_lost for row in rows),
    }
