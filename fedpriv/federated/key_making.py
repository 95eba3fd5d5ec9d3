"""How the server carries a committee's key from holder to holder: it reads nothing and can alter nothing.

Three steps over all holders (commit, reveal, endorse), see :mod:`fedpriv.he.ceremony`. What the
server alters is refused by the holders, or later by the clients, who check every endorsement.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flwr.serverapp import Grid

from fedpriv.errors import UserError
from fedpriv.federated import holder_messages, messages
from fedpriv.federated.answers import ask_keyholders
from fedpriv.federated.holder_messages import KeysRequest
from fedpriv.he.key_steps import STEPS


@dataclass(frozen=True)
class MadeKey:
    """A committee's joint public key with its endorsements, and what it cost to make.

    Attributes:
        data: opaque to the server.
        traffic: bytes to and from all holders.
        seconds: all steps on the server's clock, the wait for the holders included.
    """

    data: bytes
    traffic: int
    seconds: float = 0.0


def make_key(grid: Grid, run_id: str, nodes: Sequence[int], timeout_s: float) -> MadeKey:
    """Let the committee behind ``nodes`` make the run's key.

    Raises:
        UserError: when a holder fails, refuses or answers more than ``MOST_KEY_BYTES``; it names the
            holder and the cause.
    """
    from fedpriv.he.joint_key import assemble

    started = time.perf_counter()
    steps: list[list[bytes]] = []
    blobs: list[bytes] = []
    traffic = 0
    for step in STEPS:
        shared = holder_messages.pack_blobs(blobs)
        content = KeysRequest(run_id, step, blobs).to_content(shared)
        what = f"key making, step {step}"
        answers = ask_keyholders(grid, nodes, messages.KEYS, [content] * len(nodes), timeout_s, what)
        for number, answer in enumerate(answers):
            if len(answer) > holder_messages.MOST_KEY_BYTES:
                raise UserError(f"{what}: key holder {number} answered {len(answer)} bytes; see its log")
        traffic += len(nodes) * sum(map(len, blobs)) + sum(map(len, answers))
        steps.append(answers)
        blobs = answers
    _, reveals, endorsements = steps
    data = assemble(reveals, endorsements)
    return MadeKey(data, traffic, time.perf_counter() - started)
