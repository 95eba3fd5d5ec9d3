"""Who takes part is asked once; two who claim one place, or one nobody planned, stop the run."""

import pytest
from flwr.app import Message

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.engines import flower_private
from fedpriv.federated.messages import Description
from fedpriv.federated.roster import Member, discover


class Nodes:
    """A grid whose node ``7 + i`` describes itself as the i-th of ``said``."""

    def __init__(self, *said):
        flower_private.enter_task(1)
        self.said = said

    def get_node_ids(self):
        return [7 + index for index in range(len(self.said))]

    def send_and_receive(self, requests, timeout=None):
        for index, message in enumerate(requests):
            flower_private.stamp(message, f"m{index}")
            said = self.said[message.metadata.dst_node_id - 7]
            content = said if isinstance(said, str) else Description(*said).to_content()
            if isinstance(content, str):
                content = messages.failure(content)
            yield Message(content, reply_to=message)


def test_clients_and_key_holders_are_ordered_by_their_own_numbers():
    nodes = Nodes(("keyholder", 1, 0), ("client", 1, 5), ("keyholder", 0, 0), ("client", 0, 3))
    roster = discover(nodes, 2, 2, 1.0)
    assert roster.clients == (Member(0, 10, 3), Member(1, 8, 5))
    assert roster.keyholders == (9, 7)


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (("client", 1, 5), "duplicate_partition"),
        (("client", 2, 5), "unknown_partition"),
        (("client", 0, 0), "no_examples"),
        ("misconfigured", "misconfigured"),
        (("keyholder", 0, 0), "duplicate_keyholder"),
        (("keyholder", 1, 0), "unknown_keyholder"),
    ],
)
def test_a_node_that_fits_nowhere_is_counted_by_cause_and_the_run_does_not_begin(last, cause):
    nodes = Nodes(("keyholder", 0, 0), ("client", 1, 5), last)
    with pytest.raises(
        UserError, match=rf"1 of 2 clients and 1 of 1 key holders described themselves \({cause}\)"
    ):
        discover(nodes, 2, 1, 1.0)
