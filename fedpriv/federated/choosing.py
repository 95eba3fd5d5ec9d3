"""How the server comes by the most sensitive coordinates: from the sum of all clients' maps, round 0.

Every client computes its sensitivity map (:mod:`fedpriv.training.sensitivity`) and sends it weighted,
encrypted whole and signed, as it will its updates. The server opens the sum through the key holders, so
that it sees no single map, and selects the coordinates that are largest in it.

Round 0 is opened once, as every round is. Where no sum comes of it, because a client signed garbage or too
few sent a map, there is nothing to choose by: all coordinates are encrypted.
"""

import logging
import time
from dataclasses import replace

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.answers import SumRefused
from fedpriv.federated.collect import DISCARDED, SUM_REFUSED, Collector, Tally
from fedpriv.federated.release import open_sum
from fedpriv.federated.start import start_digest
from fedpriv.federated.strategy.asking import train_requests
from fedpriv.federated.strategy.session import Session
from fedpriv.he.selection import (
    SelectionError,
    pack_selection,
    select_top,
    unpack_choice,
)
from fedpriv.he.selective import select
from fedpriv.results import RoundResult
from fedpriv.types import FloatVector

log = logging.getLogger("fedpriv")


def with_choice(
    grid: Grid, session: Session, parameters: FloatVector, share: float, timeout_s: float
) -> Session:
    """Return the session in which the ceil(share * P) most sensitive coordinates are encrypted.

    An interrupted run goes on with the coordinates that it had: others would reveal more.

    Edge cases:
        All P coordinates are encrypted, with a warning, where

        - fewer than ``session.min_replies`` clients send a usable map,
        - their sum turns out to be none: one client may have signed garbage,
        - it is not finite, or alike everywhere, and so names no coordinate.

    Args:
        grid: Flower's connection to the nodes.
        session: of the run; its codec encrypts whole updates.
        parameters: the global model that the maps are computed at, (P,).
        share: p, between 0 and 1.
        timeout_s: seconds that a client has for its map.

    Raises:
        UserError: when no client sends a usable map, a key holder refuses on other grounds, or the
            interrupted run's choice is not one.
    """
    kept = None if session.progress is None else session.progress.selection
    size = session.layout.size
    if kept is not None:
        try:
            selected = unpack_choice(kept, size, share)
        except SelectionError as error:
            raise UserError(f"checkpoint: {error}; it is damaged, run the experiment again") from error
        return replace(session, codec=select(session.codec, selected), selection=kept)
    summed, figures = _summed_maps(grid, session, parameters, share, timeout_s)
    if summed is None:
        selected = np.ones(size, np.bool_)
        log.warning("secure.select_top=%s: without a choice every coordinate is encrypted", share)
    else:
        selected = select_top(summed, share)
    return replace(
        session,
        codec=select(session.codec, selected),
        selection=pack_selection(selected),
        choosing=figures,
    )


def _summed_maps(
    grid: Grid, session: Session, parameters: FloatVector, share: float, timeout_s: float
) -> tuple[NDArray[np.float64] | None, RoundResult]:
    """Return the weighted sum of all clients' maps, (P,), or None, and what it took."""
    started = time.perf_counter()
    model = messages.pack_parameters(parameters)
    key = None if session.public_key is None else messages.pack_public_key(session.public_key)
    asked = [(member, session.roster.weight(member)) for member in session.roster.clients]
    requests = train_requests(session, 0, asked, {}, parameters, model, key, kind=messages.SENSITIVITY)
    collector = Collector(session, 0, asked, start_digest(session.run_digest, parameters, {}, "map"))
    for reply in grid.send_and_receive(requests, timeout=timeout_s):
        collector.take(reply)
    tally = collector.close()
    found = f"{tally.replied} of {tally.asked} clients sent a usable sensitivity map"
    if tally.replied == 0:
        raise UserError(f"secure.select_top={share}: {found} ({tally.causes()}); see the clients' logs")
    if tally.failures:
        log.warning("%s (%s)", found, tally.causes())
    summed, traffic = _opened(grid, session, collector, tally)
    sent = parameters.nbytes + len(session.public_key or b"")
    return summed, RoundResult(
        number=0,
        metrics={},
        bytes_up=tally.bytes_up,
        bytes_down=sent * len(asked),
        bytes_keyholders=traffic,
        seconds={"select": time.perf_counter() - started},
        failures={cause: count for cause, count in tally.failures.items() if count},
    )


def _opened(
    grid: Grid, session: Session, collector: Collector, tally: Tally
) -> tuple[NDArray[np.float64] | None, int]:
    """Return the sum of the maps, or None with a warning where there is none to go by, and its traffic."""
    if tally.replied < session.min_replies:
        log.warning("round 0 discarded: federation.min_replies=%d", session.min_replies)
        tally.discard(DISCARDED)
        return None, 0
    try:
        opened = open_sum(
            grid,
            session.roster.keyholders,
            session.enrolment,
            session.run_id,
            0,
            collector.aggregator,
            collector.accepted,
            session.holder_timeout_s,
        )
    except SumRefused as refused:
        log.warning("round 0 discarded: %s; a client may have sent garbage", refused)
        tally.discard(SUM_REFUSED)
        return None, refused.traffic
    total = opened.total
    if not np.isfinite(total).all() or total.min() == total.max():
        log.warning("round 0 discarded: the sum of all sensitivity maps names no coordinate")
        return None, opened.traffic
    return total, opened.traffic
