"""A real site's ledger and its budget over all runs are its own word, never the server's."""

import json

import pytest
from flwr.app import Message, RecordDict

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.client_app import make_client_app
from fedpriv.federated.engines.inprocess import FIRST_NODE_ID, InProcessGrid, SerialExecutor

SERVERS = {"secure": {"key_folder": "/the/servers"}, "privacy": {"ledger": None, "lifetime_epsilon": 9.0}}


def told(node_config, servers=SERVERS):
    """What a site with this node config builds itself from, and what the server hears."""
    seen = []

    def build_site(text):
        seen.append(json.loads(text))
        raise UserError("seen enough")

    app = make_client_app(build_site, lambda *_: None, lambda *_: None, config=json.dumps(servers))
    grid = InProcessGrid(SerialExecutor(app), nodes=1)
    grid.contexts[0].node_config.update(node_config)
    (reply,) = grid.send_and_receive([Message(RecordDict(), FIRST_NODE_ID, messages.TRAIN)])
    return seen[0]["privacy"] if seen else None, reply.content


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"ledger-folder": "/mine"}, {"ledger": "/mine", "lifetime_epsilon": 9.0}),
        # the server has none, or names a folder: a real site keeps its own all the same
        ({"key-folder": "/keys"}, {"ledger": "default", "lifetime_epsilon": 9.0}),
        ({"key-folder": "/keys", "lifetime-epsilon": 3}, {"ledger": "default", "lifetime_epsilon": 3.0}),
        ({"ledger-folder": "/mine", "lifetime-epsilon": "20"}, {"ledger": "/mine", "lifetime_epsilon": 9.0}),
        ({"lifetime-epsilon": 3}, {"ledger": "default", "lifetime_epsilon": 3.0}),
        # a simulation's nodes have nothing of their own
        ({}, SERVERS["privacy"]),
    ],
)
def test_a_sites_ledger_is_its_own_and_the_server_can_only_lower_its_budget(own, expected):
    assert told(own)[0] == expected


def test_a_server_that_says_nothing_of_ledgers_gets_a_site_that_keeps_one():
    assert told({"key-folder": "/k"}, {"secure": {}})[0] == {"ledger": "default"}
    named = {"secure": {}, "privacy": {"ledger": "/etc", "lifetime_epsilon": None}}
    assert told({"key-folder": "/k", "lifetime-epsilon": 2.5}, named)[0] == {
        "ledger": "default",
        "lifetime_epsilon": 2.5,
    }


def test_a_budget_that_is_no_number_stops_the_site_and_is_not_told_to_the_server():
    built, content = told({"ledger-folder": "/mine", "lifetime-epsilon": "lots"})
    assert built is None
    assert content == messages.failure("misconfigured")
