"""What one client process needs to serve any of its clients: built once, then reused."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.he.codec import UpdateCodec
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client
from fedpriv.tasks.base import Task
from fedpriv.training.data import MOST_BYTES, ClientData, client_data
from fedpriv.training.local import LocalSettings
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.party import build_head


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
        self._data: OrderedDict[int, ClientData] = OrderedDict()
        self._bytes_held = 0
        self._plans: dict[int, SamplePlan] = {}

    @property
    def clients(self) -> int:
        """Number of training clients."""
        return len(self.shares)

    def dataset(self, client: int) -> ImageDataset:
        """Return one client's images."""
        return self.training.subset(self.shares[client])

    def data(self, client: int) -> ClientData:
        """Return one client's training examples; those used last are kept, up to ``MOST_BYTES``."""
        if client in self._data:
            self._data.move_to_end(client)
            return self._data[client]
        made = self._data[client] = client_data(self.task, self.dataset(client))
        self._bytes_held += made.bytes_held
        while self._bytes_held > MOST_BYTES and len(self._data) > 1:
            self._bytes_held -= self._data.popitem(last=False)[1].bytes_held
        return made

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
        return build_head(self, self.dataset(client), client)
