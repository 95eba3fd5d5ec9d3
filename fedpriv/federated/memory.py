"""What a node keeps in Flower's ``context.state``, read and written in one place."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context

from fedpriv.federated.messages import PARAMETERS_STYPE
from fedpriv.privacy import accounting
from fedpriv.training.party import ClientMemory


def recall(context: Context, latest: ClientMemory | None = None) -> ClientMemory:
    """Return a client's memory; a fresh one before its first round.

    Args:
        context: as it was when the message that it came with was sent: older, where messages overlap.
        latest: what this process knows the client to have done; None for nothing.

    Raises:
        ValueError: when its privacy history is damaged.
    """
    memory = ClientMemory()
    if "privacy" in context.state:
        memory.history = accounting.from_json(str(context.state.config_records["privacy"]["history"]))
    if "head" in context.state:
        data = context.state.array_records["head"]["parameters"].data
        memory.head = np.frombuffer(data, dtype="<f4")
    if "turn" in context.state:
        memory.last_round = int(str(context.state.config_records["turn"]["last-round"]))
    if latest is not None:
        memory.history = accounting.at_least(memory.history, latest.history)
        if latest.last_round is not None:
            memory.last_round = max(latest.last_round, memory.last_round or 0)
    return memory


def remember(context: Context, memory: ClientMemory) -> None:
    """Write a client's memory."""
    if memory.last_round is not None:
        context.state["turn"] = ConfigRecord({"last-round": memory.last_round})
    if memory.history:
        context.state["privacy"] = ConfigRecord({"history": accounting.to_json(memory.history)})
    if memory.head is not None:
        data = memory.head.astype("<f4").tobytes()
        context.state["head"] = ArrayRecord(
            {"parameters": Array("float32", memory.head.shape, PARAMETERS_STYPE, data)}
        )
