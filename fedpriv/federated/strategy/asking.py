"""Asking a cohort: who is in it, the messages that go out, and the replies as they come in."""

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from flwr.app import ArrayRecord, Message

from fedpriv.federated import messages
from fedpriv.federated.collect import Collector, Tally
from fedpriv.federated.messages import TrainRequest
from fedpriv.federated.roster import Member
from fedpriv.federated.strategy.books import Current
from fedpriv.federated.strategy.session import RunObserver, Session
from fedpriv.seeding import generator
from fedpriv.types import FloatVector


def turn_of(seed: int, clients: int, turns: int, server_round: int) -> list[int]:
    """Return which of the clients, by their place in the roster, have their turn in a round."""
    dealt = generator(seed, "turns").permutation(clients)
    return sorted(np.array_split(dealt, turns)[(server_round - 1) % turns].tolist())


def draw_cohort(session: Session, server_round: int) -> list[Member]:
    """Return the clients of a round, by seed and round alone: drawn without replacement, or whose turn it is.

    Clients that take turns do so in ``session.turns`` groups, dealt by the seed and as large as each other
    but for one client: a client is in every ``turns``-th round, and in no other.
    """
    members = list(session.roster.clients)
    if session.turns is not None:
        return [members[index] for index in turn_of(session.seed, len(members), session.turns, server_round)]
    if session.cohort is None or session.cohort >= len(members):
        return members
    drawn = generator(session.seed, "cohort", server_round).permutation(len(members))
    return [members[index] for index in sorted(drawn[: session.cohort])]


def train_requests(
    session: Session,
    server_round: int,
    asked: Sequence[tuple[Member, float]],
    settings: Mapping[str, float],
    parameters: FloatVector,
    model: ArrayRecord,
    public_key: ArrayRecord | None,
    chosen: ArrayRecord | None = None,
    kind: str = messages.TRAIN,
) -> list[Message]:
    """Return a message per member; all share one copy of the model, the public key and the choice.

    Args:
        session: names the run.
        server_round: the round.
        asked: the members and their weights.
        settings: what all of them are told besides.
        parameters: the global model, (P,).
        model: the same, see ``messages.pack_parameters``.
        public_key: see ``messages.pack_public_key``; None where there is none.
        chosen: see ``messages.pack_chosen``; None where the server has chosen nothing.
        kind: message type.
    """
    return [
        Message(
            TrainRequest(session.run_id, server_round, weight, settings, parameters).to_content(
                model, public_key, chosen
            ),
            member.node_id,
            kind,
            group_id=str(server_round),
        )
        for member, weight in asked
    ]


def take_in(
    replies: Iterable[Message], collector: Collector, current: Current, observers: Sequence[RunObserver]
) -> Tally:
    """Give a collector all replies, one by one as they come; waiting is booked as such.

    A list is taken in the cohort's order: a sum of floats depends on its order.
    """
    order = {member.node_id: index for index, (member, _) in enumerate(current.asked)}
    if isinstance(replies, list):
        replies = sorted(replies, key=lambda reply: order.get(reply.metadata.src_node_id, len(order)))
    stream, done = iter(replies), 0
    while True:
        started = time.perf_counter()
        reply = next(stream, None)
        current.wait_seconds += time.perf_counter() - started
        if reply is None:
            return collector.close()
        collector.take(reply)
        done += 1
        for observer in observers:
            observer.client_done(done, len(current.asked))
