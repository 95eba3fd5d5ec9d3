"""Who trains: a federated client, or the one place that holds all images. What both keep and do."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.privacy.accounting import History
from fedpriv.privacy.canaries import Canaries
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.privacy.plan import PrivacySettings, SamplePlan
from fedpriv.privacy.purse import BudgetSpent
from fedpriv.seeding import derive
from fedpriv.tasks.base import Task
from fedpriv.training.data import ClientData
from fedpriv.training.local import LocalSettings, train_plain, train_private
from fedpriv.types import FloatVector


@dataclass
class ClientMemory:
    """What a party keeps between rounds and shares with nobody.

    Attributes:
        history: privacy spent in this run so far.
        head: parameters of its private head; None before its first round, or if none are trained.
        last_round: that it took part in, as long as this process serves the run; None before the first.
    """

    history: History = ()
    head: FloatVector | None = None
    last_round: int | None = None


class Terms(Protocol):
    """What all parties of a run agree on.

    Attributes:
        seed: the run's seed.
        rounds: planned rounds.
        task: what is learned.
        backbone: the shared part of the model.
        local: how a party optimises.
        privacy: settings of DP-SGD, or None.
    """

    seed: int
    rounds: int
    task: Task
    backbone: nn.Module
    local: LocalSettings
    privacy: PrivacySettings | None


def build_head(terms: Terms, dataset: ImageDataset, client: int) -> nn.Module | None:
    """Return party ``client``'s private head as the run's seed initialises it, or None."""
    if type(terms.task).build_head is Task.build_head:
        return None  # seeding torch costs more than a small client's whole bookkeeping
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(terms.seed, "head", client) % 2**63)
        return terms.task.build_head(dataset, int(getattr(terms.backbone, "features", 0)))


def learns(head: nn.Module | None) -> bool:
    """Tell whether training changes the head, so that it must be kept between rounds."""
    return head is not None and any(parameter.requires_grad for parameter in head.parameters())


def train_round(
    terms: Terms,
    client: int,
    number: int,
    head: nn.Module | None,
    data: ClientData,
    plan: SamplePlan | None,
    memory: ClientMemory,
    proximal_mu: float = 0.0,
    optimizer: torch.optim.Optimizer | None = None,
    paying: AbstractContextManager[None] | None = None,
    canaries: Canaries | None = None,
) -> float:
    """Train backbone and head for one round, in place, and return the mean loss.

    Guarantee:
        - what the round costs stands in ``memory.history`` before the first noisy step.
        - with ``paying`` it stands in the privacy ledger, on disk, before this function returns.

    Edge cases:
        - training that fails stays charged.
        - without a plan nothing is charged, and ``paying`` is not entered.

    Args:
        terms: of the run.
        client: number of the party.
        number: the round, from 1.
        head: the party's own part of the model, or None.
        data: its examples.
        plan: what is executed and accounted; None without privacy.
        memory: the party's; its history is brought up to date, its head is not.
        proximal_mu: see :class:`LocalSettings`.
        optimizer: goes on from its state; None makes a fresh one.
        paying: charges the round to a ledger, see :meth:`fedpriv.privacy.purse.Purse.paying`; None does not.
        canaries: that the party carries as further examples where there is a plan; None carries none.

    Raises:
        BudgetSpent: when the round would pass the target epsilon, or what all runs may spend; nothing was
            trained.
    """
    task, backbone, privacy = terms.task, terms.backbone, terms.privacy
    local = replace(terms.local.at_round(number, terms.rounds), proximal_mu=proximal_mu)
    seed = derive(terms.seed, "client", client, number)
    if plan is None:
        return train_plain(task, backbone, head, data, local, seed, optimizer)
    if not plan.may_train(memory.history):
        raise BudgetSpent
    source: RandomSource = (
        FastSource(terms.seed, client, number)
        if privacy is not None and privacy.noise == "fast"
        else SecureSource()
    )
    gradients = "auto" if privacy is None else privacy.gradients
    with paying or nullcontext():
        memory.history = plan.after_round(memory.history)
        return train_private(task, backbone, head, data, local, plan, source, optimizer, gradients, canaries)


def charge_lost_round(memory: ClientMemory, plan: SamplePlan | None) -> ClientMemory:
    """Return the memory with the round charged that was under way when a run was cut off.

    Nobody knows how far that round came; its noisy update may have left the party. So it is
    counted as if it had, and what replaces it comes from what is left of the budget.

    Guarantee:
        - The history is never shorter than what was released: a round is charged before it
          begins, and of each process that ended without a checkpoint one round is charged here.

    Edge cases:
        - A party whose budget allowed no further round cannot have begun one: nothing is charged.
        - Without a plan there is nothing to charge.
    """
    if plan is None or not plan.may_train(memory.history):
        return memory
    return replace(memory, history=plan.after_round(memory.history))
