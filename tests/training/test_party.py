"""What a party is charged for, and when."""

import numpy as np
import pytest
import torch

from fedpriv.privacy.plan import PrivacySettings, plan_for_client
from fedpriv.training import party
from fedpriv.training.local import LocalSettings
from fedpriv.training.party import BudgetSpent, ClientMemory, charge_lost_round, train_round
from tests.training.tiny import TinyTask, convolutional, examples, flat


class Run:
    """The terms of a run of three rounds."""

    def __init__(self, epsilon=4.0, noise_multiplier=None, noise="fast"):
        self.seed, self.rounds, self.task = 5, 3, TinyTask()
        self.backbone = convolutional()
        self.local = LocalSettings(momentum=0.0, learning_rate=0.1, batch_size=4)
        self.privacy = PrivacySettings(epsilon, 1e-5, noise_multiplier, 1.0, noise)
        self.plan = plan_for_client(self.privacy, 12, 4, 1.0, self.rounds)


def test_a_round_is_charged_before_its_first_noisy_step(monkeypatch):
    run, memory, seen = Run(), ClientMemory(), []

    def interrupted(*_):
        seen.append(memory.history)
        raise KeyboardInterrupt

    monkeypatch.setattr(party, "train_private", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_round(run, 0, 1, None, examples(12), run.plan, memory)
    assert seen == [run.plan.after_round(())] == [memory.history]


def test_a_spent_budget_changes_neither_model_nor_history():
    run, memory = Run(), ClientMemory()
    for number in (1, 2, 3):
        train_round(run, 0, number, None, examples(12), run.plan, memory)
    before, history = flat(run.backbone).clone(), memory.history
    with pytest.raises(BudgetSpent):
        train_round(run, 0, 4, None, examples(12), run.plan, memory)
    assert torch.equal(before, flat(run.backbone))
    assert memory.history == history


def test_guarantee_the_history_covers_whatever_was_released_before_a_crash():
    """A crash anywhere: rounds kept, then perhaps the one under way, never more."""
    plan = Run().plan
    for kept in range(3):
        released = ()
        for _ in range(kept + 1):
            released = plan.after_round(released)
        history = ()
        for _ in range(kept):
            history = plan.after_round(history)
        charged = charge_lost_round(ClientMemory(history), plan).history
        assert plan.spent(charged).epsilon >= plan.spent(released).epsilon


def test_edge_a_party_that_could_not_have_begun_a_round_is_not_charged():
    plan, memory = Run().plan, ClientMemory()
    charges = [memory := charge_lost_round(memory, plan) for _ in range(5)]
    assert [each.history[0][2] // plan.steps_per_round for each in charges] == [1, 2, 3, 3, 3]
    assert plan.spent(memory.history).epsilon <= 4.0


def test_edge_without_a_target_every_loss_is_charged():
    plan, memory = Run(epsilon=None, noise_multiplier=1.0).plan, ClientMemory()
    for _ in range(9):
        memory = charge_lost_round(memory, plan)
    assert memory.history[0][2] == 9 * plan.steps_per_round


def test_a_charge_keeps_the_head_and_needs_a_plan():
    head = np.ones(3, np.float32)
    assert charge_lost_round(ClientMemory((), head), Run().plan).head is head
    memory = ClientMemory(((1.0, 0.5, 3),), head)
    assert charge_lost_round(memory, None) is memory


def test_edge_training_that_fails_stays_charged(monkeypatch):
    run, memory = Run(), ClientMemory()
    monkeypatch.setattr(party, "train_private", lambda *_args, **_kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_round(run, 0, 1, None, examples(12), run.plan, memory)
    assert memory.history == run.plan.after_round(())


def test_edge_without_a_plan_nothing_is_charged_and_nothing_is_paid():
    class Never:
        def __enter__(self):
            pytest.fail("entered")

        def __exit__(self, *_):
            return None

    run, memory = Run(), ClientMemory()
    train_round(run, 0, 1, None, examples(12), None, memory, paying=Never())
    assert memory.history == ()
