"""Training of one party that learns from nobody: its images, one optimiser for the whole run."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import SampledGaussian
from fedpriv.privacy.example_set import ExampleSet
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client
from fedpriv.privacy.purse import BudgetSpent, Purse
from fedpriv.results import RoundResult
from fedpriv.tasks.base import Task
from fedpriv.training.data import MOST_BYTES, client_data, examples_of
from fedpriv.training.local import LocalSettings, build_optimizer
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.party import ClientMemory, build_head, learns, train_round
from fedpriv.types import AnyArray

log = logging.getLogger("fedpriv")

PARTY = 0
"""The one party's number: batches, noise and head are those of client 0 of a federation."""


@dataclass
class Centralized:
    """What federated runs are compared with: the same task, loop and budget, on what one party has.

    On all images it is the upper bound, on one client's share what that client reaches alone
    (:mod:`fedpriv.training.alone`). A round is ``local.local_epochs`` passes over the images. The
    optimiser (momentum, Adam's moments) and a private head live through all rounds, where a federated
    client makes its optimiser anew in each. With ``privacy``, each image is protected by one plan for all
    images and rounds.

    Guarantee:
        - Round t is trained on the batches, and under ``noise: fast`` with the noise, that the
          only client of a federation of one would use in its round t.
        - What a round costs is charged before its first noisy step, and to the ledger before the model
          that it made is given to anybody. Before a round that would pass the target epsilon, or what all
          runs may spend, training stops, with the model so far and the failure ``budget_spent``.

    Attributes:
        seed: the run's seed.
        rounds: planned rounds.
        evaluate_every: rounds between evaluations; the first and the last are always evaluated.
        task: what is learned.
        training: the images to train on.
        test: the images to judge by.
        backbone: the model, with its initial parameters.
        local: how it is optimised.
        privacy: DP-SGD settings, or None.
        purse: charges rounds to the ledger of whoever holds the images; None does not.
        client: whose share the images are; None for all in one place. Client k's batches, noise and head
            are those of client k of a federation.
        most_bytes: images of more bytes are read batch by batch.

    Raises:
        ValueError: when the target epsilon is out of reach.
        UserError: when the task cannot make a head for all people.
    """

    seed: int
    rounds: int
    evaluate_every: int
    task: Task
    training: ImageDataset
    test: ImageDataset
    backbone: nn.Module
    local: LocalSettings
    privacy: PrivacySettings | None
    purse: Purse | None = None
    client: int | None = None
    most_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        """Flatten the model, make head, optimiser and plan."""
        self.party = PARTY if self.client is None else self.client
        self.parameters = FlatParameters(self.backbone)
        self.head = build_head(self, self.training, self.party)
        self._head_parameters = None if self.head is None else FlatParameters(self.head)
        model = self.backbone if self.head is None else nn.Sequential(self.backbone, self.head)
        self.optimizer = build_optimizer(self.local, list(model.parameters()))
        self.plan: SamplePlan | None = None
        if self.privacy is not None:
            self.plan = plan_for_client(
                self.privacy,
                len(self.training),
                self.local.batch_size,
                self.local.local_epochs,
                self.rounds,
            )
        self.history: list[RoundResult] = []
        self.ended = False
        self._memory = ClientMemory()

    @cached_property
    def examples(self) -> ExampleSet:
        """What identifies the training images in a ledger."""
        return examples_of(self.training)

    def train(self) -> Iterator[RoundResult]:
        """Train the rounds that are left and yield each; the first is round 0, before training.

        Raises:
            UserError: when the model diverges.
        """
        data = client_data(self.task, self.training, self.most_bytes)
        if not self.history:
            yield self._close(0, time.perf_counter(), None, {})
        for number in range(len(self.history), self.rounds + 1):
            started, loss, failures = time.perf_counter(), None, {}
            try:
                loss = train_round(
                    self,
                    self.party,
                    number,
                    self.head,
                    data,
                    self.plan,
                    self._memory,
                    optimizer=self.optimizer,
                    paying=self._paying(number),
                )
            except BudgetSpent:
                self.ended = True
                failures = {"budget_spent": 1}
                log.warning(
                    "round %d of %d: the privacy budget is spent; %s ends here with the model so far",
                    number,
                    self.rounds,
                    "the run" if self.client is None else f"client {self.client}",
                )
            if not bool(torch.isfinite(self.parameters.tensor).all()):
                whose = "the model" if self.client is None else f"client {self.client}'s model"
                raise UserError(f"round {number}: {whose} is not finite; lower training.learning_rate")
            yield self._close(number, started, loss, failures)
            if self.ended:
                return

    def make_up(self, number: int, times: int) -> None:
        """Charge round ``number``, begun ``times`` times, as often to the ledger.

        Raises:
            UserError: when the ledger is damaged or cannot be written.
        """
        if self.purse is not None and self.plan is not None:
            due = {self.party: (self.examples, SampledGaussian.of_round(self.plan))}
            self.purse.make_up(due, number, times)

    def state(self) -> dict[str, AnyArray]:
        """Return the optimiser's state: an array ``<parameter number>/<name>`` for each tensor."""
        return {
            f"{index}/{name}": value.detach().numpy().copy()
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
            if value is not None
        }

    @property
    def memory(self) -> ClientMemory:
        """Privacy history and head as they are now."""
        kept = self._head_parameters if learns(self.head) else None
        return ClientMemory(self._memory.history, None if kept is None else kept.read())

    @property
    def spent(self) -> Spent | None:
        """What has been charged so far, for a round under way too; None without differential privacy."""
        return None if self.plan is None else self.plan.spent(self._memory.history)

    def restore(
        self,
        history: list[RoundResult],
        parameters: AnyArray,
        state: Mapping[str, AnyArray],
        memory: ClientMemory,
    ) -> None:
        """Go on after the last round of ``history``.

        Args:
            history: every finished round, from round 0.
            parameters: the model after the last of them, (P,).
            state: what :meth:`state` returned then.
            memory: what :attr:`memory` was then.

        Raises:
            ValueError: when anything does not fit this model.
        """
        self.parameters.load(parameters)
        if memory.head is not None:
            if self._head_parameters is None:
                raise ValueError("the task has no head")
            self._head_parameters.load(memory.head)
        own = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, array in state.items():
            index, _, name = key.partition("/")
            if not index.isdecimal() or int(index) >= len(own):
                raise ValueError(f"the optimiser has no state {key}")
            if array.shape not in ((), tuple(own[int(index)].shape)):
                raise ValueError(f"the optimiser's state {key} has shape {array.shape}")
            states.setdefault(int(index), {})[name] = torch.from_numpy(np.array(array))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self._memory = ClientMemory(memory.history)
        self.history = list(history)

    def _paying(self, number: int) -> AbstractContextManager[None] | None:
        if self.purse is None or self.plan is None:
            return None
        return self.purse.paying(self.examples, SampledGaussian.of_round(self.plan), number, self.party)

    def _close(
        self, number: int, started: float, loss: float | None, failures: dict[str, int]
    ) -> RoundResult:
        trained = time.perf_counter()
        due = number % self.evaluate_every == 0 or number == self.rounds or self.ended
        metrics = self.task.evaluate(self.backbone, self.test) if due else {}
        seconds = {"train": trained - started} if number else {}
        spent = self.spent if number else None
        result = RoundResult(
            number=number,
            metrics={name: float(value) for name, value in metrics.items()},
            train_loss=loss if loss is not None and np.isfinite(loss) else None,
            epsilon=None if spent is None else spent.epsilon,
            delta=None if spent is None else spent.delta,
            accountant=None if spent is None else spent.accountant,
            seconds={**seconds, "evaluate": time.perf_counter() - trained},
            local_seconds=seconds.get("train", 0.0),
            failures=failures,
        )
        self.history.append(result)
        return result
