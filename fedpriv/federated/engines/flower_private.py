"""Every use of Flower's private parts, for the pinned version: the in-process engine's price.

Flower lets messages be made only inside one of its own tasks, and only its SuperLink gives them
ids. ``tests/federated/test_flower_private.py`` fails when another version changes any of this.
"""

from flwr.app import Context, Error, Message, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

PINNED_VERSION = "1.41.0"

SERVER_NODE_ID = 1
"""Flower's SUPERLINK_NODE_ID: who sends the server's messages."""

CLIENT_APP_RAISED = 2
"""Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION."""


def enter_task(run_id: int) -> None:
    """Let this process make messages, as the ServerApp's task of run ``run_id``."""
    TaskIdentity.run_id = run_id
    TaskIdentity.task_id = 1
    TaskIdentity.node_id = SERVER_NODE_ID


def empty_run(run_id: int) -> Run:
    """Return the description of a run that has no app bundle."""
    return Run.create_empty(run_id)


def stamp(message: Message, message_id: str) -> None:
    """Give a message the id that its reply will refer to."""
    message.metadata.__dict__["_message_id"] = message_id


def node_context(run_id: int, node_id: int, node_config: dict[str, int | str]) -> Context:
    """Return a node's fresh context."""
    return Context(
        run_id=run_id, node_id=node_id, node_config=dict(node_config), state=RecordDict(), run_config={}
    )


def error_reply(message: Message) -> Message:
    """Return the reply to a message whose ClientApp raised; it quotes nothing."""
    return Message(Error(CLIENT_APP_RAISED), reply_to=message)
