"""Who takes part: asked of every node once, before the first round."""

import time
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.messages import Description, MessageError


@dataclass(frozen=True)
class Member:
    """A client: its partition, Flower node and number of examples."""

    partition: int
    node_id: int
    examples: int


@dataclass(frozen=True)
class Roster:
    """All clients in the order of their partitions, and the key holders' nodes in that of their numbers."""

    clients: tuple[Member, ...]
    keyholders: tuple[int, ...]

    def weight(self, member: Member) -> float:
        """Return examples over the largest client's examples, in (0, 1]."""
        return member.examples / max(client.examples for client in self.clients)


def discover(grid: Grid, clients: int, keyholders: int, timeout_s: float) -> Roster:
    """Wait until all nodes are registered and ask each who it is.

    Args:
        grid: Flower's connection to the nodes.
        clients: expected number of clients.
        keyholders: expected number of key holders.
        timeout_s: patience in seconds, for registration and again for the answers.

    Raises:
        UserError: when nodes are missing, fail to describe themselves, or two claim one place.
    """
    expected, deadline = clients + keyholders, time.monotonic() + timeout_s
    while len(nodes := sorted(grid.get_node_ids())) < expected:
        if time.monotonic() > deadline:
            raise UserError(
                f"federation.clients={clients}: only {len(nodes)} of {expected} nodes are registered "
                f"after {timeout_s:g} s; start the missing nodes or lower federation.clients"
            )
        time.sleep(0.05)
    asked = [Message(RecordDict(), node, messages.DESCRIBE) for node in nodes]
    members: dict[int, Member] = {}
    holders: dict[int, int] = {}
    problems: list[str] = []
    for reply in grid.send_and_receive(asked, timeout=timeout_s):
        node = reply.metadata.src_node_id
        try:
            if reply.has_error():
                raise MessageError("no_reply")
            said = Description.from_content(reply.content)
        except MessageError as error:
            problems.append(error.cause)
            continue
        held = said.role == messages.ROLE_KEYHOLDER
        if said.number >= (keyholders if held else clients):
            problems.append("unknown_keyholder" if held else "unknown_partition")
        elif said.number in (holders if held else members):
            problems.append("duplicate_keyholder" if held else "duplicate_partition")
        elif held:
            holders[said.number] = node
        elif said.examples < 1:
            problems.append("no_examples")
        else:
            members[said.number] = Member(said.number, node, said.examples)
    if len(members) < clients or len(holders) < keyholders:
        causes = ", ".join(sorted(set(problems))) or "no reply"
        raise UserError(
            f"federation.clients={clients}: {len(members)} of {clients} clients and {len(holders)} of "
            f"{keyholders} key holders described themselves ({causes}); see their logs"
        )
    return Roster(
        tuple(members[key] for key in sorted(members)), tuple(holders[key] for key in sorted(holders))
    )
