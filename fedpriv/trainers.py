"""The two ways to train a configuration: a federation on its engine, or parties that train alone."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from fedpriv.apps import client_app, server_app
from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.parties import build_site
from fedpriv.config.privacy import build_privacy, sum_plan_of, turns_of
from fedpriv.config.schema import EngineName, Mode, RunConfig
from fedpriv.config.secure import codec_of, max_updates
from fedpriv.config.training import build_alone
from fedpriv.cores import available_cores
from fedpriv.errors import UserError
from fedpriv.federated.engines.allocator import keep_freed_memory
from fedpriv.federated.engines.inprocess import InProcessGrid
from fedpriv.federated.engines.launch import begin_workers, launch_inprocess
from fedpriv.federated.engines.nursery import Nursery
from fedpriv.federated.memory import recall, remember
from fedpriv.federated.server_app import Outcome, ServerPlan
from fedpriv.federated.strategy.asking import turn_of
from fedpriv.federated.strategy.books import releases, shared
from fedpriv.federated.strategy.session import Progress, RunObserver
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Concentrated, SampledGaussian
from fedpriv.privacy.client_level import cost_of_lost_release
from fedpriv.snapshot import Kept, Snapshot
from fedpriv.training.alone import model_of
from fedpriv.training.party import ClientMemory, charge_lost_round
from fedpriv.types import FloatVector

CLIENT_APP = "fedpriv.apps:client_app"
"""What worker processes run."""


class Trainer(Protocol):
    """One way to train."""

    def charge(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with the round charged that was lost with the process.

        It must be on disk before :meth:`train`, or a second crash would lose a round uncharged.
        """

    def train(self, observer: RunObserver, snapshot: Snapshot | None) -> Outcome:
        """Train from the start, or on from ``snapshot``.

        Raises:
            UserError: for anything a user can mend.
        """

    def kept(self) -> Kept:
        """Return what must be kept of the round that has just been finished."""

    def spent(self) -> Spent | None:
        """Bound what has been spent, in a round that was cut off too; None where it is nothing or unknown."""


def begin_workers_of(config: RunConfig) -> AbstractContextManager[Nursery | None]:
    """Let the worker processes that a configuration asks for import what they need; do not wait for them."""
    if config.mode is not Mode.federated or config.engine.name is EngineName.ray:
        return nullcontext()
    return begin_workers(CLIENT_APP, config.engine.workers, config.engine.threads)


def build_trainer(text: str, nursery: Nursery | None = None) -> Trainer:
    """Return the trainer of a configuration (JSON); ``nursery`` is of :func:`begin_workers_of`."""
    if from_json(text).mode is Mode.federated:
        return FederatedTrainer(text, nursery)
    return LoneTrainer(text)


def models_of(config: RunConfig, parameters: FloatVector, kept: Kept) -> Callable[[int], FloatVector]:
    """Return each client's model after a round, by its number: the federation's for all, or its own.

    Args:
        config: of the run.
        parameters: the model after the round, (P,).
        kept: what was kept of it.
    """
    if config.mode is not Mode.local:
        return lambda client: parameters
    return lambda client: model_of(client, parameters, kept.arrays)


def fingerprint(text: str) -> str:
    """Return the SHA-256 of what a configuration learns from, but for the pixels, in hexadecimal.

    Names of the people, targets and identities of the images to train on and to test with, and each
    client's share.
    """
    config = from_json(text)
    _, training, test = build_data(text)
    digest = hashlib.sha256()
    arrays = [training.targets, training.subjects, test.targets, test.subjects]
    if config.mode is not Mode.centralized:
        arrays += build_shares(config, training)
    digest.update(repr((training.subject_names, test.subject_names)).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class FederatedTrainer:
    """Runs the server and its clients on the engine that the configuration names."""

    def __init__(self, text: str, nursery: Nursery | None = None) -> None:
        """Take the configuration as JSON, and where its worker processes come from if they were begun."""
        self._text, self._nursery = text, nursery
        self._plan: ServerPlan | None = None
        self._grid: InProcessGrid | None = None

    def charge(self, snapshot: Snapshot) -> Snapshot:
        """See :class:`Trainer`; every client is charged that may have been in the lost round's cohort.

        With client-level privacy it is the sum that is charged, as if it had been opened. The ledger is
        charged where the clients of the lost round did not come to it.
        """
        config, kept = from_json(self._text), snapshot.kept
        number, attempts = len(snapshot.history), kept.attempts + 1
        plan = sum_plan_of(config)
        if plan is not None:
            counts = shared(plan, releases(snapshot.history, kept.lost_releases), number)
            cost = cost_of_lost_release(plan, counts, max_updates(config))
            if cost is None:
                return snapshot
            site = build_site(self._text)
            turns = turns_of(config)
            there = (
                range(site.clients) if turns is None else turn_of(config.seed, site.clients, turns, number)
            )
            release = Concentrated.of_release(plan, plan.contributors)
            site.make_up(dict.fromkeys(there, release), number, attempts)
            lost = (*kept.lost_releases, (number, cost))
            return replace(snapshot, kept=replace(kept, lost_releases=lost, attempts=attempts))
        if build_privacy(config) is None:
            return snapshot
        site = build_site(self._text)
        memories = {client: kept.memories.get(client, ClientMemory()) for client in range(site.clients)}
        charged = {
            client: charge_lost_round(memory, site.plan(client)) for client, memory in memories.items()
        }
        due = {
            client: SampledGaussian.of_round(own)
            for client, memory in charged.items()
            if memory.history != memories[client].history and (own := site.plan(client)) is not None
        }
        site.make_up(due, number, attempts)
        return replace(snapshot, kept=replace(kept, memories=charged, attempts=attempts))

    def train(self, observer: RunObserver, snapshot: Snapshot | None) -> Outcome:
        """See :class:`Trainer`."""
        config: RunConfig = from_json(self._text)
        outcomes: list[Outcome] = []
        progress = None if snapshot is None else self._progress(snapshot)

        def prepare(plan: ServerPlan) -> None:
            self._plan = plan
            plan.progress = progress

        server = server_app(self._text, (observer,), outcomes.append, prepare)
        nodes = config.federation.clients + codec_of(config).holders
        engine = config.engine
        if engine.name is EngineName.ray:
            from fedpriv.federated.engines.ray import run_on_ray

            # Flower's deadline is one for a whole cohort, queueing included: the client keeps its own
            client = client_app(self._text, config.federation.client_timeout_s)
            run_on_ray(server, client, nodes, engine.cpus_per_client, engine.gpus_per_client)
        else:

            def put_back(grid: InProcessGrid) -> None:
                self._grid = grid
                if snapshot is not None:
                    _put_back(grid, snapshot.kept, config.federation.clients)

            launch_inprocess(
                server,
                client_app(self._text),
                CLIENT_APP,
                self._text,
                nodes,
                engine.workers,
                engine.threads,
                put_back,
                self._nursery,
            )
        if not outcomes:
            raise RuntimeError(f"engine {engine.name.value} ended without an outcome; see its log")
        return outcomes[0]

    def kept(self) -> Kept:
        """See :class:`Trainer`; on Ray without the clients' memories, which Flower keeps."""
        if self._plan is None:
            return Kept()
        memories = {}
        if self._grid is not None:
            clients = self._grid.contexts[: self._plan.clients]
            memories = {number: recall(context) for number, context in enumerate(clients)}
        strategy, progress = self._plan.strategy, self._plan.progress
        return Kept(
            strategy.state(),
            memories,
            ended=strategy.exhausted,
            selection=strategy.session.selection,
            lost_releases=() if progress is None else progress.lost_releases,
            heard=None if self._plan.listener is None else self._plan.listener.heard,
        )

    def spent(self) -> Spent | None:
        """See :class:`Trainer`."""
        return None if self._plan is None else self._plan.strategy.spent()

    def _progress(self, snapshot: Snapshot) -> Progress:
        kept, delta = snapshot.kept, None
        spent: dict[int, float] = {}
        by_rdp: set[int] = set()
        if any(memory.history for memory in kept.memories.values()):
            site = build_site(self._text)
            for client, memory in kept.memories.items():
                if (plan := site.plan(client)) is not None and memory.history:
                    found = plan.spent(memory.history)
                    spent[client], delta = found.epsilon, found.delta
                    if found.accountant == "rdp":
                        by_rdp.add(client)
        return Progress(
            tuple(snapshot.history),
            snapshot.parameters,
            kept.arrays,
            spent,
            delta,
            kept.selection,
            kept.lost_releases,
            {client: memory.history for client, memory in kept.memories.items()},
            kept.heard,
            frozenset(by_rdp),
        )


def _put_back(grid: InProcessGrid, kept: Kept, clients: int) -> None:
    """Give every client the memory that it had; what key holders answered is in their transcripts.

    Raises:
        UserError: when the memory is of other nodes.
    """
    if not set(kept.memories) <= set(range(clients)):
        raise UserError("checkpoint: remembers clients that the run does not have; run the experiment again")
    for number, memory in kept.memories.items():
        remember(grid.contexts[number], memory)


class LoneTrainer:
    """Trains in this process: on all images, or every client by itself, one after the other."""

    def __init__(self, text: str) -> None:
        """Take the configuration as JSON."""
        self._run, self._engine = build_alone(text), from_json(text).engine

    def charge(self, snapshot: Snapshot) -> Snapshot:
        """See :class:`Trainer`."""
        kept, attempts = snapshot.kept, snapshot.kept.attempts + 1
        charged = self._run.charge(kept.memories, len(snapshot.history), attempts)
        return replace(snapshot, kept=replace(kept, memories=charged, attempts=attempts))

    def train(self, observer: RunObserver, snapshot: Snapshot | None) -> Outcome:
        """See :class:`Trainer`; without a federation the outcome's model is party 0's."""
        keep_freed_memory()
        torch.set_num_threads(self._engine.threads or available_cores())
        if snapshot is not None:
            kept = snapshot.kept
            try:
                self._run.restore(snapshot.history, snapshot.parameters, kept.arrays, kept.memories)
            except ValueError as error:
                raise UserError(f"checkpoint: {error}; it is damaged, run the experiment again") from error
        for result in self._run.train():
            observer.round_done(result, self._run.parameters.read())
        return Outcome(self._run.history, self._run.parameters.read())

    def kept(self) -> Kept:
        """See :class:`Trainer`."""
        return Kept(self._run.state(), self._run.memories, ended=self._run.ended)

    def spent(self) -> Spent | None:
        """See :class:`Trainer`."""
        return self._run.spent
