"""What one client process needs to serve any of its clients: built once, then reused."""

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.he.codec import UpdateCodec
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client
from fedpriv.seeding import derive
from fedpriv.tasks.base import Task
from fedpriv.training.local import ClientData, LocalSettings
from fedpriv.training.parameters import FlatParameters


@dataclass
class Site:
    """The client side of a run.

    Attributes:
        seed: the run's seed.
        rounds: planned rounds.
        task: what is learned.
        training: images of all people to train on.
        shares: for each client, the indices of its images in ``training``.
        backbone: the federated model; one object, reloaded for every client.
        local: how clients optimise.
        privacy: DP-SGD settings, or None.
        codec: seals updates.
        faults: planted faults by client, for tests of robustness.
    """

    seed: int
    rounds: int
    task: Task
    training: ImageDataset
    shares: list[NDArray[np.int64]]
    backbone: nn.Module
    local: LocalSettings
    privacy: PrivacySettings | None
    codec: UpdateCodec
    faults: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Flatten the backbone."""
        self.parameters = FlatParameters(self.backbone)
        self.lock = threading.Lock()
        self._data: dict[int, ClientData] = {}
        self._plans: dict[int, SamplePlan] = {}

    @property
    def clients(self) -> int:
        """Number of training clients."""
        return len(self.shares)

    def dataset(self, client: int) -> ImageDataset:
        """Return one client's images."""
        return self.training.subset(self.shares[client])

    def data(self, client: int) -> ClientData:
        """Return one client's training tensors, kept for the next round."""
        if client not in self._data:
            dataset = self.dataset(client)
            self._data[client] = ClientData(
                images=torch.from_numpy(np.array(dataset.images)), targets=self.task.client_targets(dataset)
            )
        return self._data[client]

    def plan(self, client: int) -> SamplePlan | None:
        """Return one client's privacy plan for the whole run, or None."""
        if self.privacy is None:
            return None
        if client not in self._plans:
            self._plans[client] = plan_for_client(
                self.privacy,
                len(self.shares[client]),
                self.local.batch_size,
                self.local.local_epochs,
                self.rounds,
            )
        return self._plans[client]

    def build_head(self, client: int) -> nn.Module | None:
        """Return the client's private head as the run's seed initialises it, or None."""
        if type(self.task).build_head is Task.build_head:
            return None  # seeding torch costs more than a small client's whole bookkeeping
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "head", client) % 2**63)
            return self.task.build_head(self.dataset(client), int(getattr(self.backbone, "features", 0)))
