"""How the server comes by the most sensitive coordinates: from the sum of all clients' maps, round 0.

Every client computes its sensitivity map (:mod:`fedpriv.training.sensitivity`) and sends it weighted,
encrypted whole and signed, as it will its updates. The server opens the sum through the key holders, so
that it sees no single map, and selects the coordinates that are largest in it.
"""

import logging
import time
from dataclasses import replace

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.collect import Collector
from fedpriv.federated.messages import TrainRequest
from fedpriv.federated.release import open_sum
from fedpriv.federated.start import start_digest
from fedpriv.federated.strategy.session import Session
from fedpriv.he.selection import (
    SelectionError,
    pack_selection,
    select_top,
    selected_count,
    unpack_selection,
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

    Args:
        grid: Flower's connection to the nodes.
        session: of the run; its codec encrypts whole updates.
        parameters: the global model that the maps are computed at, (P,).
        share: p, between 0 and 1.
        timeout_s: seconds that a client has for its map.

    Raises:
        UserError: when fewer than ``session.min_replies`` clients send a usable map, a key holder
            refuses, or the interrupted run's choice is not one.
    """
    kept = None if session.progress is None else session.progress.selection
    size = session.layout.size
    if kept is not None:
        try:
            selected = unpack_selection(kept, size, selected_count(share, size))
        except SelectionError as error:
            raise UserError(f"checkpoint: {error}; it is damaged, run the experiment again") from error
        return replace(session, codec=select(session.codec, selected), selection=kept)
    summed, figures = _summed_maps(grid, session, parameters, share, timeout_s)
    selected = select_top(summed, share)
    return replace(
        session,
        codec=select(session.codec, selected),
        selection=pack_selection(selected),
        choosing=figures,
    )


def _summed_maps(
    grid: Grid, session: Session, parameters: FloatVector, share: float, timeout_s: float
) -> tuple[NDArray[np.float64], RoundResult]:
    """Return the weighted sum of all clients' maps, (P,), and what it took."""
    started = time.perf_counter()
    model = messages.pack_parameters(parameters)
    key = None if session.public_key is None else messages.pack_public_key(session.public_key)
    asked = [(member, session.roster.weight(member)) for member in session.roster.clients]
    requests = [
        Message(
            TrainRequest(session.run_id, 0, weight, {}, parameters).to_content(model, key),
            member.node_id,
            messages.SENSITIVITY,
            group_id="0",
        )
        for member, weight in asked
    ]
    collector = Collector(session, 0, asked, start_digest(parameters, {}))
    for reply in grid.send_and_receive(requests, timeout=timeout_s):
        collector.take(reply)
    tally = collector.close()
    causes = ", ".join(f"{cause} x{count}" for cause, count in sorted(tally.failures.items()))
    found = f"{tally.replied} of {tally.asked} clients sent a usable sensitivity map"
    if tally.replied < session.min_replies:
        raise UserError(
            f"secure.select_top={share}: {found}, federation.min_replies={session.min_replies} "
            f"({causes or 'no cause given'}); see the clients' logs"
        )
    if causes:
        log.warning("%s (%s)", found, causes)
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
    sent = parameters.nbytes + len(session.public_key or b"")
    return opened.total, RoundResult(
        number=0,
        metrics={},
        bytes_up=tally.bytes_up,
        bytes_down=sent * len(asked),
        bytes_keyholders=opened.traffic,
        seconds={"select": time.perf_counter() - started},
        failures={cause: count for cause, count in tally.failures.items() if count},
    )
