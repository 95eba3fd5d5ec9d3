"""Which node is who, who answers what, and what a failure tells the server."""

import pytest
from flwr.app import Message, RecordDict

from fedpriv.errors import UserError
from fedpriv.federated import holder_messages, messages
from fedpriv.federated.client_app import make_client_app
from fedpriv.federated.engines.inprocess import FIRST_NODE_ID, InProcessGrid, SerialExecutor
from fedpriv.federated.holder_messages import KeysRequest
from fedpriv.federated.keyholder import Refusal
from fedpriv.federated.messages import Description, MessageError
from fedpriv.he.answer import SignedAnswer
from fedpriv.he.envelope import SIGNED_BYTES

RUN = "ab" * 16


class TwoClients:
    """A site of two clients with 3 and 4 examples."""

    clients, shares = 2, [range(3), range(4)]

    def plan(self, client):
        return None


class Fake:
    """Key holder and key maker; says who it is."""

    def __init__(self, number):
        self.number = number

    def open(self, request):
        if request.round == 9:
            raise Refusal("already_released")
        if request.round == 10:
            raise UserError("/secret/path/transcript.jsonl: damaged")
        if request.round == 11:
            raise RuntimeError("secret=42")
        return SignedAnswer(f"opened by {self.number}".encode(), bytes([self.number]) * 64)

    def step(self, step, blobs):
        return f"{step} by {self.number} of {len(blobs)}".encode()


@pytest.fixture
def grid():
    app = make_client_app(
        lambda text: TwoClients(), lambda text, n: Fake(n), lambda text, n: Fake(n), config="{}"
    )
    return InProcessGrid(SerialExecutor(app), nodes=5)


def ask(grid, node, kind, content=None):
    (reply,) = grid.send_and_receive([Message(content or RecordDict(), FIRST_NODE_ID + node, kind)])
    return reply.content


def opening(number):
    parts = holder_messages.pack_open_parts([bytes(SIGNED_BYTES)], b"")
    return holder_messages.pack_open(bytes(16), number, parts, holder_messages.pack_blobs([b""]))


def test_the_nodes_after_the_clients_are_the_key_holders_from_0(grid):
    said = [Description.from_content(ask(grid, node, messages.DESCRIBE)) for node in range(5)]
    assert [(each.role, each.number, each.examples) for each in said] == [
        ("client", 0, 3),
        ("client", 1, 4),
        ("keyholder", 0, 0),
        ("keyholder", 1, 0),
        ("keyholder", 2, 0),
    ]


def test_on_real_sites_the_node_config_names_the_holder(grid):
    grid.contexts[0].node_config["holder"] = 7
    said = Description.from_content(ask(grid, 0, messages.DESCRIBE))
    assert (said.role, said.number) == ("keyholder", 7)
    answer = holder_messages.unpack_signed_answer(ask(grid, 0, messages.OPEN, opening(1)))
    assert answer == SignedAnswer(b"opened by 7", bytes([7]) * 64)


def test_every_holder_answers_for_itself(grid):
    content = KeysRequest(RUN, "reveal", [b"a", b"b"]).to_content(holder_messages.pack_blobs([b"a", b"b"]))
    for node in (2, 4):
        answer = holder_messages.unpack_signed_answer(ask(grid, node, messages.OPEN, opening(1)))
        assert answer == SignedAnswer(f"opened by {node - 2}".encode(), bytes([node - 2]) * 64)
        answer = holder_messages.unpack_answer(ask(grid, node, messages.KEYS, content))
        assert answer == f"reveal by {node - 2} of 2".encode()


@pytest.mark.parametrize(
    ("node", "kind"), [(0, messages.OPEN), (1, messages.KEYS), (2, messages.TRAIN)], ids=str
)
def test_nobody_plays_anothers_part(grid, node, kind):
    content = opening(1) if kind == messages.OPEN else None
    with pytest.raises(MessageError, match="wrong_role"):
        holder_messages.unpack_answer(ask(grid, node, kind, content))


@pytest.mark.parametrize(
    ("number", "cause", "logged"),
    [
        (9, "already_released", "already_released"),
        (10, "misconfigured", "/secret/path/transcript.jsonl: damaged"),
        (11, "exception", "secret=42"),
    ],
)
def test_the_server_is_told_the_cause_and_the_log_the_rest(grid, caplog, number, cause, logged):
    caplog.set_level("INFO")
    content = ask(grid, 2, messages.OPEN, opening(number))
    assert dict(content["status"]) == {"outcome": "failed", "cause": cause}
    assert list(content) == ["status"]
    assert logged in caplog.text
    assert ("Traceback" in caplog.text) == (cause == "exception")


@pytest.mark.parametrize("kind", [messages.TRAIN, messages.KEYS, messages.OPEN])
def test_an_empty_request_is_malformed(grid, kind):
    node = 0 if kind == messages.TRAIN else 2
    with pytest.raises(MessageError, match="malformed"):
        holder_messages.unpack_answer(ask(grid, node, kind))
