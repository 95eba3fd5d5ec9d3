"""Flower's programming model without Ray: a Grid that calls the ClientApp in this process.

Or in worker processes, see :mod:`fedpriv.federated.engines.pool`. Nothing polls or sleeps, and
nothing is serialised that stays in the process.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import count

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpriv.federated.deadline import ClientTimeout, deadline
from fedpriv.federated.engines import flower_private

FIRST_NODE_ID = flower_private.SERVER_NODE_ID + 1


class Executor(ABC):
    """Runs messages on nodes and yields the replies in the order of the messages."""

    @abstractmethod
    def run(
        self, work: list[tuple[Message, Context]], timeout_s: float | None
    ) -> Iterator[tuple[Message | None, Context]]:
        """Yield (reply or None when the client was late or died, context after it) per message."""

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Free what is held."""


class SerialExecutor(Executor):
    """One client after the other, in the calling thread.

    ``timeout_s`` is each client's own time: the clients of a simulation do not wait for each
    other on real sites. It is enforced by SIGALRM and therefore only in the main thread.
    """

    def __init__(self, app: ClientApp) -> None:
        """Run ``app``."""
        self._app = app

    def run(
        self, work: list[tuple[Message, Context]], timeout_s: float | None
    ) -> Iterator[tuple[Message | None, Context]]:
        """See :class:`Executor`."""
        for message, context in work:
            reply: Message | None
            try:
                with deadline(timeout_s):
                    reply = call(self._app, message, context)
            except ClientTimeout:
                reply = None
            yield reply, context


def call(app: ClientApp, message: Message, context: Context) -> Message:
    """Run one message through the app; an exception becomes an error reply without its text."""
    try:
        return app(message, context)
    except Exception:
        return flower_private.error_reply(message)


class InProcessGrid(Grid):
    """A Grid over nodes that live here.

    Nodes have ids ``FIRST_NODE_ID + partition``. :meth:`send_and_receive` yields replies in the
    order of the messages, as they come, so that a server can add updates while others train.

    Args:
        executor: runs the ClientApp.
        nodes: number of nodes; their node config holds partition-id and num-partitions.
        run_id: Flower's number of the run.
    """

    def __init__(self, executor: Executor, nodes: int, run_id: int = 1) -> None:
        """Make the nodes' contexts."""
        flower_private.enter_task(run_id)
        self._run = flower_private.empty_run(run_id)
        self._executor = executor
        self._contexts = {
            FIRST_NODE_ID + index: flower_private.node_context(
                run_id, FIRST_NODE_ID + index, {"partition-id": index, "num-partitions": nodes}
            )
            for index in range(nodes)
        }
        self._ids = count(1)
        self._replies: dict[str, Message] = {}

    @property
    def contexts(self) -> list[Context]:
        """The nodes' contexts in the order of their partitions: each node's memory is in its state."""
        return list(self._contexts.values())

    def set_run(self, run: Run) -> None:
        """Serve another run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run served."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message (deprecated by Flower in favour of ``Message(...)``)."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return all nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the messages now and keep the replies for :meth:`pull_messages`."""
        pushed = list(messages)
        for reply in self.send_and_receive(pushed):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there."""
        return [self._replies.pop(key) for key in message_ids if key in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Yield the replies in the order of the messages; late and dead clients yield none."""
        work = []
        for message in messages:
            flower_private.stamp(message, f"m{next(self._ids)}")
            work.append((message, self._contexts[message.metadata.dst_node_id]))
        for (message, _), (reply, context) in zip(work, self._executor.run(work, timeout), strict=True):
            self._contexts[message.metadata.dst_node_id] = context
            if reply is not None:
                yield reply

    def close(self) -> None:
        """Stop the executor."""
        self._executor.close()
