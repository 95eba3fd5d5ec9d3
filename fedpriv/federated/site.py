"""What one client process needs to serve any of its clients: built once, then reused."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.federated.selection import Selection
from fedpriv.he import provision
from fedpriv.he.codec import KeyRefused, UpdateCodec
from fedpriv.he.identity import SigningKey
from fedpriv.privacy.canaries import Canaries
from fedpriv.privacy.charge import Mechanism
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.example_set import ExampleSet, said_of_copies
from fedpriv.privacy.party_of_run import Judge
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client
from fedpriv.privacy.purse import Purse
from fedpriv.tasks.base import Task
from fedpriv.training.data import MOST_BYTES, ClientData, client_data, examples_of
from fedpriv.training.local import LocalSettings
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.party import ClientMemory, build_head


@dataclass
class Site:
    """The client side of a run.

    Two more attributes are not given: ``lock``, for whoever loads a model into the backbone, and ``latest``,
    what each client that was served here has done, whatever a context says that is older than it.

    Attributes:
        run_id: 32 hexadecimal digits; a client answers no other run.
        run_digest: 32 bytes, of the configuration that this site was built from.
        seed: the run's seed.
        rounds: planned rounds.
        task: what is learned.
        training: images of all people to train on.
        shares: for each client, the indices of its images in ``training``.
        backbone: the federated model; one object, reloaded for every client.
        local: how clients optimise.
        privacy: DP-SGD settings, or None.
        codec: encodes updates, once :meth:`codec_for` has given it a client's key.
        key_folder: where each client has its keys, see :mod:`fedpriv.he.provision`.
        faults: planted faults by client, for tests of robustness.
        selection: remembers which coordinates the server has chosen to be encrypted; None where the
            configuration says it.
        map_scale: what sensitivity maps are multiplied by, so that the codec can represent 1.
        client_level: how updates are clipped and, by the codec, made noisy; None without.
        purse: charges what is released to the ledger of whoever holds the images; None does not.
        canaries: of an audit, which one of the clients carries; None without.
    """

    run_id: str
    run_digest: bytes
    seed: int
    rounds: int
    task: Task
    training: ImageDataset
    shares: list[NDArray[np.int64]]
    backbone: nn.Module
    local: LocalSettings
    privacy: PrivacySettings | None
    codec: UpdateCodec
    key_folder: Path | None = None
    faults: dict[int, str] = field(default_factory=dict)
    selection: Selection | None = None
    map_scale: float = 1.0
    client_level: ClientLevel | None = None
    purse: Purse | None = None
    canaries: Canaries | None = None

    def __post_init__(self) -> None:
        """Flatten the backbone."""
        self.parameters = FlatParameters(self.backbone)
        self.lock = threading.Lock()
        self.latest: dict[int, ClientMemory] = {}
        self._data: OrderedDict[int, ClientData] = OrderedDict()
        self._bytes_held = 0
        self._plans: dict[int, SamplePlan] = {}
        self._examples: dict[int, ExampleSet] = {}
        self._signers: dict[int, SigningKey] = {}
        self._keyed: dict[int, UpdateCodec] = {}
        self._public: tuple[bytes, UpdateCodec] | None = None

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

    def canaries_of(self, client: int) -> Canaries | None:
        """Return the canaries that one client carries; None for all clients but one, or without an audit."""
        return self.canaries if self.canaries is not None and self.canaries.carrier == client else None

    def examples(self, client: int) -> ExampleSet:
        """Return what identifies one client's images in a ledger."""
        if client not in self._examples:
            self._examples[client] = examples_of(self.dataset(client))
        return self._examples[client]

    def said_of_copies(self, client: int) -> str | None:
        """Return what its owner must know where images that epsilon protects stand several times."""
        return None if self.privacy is None or self.purse is None else said_of_copies([self.examples(client)])

    def paying(
        self, client: int, mechanism: Mechanism, number: int, judge: Judge
    ) -> AbstractContextManager[None]:
        """Return the block in which a client releases something, see :meth:`Purse.paying`."""
        if self.purse is None:
            return nullcontext()
        return self.purse.paying(self.examples(client), mechanism, number, client, judge)

    @property
    def resumed_as(self) -> str:
        """What the run is called in the ledger since it was last resumed."""
        return "" if self.purse is None else self.purse.resumed_as

    def may_pay(self, client: int, mechanism: Mechanism, number: int) -> bool:
        """Tell whether a client's budget over all runs allows a release, see :meth:`Purse.may_pay`."""
        return self.purse is None or self.purse.may_pay(self.examples(client), mechanism, number, client)

    def make_up(self, due: Mapping[int, Mechanism], number: int, times: int) -> None:
        """Charge round ``number``, begun ``times`` times, to the clients that it was charged less often.

        Args:
            due: what each of these clients would have released.
            number: the round.
            times: how often it was begun.

        Raises:
            UserError: when the ledger is damaged or cannot be written.
        """
        if self.purse is not None:
            shares = {client: (self.examples(client), mechanism) for client, mechanism in due.items()}
            self.purse.make_up(shares, number, times)

    def signer(self, client: int) -> SigningKey:
        """Return one client's signing key, read when it is first needed.

        Raises:
            UserError: when there is none, or its file is damaged.
        """
        if client not in self._signers:
            party = provision.client_folder(self._keys(), client)
            self._signers[client] = SigningKey.load(provision.signing_key_file(party))
        return self._signers[client]

    def codec_for(self, client: int, public_key: bytes | None) -> UpdateCodec:
        """Return the codec that encodes one client's updates.

        What the server sent as the key holders' joint key is verified against the client's own
        enrolment, once per process and key.

        Raises:
            KeyRefused: when the joint key is missing or does not check.
            UserError: when the client's own key is missing or damaged.
        """
        if not self.codec.needs_public_key:
            return self._with_own_key(client)
        if public_key is None:
            raise KeyRefused("no_public_key", "none was sent")
        digest = hashlib.sha256(public_key).digest()
        if self._public is None or self._public[0] != digest:
            enrolment = provision.load_enrolment(self._keys())
            made = self.codec.with_public_key(public_key, bytes.fromhex(self.run_id), enrolment)
            self._public = digest, made
        return self._public[1]

    def _with_own_key(self, client: int) -> UpdateCodec:
        if not self.codec.holders:
            return self.codec
        if client not in self._keyed:
            made = self.codec.with_key_folder(provision.client_folder(self._keys(), client))
            # the clients of a simulation share one key: keep it once, not a thousand times
            same = next((each for each in self._keyed.values() if each.digest == made.digest), made)
            self._keyed[client] = same
        return self._keyed[client]

    def _keys(self) -> Path:
        if self.key_folder is None:
            raise UserError("secure.key_folder: is missing; a client signs with its key from there")
        return self.key_folder

    def build_head(self, client: int) -> nn.Module | None:
        """Return the client's private head as the run's seed initialises it, or None."""
        return build_head(self, self.dataset(client), client)
