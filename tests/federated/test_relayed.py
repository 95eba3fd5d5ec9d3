"""The question to ask through the relays: who answers it, by whose settings, and what a reply may hold."""

from collections import Counter
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedpriv.federated import messages
from fedpriv.federated.client_app import CONFIG_KEY, make_client_app
from fedpriv.federated.engines import flower_private
from fedpriv.federated.engines.inprocess import FIRST_NODE_ID, InProcessGrid, SerialExecutor
from fedpriv.federated.latencies import histogram
from fedpriv.federated.messages import MessageError
from fedpriv.federated.relayed import RelayedReply, RelayedRequest, make_relayed_app

RUN = "ab" * 16
PARAMETERS = np.arange(5, dtype=np.float32)
REPLY = RelayedReply(
    images=3,
    lost={"busy": 1},
    differing=0,
    relayed=(7,),
    local=(7,),
    latencies=histogram([0.01, 0.02]),
    sent_bytes=100,
    received_bytes=10,
    retries=1,
    shown=((b"{}", b"{}"), (b"", b"{}")),
)


class Site:
    run_id, clients, shares, faults = RUN, 2, [range(3), range(4)], {1: "raise"}

    def plan(self, client):
        return None

    def said_of_copies(self, client):
        return None


def request(client=0):
    return RelayedRequest(RUN, f"/keys/client-{client}.json", "gaze", 6, 4, 1, PARAMETERS)


def grid_of(config="{}", site=Site, nodes=2, ask=None):
    asked = []

    def ask_relays(text, client, settings, given):
        asked.append((client, settings, given))
        return REPLY

    app = make_client_app(lambda text: site(), None, None, config, None, ask or ask_relays)
    return InProcessGrid(SerialExecutor(app), nodes), asked


def ask(grid, node, content=None):
    content = content or request().to_content(messages.pack_parameters(PARAMETERS))
    (reply,) = grid.send_and_receive([Message(content, FIRST_NODE_ID + node, messages.RELAYED)])
    return reply.content


def test_request_and_reply_survive_the_way():
    grid, asked = grid_of()
    assert RelayedReply.from_content(ask(grid, 0)) == REPLY
    client, settings, given = asked[0]
    assert (client, settings) == (0, "/keys/client-0.json")
    np.testing.assert_array_equal(given.parameters, PARAMETERS)
    assert replace(given, parameters=PARAMETERS) == replace(request(), parameters=PARAMETERS)


def test_a_real_site_sends_its_images_by_its_own_settings_or_not_at_all():
    """The server's word would decide which model server can open them."""
    grid, asked = grid_of(config=None)
    grid.contexts[0].run_config[CONFIG_KEY] = "{}"
    with pytest.raises(MessageError, match="no_relays"):
        RelayedReply.from_content(ask(grid, 0))
    assert not asked
    grid.contexts[0].node_config["relay-settings"] = "/mine/relays.json"
    grid.contexts[0].run_config[CONFIG_KEY] = '{"privacy": {}}'
    RelayedReply.from_content(ask(grid, 0))
    assert asked[0][1] == "/mine/relays.json"


def test_nobody_answers_for_a_client_or_in_another_run_or_to_half_a_question():
    grid, asked = grid_of(nodes=3)
    with pytest.raises(MessageError, match="wrong_role"):
        RelayedReply.from_content(ask(grid, 2))
    other = replace(request(), run_id="cd" * 16).to_content(messages.pack_parameters(PARAMETERS))
    with pytest.raises(MessageError, match="wrong_run"):
        RelayedReply.from_content(ask(grid, 0, other))
    with pytest.raises(MessageError, match="malformed"):
        RelayedReply.from_content(ask(grid, 0, RecordDict({"x": ConfigRecord({})})))
    assert not asked


def serve(grid, usable=lambda client, reply: True):
    found = []
    app = make_relayed_app(2, request, usable, 5.0, 30.0, found.append)
    app(grid=grid, context=flower_private.node_context(1, flower_private.SERVER_NODE_ID, {}))
    return found[0]


def test_the_server_has_a_reply_or_a_cause_of_every_client():
    answers = serve(grid_of()[0])
    assert answers.replies == {0: REPLY}
    assert answers.failures == {1: "exception"}  # planted
    assert serve(grid_of()[0], usable=lambda client, reply: False).failures == {
        0: "malformed",
        1: "exception",
    }


def test_a_client_that_falls_silent_is_one_that_gave_no_reply():
    class Silent(Site):
        faults = MappingProxyType({0: "silent"})

    grid = grid_of(site=Silent)[0]
    found = []
    app = make_relayed_app(2, request, lambda *_: True, 5.0, 1.0, found.append)
    app(grid=grid, context=flower_private.node_context(1, flower_private.SERVER_NODE_ID, {}))
    assert (found[0].replies, found[0].failures) == ({1: REPLY}, {0: "no_reply"})


def changed(record, **values):
    content = REPLY.to_content()
    for name, value in values.items():
        content[record][name.replace("_", "-")] = value
    return content


@pytest.mark.parametrize(
    "content",
    [
        changed("figures", images=-1),
        changed("figures", images=2.0),
        changed("figures", images=True),
        changed("figures", images=4),  # 3 answered, 2 latencies
        changed("figures", differing=3),
        changed("figures", relayed=[-7]),
        changed("figures", relayed=["7"]),
        changed("figures", relayed=[7, 7]),
        changed("figures", relayed=[0] * 2000, local=[0] * 2000),
        changed("figures", latencies=[2]),
        changed("figures", shown_local=[b"{}"]),
        changed("figures", shown_local=["{}", "{}"]),
        changed("figures", shown_relayed=[b"x" * 600, b""]),
        changed("lost", busy=-1),
        changed("lost", busy="1"),
        RecordDict({"status": ConfigRecord({"outcome": "ok"})}),
    ],
)
def test_a_reply_that_contradicts_itself_is_malformed(content):
    with pytest.raises(MessageError, match="malformed"):
        RelayedReply.from_content(content)


def test_a_cause_is_an_identifier_or_unknown():
    content = changed("lost", **{"a b": 0})
    del content["lost"]["a b"]
    content["lost"]["/home/alice\n"] = 0
    assert Counter(RelayedReply.from_content(content).lost) == {"busy": 1, "unknown": 0}
