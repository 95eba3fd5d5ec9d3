"""How the server comes by the sum of a round: by itself, or with every key holder's answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.federated import holder_messages, messages
from fedpriv.federated.answers import NO_SUM, SumRefused, ask_keyholders
from fedpriv.he.answer import is_signed
from fedpriv.he.codec import Aggregator, SumError
from fedpriv.he.identity import Enrolment


@dataclass
class Accepted:
    """What key holders are shown of the clients in a sum.

    Attributes:
        signed: header and signature of each client's envelope.
        masks: the mask that the header vouches for, in the same order.
    """

    signed: list[bytes] = field(default_factory=list)
    masks: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Opened:
    """An opened sum.

    Attributes:
        total: (P,) float64.
        traffic: bytes to and from all key holders; the signatures of their answers are not counted.
    """

    total: NDArray[np.float64]
    traffic: int


def open_sum(
    grid: Grid,
    nodes: Sequence[int],
    enrolment: Enrolment,
    run_id: str,
    server_round: int,
    aggregator: Aggregator,
    accepted: Accepted,
    timeout_s: float,
    selection: bytes | None = None,
) -> Opened:
    """Open the sum of a round; the server has no key of its own.

    All key holders are asked at once and share one copy of what they are shown.

    Args:
        grid: Flower's connection to the nodes.
        nodes: the key holders' nodes in the order of their numbers; none for a scheme without.
        enrolment: has the keys that the holders' answers must be signed with.
        run_id: 32 hexadecimal digits.
        server_round: the round.
        aggregator: holds the sum of the bodies.
        accepted: of the same clients.
        timeout_s: patience in seconds.
        selection: the coordinates that the clients were told to encrypt, packed; None for all.

    Raises:
        UserError: when a holder refuses, fails or does not answer, or has not signed its answer.
        SumRefused: when holders or the server find that it is no sum. It may have been opened all the
            same, by some of the holders.
    """
    what = f"round {server_round}"
    answers: list[bytes] = []
    traffic = 0
    if nodes:
        body_sum = aggregator.body_sum()
        content = holder_messages.pack_open(
            bytes.fromhex(run_id),
            server_round,
            holder_messages.pack_open_parts(accepted.signed, body_sum),
            holder_messages.pack_blobs(accepted.masks),
            None if selection is None else messages.pack_chosen(selection),
        )
        shown = sum(map(len, accepted.signed)) + sum(map(len, accepted.masks)) + len(body_sum)
        traffic = len(nodes) * (shown + len(selection or b""))

        def check(number: int, reply: RecordDict) -> bytes:
            signed = holder_messages.unpack_signed_answer(reply)
            if not is_signed(
                signed, enrolment.keyholders[number], bytes.fromhex(run_id), server_round, number
            ):
                raise UserError(
                    f"{what}: the answer of key holder {number} is not signed by its enrolled key (forged); "
                    "see its log"
                )
            return signed.answer

        try:
            answers = ask_keyholders(
                grid, nodes, messages.OPEN, [content] * len(nodes), timeout_s, what, check
            )
        except SumRefused as refused:
            refused.traffic += traffic
            raise
        traffic += sum(map(len, answers))
    try:
        return Opened(aggregator.open(answers), traffic)
    except SumError as error:
        said = f"{what}: the key holders' answers do not open the sum ({error.cause}); see their logs"
        if error.cause in NO_SUM:
            raise SumRefused(said, error.cause, traffic) from error
        raise UserError(said) from error
