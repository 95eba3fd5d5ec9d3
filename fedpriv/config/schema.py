"""The closed groups of a run's configuration as typed dataclasses.

The open groups (task, data, model, partition, strategy) are ``_target_`` and arguments; their
types are those of the target's signature, see :mod:`fedpriv.config.instantiate`.
"""

from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class _Named(Enum):
    """Choices whose text is what a configuration says, in names of runs too."""

    def __str__(self) -> str:
        return str(self.value)


class Optimizer(_Named):
    """Local optimisers."""

    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"


class Schedule(_Named):
    """Step size over rounds."""

    constant = "constant"
    cosine = "cosine"


class PrivacyUnit(_Named):
    """What differential privacy protects."""

    none = "none"
    sample = "sample"
    client = "client"


class NoiseSource(_Named):
    """Where mechanisms get their randomness."""

    secure = "secure"
    fast = "fast"


class NoiseBy(_Named):
    """Who draws the noise of client-level privacy."""

    clients = "clients"
    server = "server"


class Gradients(_Named):
    """How DP-SGD computes the gradients of single examples."""

    auto = "auto"
    opacus = "opacus"


class Clipping(_Named):
    """Whether the clipping norm of client-level privacy moves."""

    fixed = "fixed"
    adaptive = "adaptive"


class Correlation(_Named):
    """How the noise of client-level privacy is correlated over rounds."""

    none = "none"
    banded = "banded"


class Order(_Named):
    """How clients come to be in a round's cohort."""

    random = "random"
    cyclic = "cyclic"


class Scheme(_Named):
    """How updates travel."""

    plain = "plain"
    bfv = "bfv"
    ckks = "ckks"


class Keys(_Named):
    """Who can open sums."""

    authority = "authority"
    committee = "committee"


class Protocol(_Named):
    """Which images test the model, see :mod:`fedpriv.data.holdout`."""

    auto = "auto"
    people = "people"
    one_person = "one_person"
    folds = "folds"
    published = "published"


class Mode(_Named):
    """Where the images are, and whether those who hold them learn from each other."""

    federated = "federated"
    centralized = "centralized"
    local = "local"


class Layers(_Named):
    """What of a model a client makes its own."""

    all = "all"
    head = "head"


class EngineName(_Named):
    """What runs the apps."""

    inprocess = "inprocess"
    ray = "ray"


@dataclass
class TrainingConfig:
    """How clients optimise, see :class:`fedpriv.training.local.LocalSettings`."""

    optimizer: Optimizer = Optimizer.sgd
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    local_epochs: float = 1.0
    schedule: Schedule = Schedule.constant


@dataclass
class PersonaliseConfig:
    """Fine-tuning of the final model by each client, see :mod:`fedpriv.training.personalise`.

    ``test_share`` of each person's images is never trained on; ``learning_rate`` None is the run's.
    """

    enabled: bool = False
    test_share: float = 0.25
    epochs: float = 5.0
    learning_rate: float | None = None
    layers: Layers = Layers.all


@dataclass
class EvaluationConfig:
    """How the global model is judged: on people whom no client holds, unless authors split otherwise.

    With ``personalise`` each client judges it on its own people, too, before and after making it its own.
    """

    protocol: Protocol = Protocol.auto
    test_subjects: int = MISSING
    fold: int = 0
    folds: int = 10
    every: int = 1
    pictures: int = 24
    personalise: PersonaliseConfig = field(default_factory=PersonaliseConfig)


@dataclass
class FederationConfig:
    """Clients and rounds.

    With ``order: cyclic`` clients are dealt into as few groups of at most ``cohort`` as there can be, which
    take turns.
    """

    clients: int = 8
    rounds: int = 20
    cohort: int | None = None
    order: Order = Order.random
    min_replies: int = 2
    client_timeout_s: float = 3600.0
    start_timeout_s: float = 120.0
    faults: list[str] = field(default_factory=list)


@dataclass
class PrivacyConfig:
    """Differential privacy: of images (:mod:`fedpriv.privacy.plan`) or clients (``privacy.sum_plan``).

    ``noise_by`` and ``clipping`` count with ``unit: client`` only, ``target_quantile`` and ``clipping_rate``
    with ``clipping: adaptive`` only, see :mod:`fedpriv.privacy.adaptive_clipping`; ``gradients`` with
    ``unit: sample`` only, see :mod:`fedpriv.privacy.per_example`; ``correlation`` and ``bands`` with ``unit:
    client`` and ``noise_by: server`` only, see :mod:`fedpriv.privacy.matrix_mechanism`.
    """

    unit: PrivacyUnit = PrivacyUnit.none
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    clipping_norm: float = 1.0
    clipping: Clipping = Clipping.fixed
    target_quantile: float = 0.5
    clipping_rate: float = 0.2
    noise: NoiseSource = NoiseSource.secure
    noise_by: NoiseBy = NoiseBy.clients
    correlation: Correlation = Correlation.none
    bands: int | None = None
    gradients: Gradients = Gradients.auto
    ledger: str | None = "default"
    lifetime_epsilon: float | None = None


@dataclass
class AuditConfig:
    """An audit of what a run with differential privacy claims, see :mod:`fedpriv.config.audit`.

    ``client`` plants ``canaries``, each in or out by a coin, and the server says what they prove of epsilon.
    """

    enabled: bool = False
    canaries: int = 500
    client: int = 0


@dataclass
class SecureConfig:
    """Encryption of updates, see :mod:`fedpriv.he`; ``key_folder`` as in :mod:`fedpriv.he.provision`.

    ``select`` and ``select_top`` leave part of every update in clear, see :mod:`fedpriv.he.selective`.
    ``holders`` counts with ``keys: committee`` only, ``values_per_slot`` with ``scheme: bfv`` only.
    """

    scheme: Scheme = Scheme.plain
    keys: Keys = Keys.authority
    holders: int = 3
    bits: int = 16
    value_range: float = 0.5
    values_per_slot: int | None = None
    smudging_bits: int = 56
    min_clients: int = 2
    select: list[str] | None = None
    select_top: float | None = None
    key_folder: str | None = None


@dataclass
class RelaysConfig:
    """Relays that clients ask the trained model through, see :mod:`fedpriv.relayed_run`.

    ``images`` of the test images are asked about, all without it; ``threshold`` is t of Shamir's scheme,
    shares are additive without.
    """

    enabled: bool = False
    relays: int = 4
    shares: int = 3
    threshold: int | None = None
    images: int | None = None
    in_flight: int = 32
    timeout_s: float = 30.0


@dataclass
class EngineConfig:
    """What runs the apps, and with how many cores."""

    name: EngineName = EngineName.inprocess
    workers: int | None = None
    threads: int | None = None
    cpus_per_client: float = 1.0
    gpus_per_client: float = 0.0


@dataclass
class TrackingConfig:
    """MLflow."""

    enabled: bool = True
    uri: str | None = None
    experiment: str = "fedpriv"
    run_name: str | None = None
    log_model: bool = True
    log_partition: bool = True
    register: str | None = None


@dataclass
class RunConfig:
    """A whole run.

    With ``mode: centralized`` all training images are in one place and there are no clients: of
    ``federation`` only ``rounds`` counts, of ``engine`` only ``threads``; ``partition`` and
    ``strategy`` have no effect. With ``mode: local`` every client trains alone on its share: ``partition``
    and ``federation.clients`` count as well. ``run_id`` and ``first_run_id`` are made by the run: the
    identifier of this process's part, and of the first part where it goes on with one.
    """

    mode: Mode = Mode.federated
    seed: int = 0
    run_id: str | None = None
    first_run_id: str | None = None
    task: Any = MISSING
    data: Any = MISSING
    model: Any = MISSING
    partition: Any = MISSING
    strategy: Any = MISSING
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    secure: SecureConfig = field(default_factory=SecureConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    relays: RelaysConfig = field(default_factory=RelaysConfig)


@cache
def register() -> None:
    """Make the schema known to Hydra as ``run_schema``."""
    ConfigStore.instance().store(name="run_schema", node=RunConfig)
