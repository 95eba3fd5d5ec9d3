"""Asking all key holders at once, and naming the one that fails."""

from collections.abc import Callable, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedpriv.errors import UserError
from fedpriv.federated import holder_messages
from fedpriv.federated.messages import MessageError

NO_SUM = ("not_a_sum", "malformed")
"""Causes for which a sum is none: one client whose signed body or mask is garbage brings them about."""


class SumRefused(UserError):
    """What the key holders were shown, or what they answered, is no sum.

    Attributes:
        cause: one of :data:`NO_SUM`.
        traffic: bytes to and from all key holders that it took.
    """

    def __init__(self, text: str, cause: str, traffic: int = 0) -> None:
        """Keep the cause."""
        super().__init__(text)
        self.cause, self.traffic = cause, traffic


def ask_keyholders(
    grid: Grid,
    nodes: Sequence[int],
    kind: str,
    contents: Sequence[RecordDict],
    timeout_s: float,
    what: str,
    check: Callable[[int, RecordDict], bytes] | None = None,
) -> list[bytes]:
    """Send each key holder its content and return the answers in the order of the holders.

    Args:
        grid: Flower's connection to the nodes.
        nodes: the key holders' nodes, in the order of their numbers.
        kind: message type.
        contents: one per holder; what they share must be the same objects, so that nothing is copied.
        timeout_s: patience in seconds.
        what: what is being done, for the error's text, e.g. ``round 3``.
        check: returns the answer in a holder's content once it has checked it, and raises
            :class:`MessageError` or :class:`UserError`; None takes any answer.

    Raises:
        UserError: when a holder refuses, fails or does not answer; it names the holder and the cause.
        SumRefused: when some holders find that what they were shown is no sum and nothing else is amiss.
    """
    numbers = {node: number for number, node in enumerate(nodes)}
    asked = [Message(content, node, kind) for node, content in zip(nodes, contents, strict=True)]
    answers: dict[int, bytes] = {}
    refused: dict[int, SumRefused] = {}
    for reply in grid.send_and_receive(asked, timeout=timeout_s):
        number = numbers.get(reply.metadata.src_node_id)
        if number is None or number in answers or number in refused:
            continue
        try:
            if reply.has_error():
                raise MessageError("exception")
            content = reply.content
            answers[number] = (
                holder_messages.unpack_answer(content) if check is None else check(number, content)
            )
        except MessageError as error:
            said = f"{what}: key holder {number} refused ({error.cause}); see its log"
            if error.cause not in NO_SUM or not _refuses(reply):
                raise UserError(said) from None
            # another holder may have graver grounds, and its answer must not come in the next round
            refused[number] = SumRefused(said, error.cause)
    for number in range(len(nodes)):
        if number not in answers and number not in refused:
            raise UserError(f"{what}: key holder {number} did not answer within {timeout_s:g} s; see its log")
    if refused:
        first = refused[min(refused)]
        first.traffic = sum(map(len, answers.values()))
        raise first
    return [answers[number] for number in range(len(nodes))]


def _refuses(reply: Message) -> bool:
    """Whether a holder says so itself, and has not just answered what cannot be read."""
    status = None if reply.has_error() else reply.content.config_records.get("status")
    return status is not None and status.get("outcome") != "ok"
