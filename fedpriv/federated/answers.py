"""Asking all key holders at once, and naming the one that fails."""

from collections.abc import Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedpriv.errors import UserError
from fedpriv.federated import holder_messages
from fedpriv.federated.messages import MessageError


def ask_keyholders(
    grid: Grid, nodes: Sequence[int], kind: str, contents: Sequence[RecordDict], timeout_s: float, what: str
) -> list[bytes]:
    """Send each key holder its content and return the answers in the order of the holders.

    Args:
        grid: Flower's connection to the nodes.
        nodes: the key holders' nodes, in the order of their numbers.
        kind: message type.
        contents: one per holder; what they share must be the same objects, so that nothing is copied.
        timeout_s: patience in seconds.
        what: what is being done, for the error's text, e.g. ``round 3``.

    Raises:
        UserError: when a holder refuses, fails or does not answer; it names the holder and the cause.
    """
    numbers = {node: number for number, node in enumerate(nodes)}
    asked = [Message(content, node, kind) for node, content in zip(nodes, contents, strict=True)]
    answers: dict[int, bytes] = {}
    for reply in grid.send_and_receive(asked, timeout=timeout_s):
        number = numbers.get(reply.metadata.src_node_id)
        if number is None or number in answers:
            continue
        try:
            if reply.has_error():
                raise MessageError("exception")
            answers[number] = holder_messages.unpack_answer(reply.content)
        except MessageError as error:
            raise UserError(f"{what}: key holder {number} refused ({error.cause}); see its log") from None
    for number in range(len(nodes)):
        if number not in answers:
            raise UserError(f"{what}: key holder {number} did not answer within {timeout_s:g} s; see its log")
    return [answers[number] for number in range(len(nodes))]
