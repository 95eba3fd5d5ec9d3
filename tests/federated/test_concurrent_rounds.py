"""Messages to one client that overlap: each round is counted, whichever process or thread serves it."""

import contextlib
import copy
import json
import os
import threading

import pytest
from flwr.app import Message

from fedpriv.config.as_json import from_json, to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.parties import build_site
from fedpriv.federated import messages
from fedpriv.federated.client_app import make_client_app
from fedpriv.federated.engines.inprocess import FIRST_NODE_ID, InProcessGrid, SerialExecutor
from fedpriv.federated.memory import recall
from fedpriv.federated.messages import TrainRequest
from fedpriv.privacy import accounting
from fedpriv.run_keys import key_folder
from tests.conftest import TINY

TARGET = 3.0
DP = ("privacy=dp_sgd", f"privacy.epsilon={TARGET}", "federation.rounds=2", "training.batch_size=8")
TURNS = (
    "privacy=client_level",
    "privacy.epsilon=10",
    "secure=bfv",
    "federation.rounds=6",
    "federation.order=cyclic",
    "federation.cohort=2",
    "federation.min_replies=2",
)


@pytest.fixture
def node():
    """Make client 0's node of a run, with the same keys for the same settings."""
    with contextlib.ExitStack() as folders:
        keys = {}

        def make(*overrides, number="ab", first=None):
            config = compose_run(*TINY, *overrides)
            config.run_id, config.first_run_id = number * 16, first
            if overrides not in keys:
                keys[overrides] = folders.enter_context(key_folder(config))
            config.secure.key_folder = keys[overrides]
            return Node(to_json(config))

        yield make


class Node:
    """Client 0, as a process that has just been started finds it."""

    def __init__(self, text):
        build_site.cache_clear()
        self.text = text
        self.app = make_client_app(build_site, lambda *_: None, lambda *_: None, config=text)
        self.context = InProcessGrid(SerialExecutor(self.app), nodes=1).contexts[0]

    def ask(self, number, context=None):
        site = build_site(self.text)
        weights = site.parameters.read()
        request = TrainRequest(from_json(self.text).run_id, number, 1.0, {}, weights)
        content = request.to_content(messages.pack_parameters(weights))
        message = Message(content, FIRST_NODE_ID, messages.TRAIN)
        message.metadata.__dict__["_message_id"] = str(number)
        reply = self.app(message, self.context if context is None else context).content
        said = dict(reply.config_records["status"])
        epsilon = (reply.metric_records.get("metrics") or {}).get("epsilon")
        return said.get("cause", said["outcome"]), epsilon


def require_within_target(node, answers, rounds=2):
    plan = build_site(node.text).plan(0)
    assert [cause for cause, _ in answers].count("ok") == rounds
    assert {cause for cause, _ in answers} == {"ok", "budget_spent"}
    history = plan.after_round(plan.after_round(()))
    said = sorted(epsilon for cause, epsilon in answers if cause == "ok")
    assert said[-1] == plan.spent(history).epsilon <= TARGET
    if rounds == len(said):
        assert len(set(said)) == rounds  # each says what was spent when it was its turn


@pytest.mark.parametrize("ledger", ["default", "null"])
def test_guarantee_rounds_asked_for_at_once_are_counted_one_after_the_other(node, ledger):
    made, answers = node(*DP, f"privacy.ledger={ledger}"), []
    build_site.cache_clear()  # the threads build the site, too
    threads = [
        threading.Thread(target=lambda number=number: answers.append(made.ask(1 + number % 2)))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require_within_target(made, answers)
    spent = build_site(made.text).plan(0).spent(recall(made.context).history)
    assert max(epsilon for _, epsilon in answers if epsilon) == spent.epsilon


@pytest.mark.parametrize("ledger", ["default", "null"])
def test_guarantee_a_context_that_is_older_brings_back_no_older_history(node, ledger):
    made = node(*DP, f"privacy.ledger={ledger}")
    old = copy.deepcopy(made.context)
    answers = [made.ask(1 + number % 2, copy.deepcopy(old)) for number in range(4)]
    require_within_target(made, answers)


def test_guarantee_processes_that_begin_from_the_same_context_share_the_ledgers_history(node):
    """One after the other, each new, as Flower's SuperNode starts one for each message."""
    answers = [(made := node(*DP)).ask(1 + number % 2) for number in range(4)]
    require_within_target(made, answers)
    assert build_site(made.text).purse.ledger.spent(
        build_site(made.text).examples(0), build_site(made.text).plan(0).delta
    ).epsilon == pytest.approx(max(epsilon for _, epsilon in answers if epsilon))


def test_guarantee_processes_at_once_pass_no_target(node):
    """Four true processes, each with the first context."""
    made, answers = node(*DP), []
    build_site(made.text).plan(0)
    children = []
    for number in range(4):
        reading, writing = os.pipe()
        if not (child := os.fork()):
            try:
                os.write(writing, json.dumps(made.ask(1 + number % 2)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        children.append((child, reading))
    for child, reading in children:
        with os.fdopen(reading) as said:
            answers.append(tuple(json.loads(said.read())))
        os.waitpid(child, 0)
    require_within_target(made, answers)


@pytest.mark.parametrize("again", ["thread", "process"])
def test_guarantee_no_older_context_lets_a_client_take_part_before_its_turn(node, again):
    made = node(*TURNS)
    assert build_site(made.text).client_level.plan.separation == 2
    old = copy.deepcopy(made.context)
    assert made.ask(2)[0] == "ok"
    other = made if again == "thread" else node(*TURNS)
    for number in (2, 3):
        assert other.ask(number, copy.deepcopy(old))[0] == "too_soon"
    assert other.ask(4, copy.deepcopy(old))[0] == "ok"


def test_a_resumed_run_counts_what_was_charged_before_and_does_the_lost_round_again(node):
    first = node(*TURNS)
    assert first.ask(2)[0] == "ok"
    resumed = node(*TURNS, number="cd", first="ab" * 16)
    assert resumed.ask(2)[0] == "ok"
    # and holds to its own turns: also in another process
    assert node(*TURNS, number="cd", first="ab" * 16).ask(3)[0] == "too_soon"
    # the examples' history goes on under the first name
    one = node(*DP, number="12")
    assert one.ask(1)[0] == "ok"
    two = node(*DP, number="34", first="12" * 16)
    assert [two.ask(number)[0] for number in (1, 2)] == ["ok", "budget_spent"]


def test_at_least_takes_the_most_of_each_mechanism():
    one, two = (1.0, 0.1, 5), (2.0, 0.1, 3)
    assert accounting.at_least((one, two), ()) == (one, two)
    assert accounting.at_least((), (one,)) == (one,)
    assert accounting.at_least((one, two), ((1.0, 0.1, 4), (2.0, 0.1, 3))) == (one, two)
    assert accounting.at_least((one,), ((1.0, 0.1, 4), (1.0, 0.1, 4), two)) == ((1.0, 0.1, 8), two)
