"""The contract of the in-process engine with the pinned Flower: fails when an upgrade breaks it."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid

from fedpriv.federated.engines import flower_private
from fedpriv.federated.engines.inprocess import InProcessGrid, SerialExecutor


def test_the_installed_flower_is_the_pinned_one():
    assert importlib.metadata.version("flwr") == flower_private.PINNED_VERSION


def test_the_package_pins_the_same_flower_exactly():
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    assert (
        f"flwr[simulation]=={flower_private.PINNED_VERSION}" in tomllib.loads(text)["project"]["dependencies"]
    )


def test_node_and_error_numbers_are_flowers():
    assert flower_private.SERVER_NODE_ID == SUPERLINK_NODE_ID
    assert flower_private.CLIENT_APP_RAISED == ErrorCode.CLIENT_APP_RAISED_EXCEPTION


def test_every_abstract_method_of_flowers_grid_is_ours():
    assert Grid.__abstractmethods__ <= set(vars(InProcessGrid))


def test_messages_can_be_made_stamped_and_replied_to():
    flower_private.enter_task(7)
    message = Message(RecordDict({"x": ConfigRecord({"a": 1})}), 5, "query.describe", group_id="3")
    flower_private.stamp(message, "m1")
    reply = Message(RecordDict(), reply_to=message)
    assert (message.metadata.run_id, message.metadata.src_node_id) == (7, SUPERLINK_NODE_ID)
    assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (5, "m1")


def test_an_error_reply_carries_the_code_and_no_text():
    flower_private.enter_task(7)
    message = Message(RecordDict(), 5, "train")
    flower_private.stamp(message, "m1")
    error = flower_private.error_reply(message).error
    assert (error.code, error.reason) == (flower_private.CLIENT_APP_RAISED, None)


def test_only_one_file_touches_flowers_private_parts():
    folder = Path(flower_private.__file__).parents[1]
    private = ("flwr.supercore", "flwr.common", "flwr.proto", "flwr.server.", "flwr.superlink", "__dict__")
    guilty = {path.name for path in folder.rglob("*.py") if any(word in path.read_text() for word in private)}
    # Grid's public signature itself names flwr.supercore.run.Run
    assert guilty == {"flower_private.py", "inprocess.py"}


def test_push_and_pull_answer_like_send_and_receive():
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.query("echo")
    def echo(message, context):
        return Message(
            RecordDict({"n": ConfigRecord({"p": context.node_config["partition-id"]})}), reply_to=message
        )

    grid = InProcessGrid(SerialExecutor(app), nodes=3)
    nodes = list(grid.get_node_ids())
    ids = list(grid.push_messages([Message(RecordDict(), node, "query.echo") for node in nodes]))
    replies = list(grid.pull_messages(ids))
    assert [reply.content["n"]["p"] for reply in replies] == [0, 1, 2]
    assert list(grid.pull_messages(ids)) == []


@pytest.mark.parametrize("bad", ["train", "query.echo"])
def test_an_app_that_raises_costs_one_error_reply(bad):
    from flwr.clientapp import ClientApp

    app = ClientApp()  # has no handler at all, so every message raises
    grid = InProcessGrid(SerialExecutor(app), nodes=1)
    replies = list(grid.send_and_receive([Message(RecordDict(), 2, bad)]))
    assert replies[0].has_error()
    assert replies[0].error.reason is None
