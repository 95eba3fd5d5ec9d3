"""The server's side of one round: check every reply before parsing it, add it, count what fails."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import Message

from fedpriv.federated.messages import LARGEST_FIGURE, MessageError, TrainReply
from fedpriv.federated.release import Accepted
from fedpriv.federated.roster import Member
from fedpriv.federated.start import codec_of_run
from fedpriv.federated.strategy.session import Session
from fedpriv.he.codec import Aggregator, PayloadError, SumError
from fedpriv.he.envelope import SIGNED_BYTES, EnvelopeError, Expected, open_envelope
from fedpriv.privacy.noise import RandomSource

_FLOWER_ERRORS = {2: "exception", 3: "no_reply", 6: "no_reply", 8: "no_reply"}
"""Flower's error codes for what happened to a message, in our words."""

DISCARDED, SUM_REFUSED = "round_discarded", "sum_refused"
OF_ROUNDS = (DISCARDED, SUM_REFUSED)
"""What the server counts updates under that were not used: no client can say so of itself."""


@dataclass
class Tally:
    """What came of one round's requests.

    ``spent`` holds the cumulative epsilon that clients report, by partition; ``exhausted`` the
    partitions of those whose privacy budget allowed no further round, ``by_rdp`` of those whose epsilon is
    the RDP bound.
    """

    asked: int
    replied: int = 0
    weight: float = 0.0
    bytes_up: int = 0
    update_bytes: list[int] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    aggregate_seconds: float = 0.0
    spent: dict[int, float] = field(default_factory=dict)
    exhausted: set[int] = field(default_factory=set)
    delta: float | None = None
    by_rdp: set[int] = field(default_factory=set)
    _figures: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def note(self, metrics: Mapping[str, float], examples: int) -> None:
        """Add one client's figures, but for those that are negative, huge or not finite."""
        for name, value in metrics.items():
            if math.isfinite(value) and 0.0 <= value <= LARGEST_FIGURE:
                self._figures.setdefault(name, []).append((value, examples))

    def mean(self, name: str) -> float | None:
        """Return the mean of a figure over clients, weighted by examples; None if nobody sent it."""
        known = self._figures.get(name, [])
        weight = sum(examples for _, examples in known)
        return sum(value * examples for value, examples in known) / weight if weight else None

    def largest(self, name: str) -> float | None:
        """Return the largest value of a figure over clients; None if nobody sent it."""
        return max((value for value, _ in self._figures.get(name, [])), default=None)

    def total(self, name: str) -> float:
        """Return the sum of a figure over clients."""
        return sum(value for value, _ in self._figures.get(name, []))

    def discard(self, cause: str) -> None:
        """Count every update that came under ``cause``, one of :data:`OF_ROUNDS`: none of them is used."""
        self.failures[cause], self.replied = self.replied, 0

    def causes(self) -> str:
        """Return what failed and how often, for a line of text."""
        counted = ", ".join(f"{cause} x{count}" for cause, count in sorted(self.failures.items()))
        return counted or "no cause given"


class Collector:
    """Adds up the updates of one round.

    Guarantee:
        - No payload byte is parsed before every field of its envelope, the enrolled client's
          signature and the hashes of mask and body have been checked.
        - No body is added whose mask the key holders would refuse.
        - A reply that fails any check leaves the sum unchanged and is counted by cause.
        - At most one update per asked client is added.

    Attributes:
        tally: what came so far.
        aggregator: the sum of the bodies.
        accepted: signed headers and masks of the clients in it, for the key holders.
    """

    def __init__(
        self,
        session: Session,
        server_round: int,
        asked: list[tuple[Member, float]],
        start: bytes,
        noise: RandomSource | None = None,
    ) -> None:
        """Expect one reply of each ``(member, weight)``, made from the model and settings of ``start``.

        ``noise`` is where the server's comes from, if it adds any.
        """
        codec, length = session.codec, session.update_length
        self.tally = Tally(asked=len(asked))
        self.aggregator: Aggregator = codec.aggregator(length, noise)
        self.accepted = Accepted()
        self._session, self._round, self._start = session, server_round, start
        self._run_id = bytes.fromhex(session.run_id)
        self._codec_digest = codec_of_run(codec.digest, session.run_digest)
        self._mask_bytes, self._body_bytes = codec.mask_bytes(length), codec.body_bytes(length)
        self._pending = {member.node_id: (member, weight) for member, weight in asked}

    def take(self, reply: Message) -> None:
        """Check one reply and add its update to the sum."""
        started = time.perf_counter()
        expected = self._pending.pop(reply.metadata.src_node_id, None)
        if expected is None:
            self.tally.failures["unexpected"] += 1
            return
        member, weight = expected
        try:
            self._add(reply, member, weight)
        except (MessageError, EnvelopeError, PayloadError, SumError) as error:
            self.tally.failures["unknown" if error.cause in OF_ROUNDS else error.cause] += 1
            if error.cause == "budget_spent":
                self.tally.exhausted.add(member.partition)
        self.tally.aggregate_seconds += time.perf_counter() - started

    def close(self) -> Tally:
        """Count who never answered and return the tally."""
        if self._pending:
            self.tally.failures["no_reply"] += len(self._pending)
        self._pending = {}
        return self.tally

    def _add(self, reply: Message, member: Member, weight: float) -> None:
        if reply.has_error():
            raise MessageError(_FLOWER_ERRORS.get(reply.error.code, "flower_error"))
        session = self._session
        content = TrainReply.from_content(reply.content, session.codec.scheme)
        self.tally.bytes_up += len(content.sealed)
        epsilon = content.metrics.get("epsilon")
        if session.plan_of is None:
            epsilon = None  # nothing was to be spent: whoever claims an epsilon would make it the run's
        if epsilon is not None and (0.0 <= epsilon <= LARGEST_FIGURE or epsilon == math.inf):
            # noted before any check: what was sent is spent, whether or not it can be used
            self.tally.spent[member.partition] = epsilon
            self.tally.delta = content.metrics.get("delta")
            if content.metrics.get("rdp", 0.0) > 0.0:
                self.tally.by_rdp.add(member.partition)
        expected = Expected(
            scheme=session.codec.scheme,
            run_id=self._run_id,
            round=self._round,
            client=member.partition,
            parameters=session.update_length,
            layout=session.layout.digest,
            start=self._start,
            codec=self._codec_digest,
            examples=member.examples,
            weight=weight,
            mask_bytes=self._mask_bytes,
            body_bytes=self._body_bytes,
        )
        envelope = open_envelope(
            content.sealed,
            expected,
            session.enrolment.clients[member.partition],
            max_bytes=SIGNED_BYTES + self._mask_bytes + self._body_bytes,
        )
        session.codec.check_mask(envelope.mask, session.update_length)
        self.aggregator.add(envelope.body)
        if session.codec.holders:
            # a copy, so that the body's bytes are not kept for the whole round
            self.accepted.signed.append(envelope.signed)
            self.accepted.masks.append(bytes(envelope.mask))
        self.tally.replied += 1
        self.tally.weight += weight
        self.tally.update_bytes.append(len(content.sealed))
        self.tally.note(content.metrics, member.examples)
        if session.listener is not None:
            session.listener.update(self._round, member.partition, envelope.body, epsilon or 0.0)
