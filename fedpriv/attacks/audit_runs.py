"""Real training with canaries in it, every released update in sight, and faults that can be planted.

Encryption is left out, for it changes no sum.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedpriv.data.synthetic_eyes import load
from fedpriv.errors import UserError
from fedpriv.he.packing import plan_packing, quantise
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.privacy.canaries import LOUDNESS, CanaryClients, log_likelihood_ratio
from fedpriv.privacy.client_level import ClientLevel, clip
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client
from fedpriv.privacy.sum_plan import SumPlan, plan_sum
from fedpriv.progress import track
from fedpriv.seeding import derive, generator
from fedpriv.tasks.gaze import GazeTask
from fedpriv.training.canaries import (
    CanaryTask,
    ListeningModel,
    losses_of,
    with_gradient_canaries,
    with_image_canaries,
)
from fedpriv.training.data import ClientData, client_data
from fedpriv.training.local import LocalSettings, train_plain, train_private
from fedpriv.training.parameters import FlatParameters

CLIPPING_NORM = 1.0
LOCAL = LocalSettings(learning_rate=0.2, momentum=0.0, batch_size=16)
"""Plain steps: the observer reads the noisy gradient off the model's change."""
SAMPLE_RATE, STEPS = 0.25, 40
"""Of the sample level: few steps of large samples give the observer the most for an epsilon."""
IMAGES = 400
ROUNDS, CLIENTS, BITS = 5, 4, 16
"""Of the client level; canary clients come on top, and add no noise."""
MOST_CANARIES = 5000
LEVELS = ("sample", "client")
CANARIES = ("gradient", "image")
_IMAGES_PER_PERSON = 50
_UNCLIPPED = 1e6


@dataclass(frozen=True)
class AuditSettings:
    """What is audited.

    Attributes:
        level: ``sample`` (DP-SGD) or ``client`` (noisy sums of updates).
        epsilon: what the run claims, at ``delta``.
        delta: of the claim.
        canaries: m.
        kind: of canaries at the sample level: ``gradient``, seen in every update, or ``image``, seen in
            the final model only.
        seed: of data, coins and model, and of the noise where it is fast.
        noise: ``secure`` or ``fast``, see :mod:`fedpriv.privacy.noise`.
        noise_off: plant a fault: no noise is added.
        clip_off: plant a fault: nothing is clipped.

    Raises:
        UserError: for values out of range.
    """

    level: str = "sample"
    epsilon: float = 8.0
    delta: float = 1e-5
    canaries: int = 2000
    kind: str = "gradient"
    seed: int = 0
    noise: str = "secure"
    noise_off: bool = False
    clip_off: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        for name, choices in (("level", LEVELS), ("kind", CANARIES), ("noise", ("secure", "fast"))):
            if getattr(self, name) not in choices:
                raise UserError(f"{name}={getattr(self, name)}: choose {' or '.join(choices)}")
        if not 0.05 <= self.epsilon <= 20.0:
            raise UserError(f"epsilon={self.epsilon}: choose 0.05 to 20")
        if not 1e-9 <= self.delta <= 0.01:
            raise UserError(f"delta={self.delta}: choose 1e-9 to 0.01")
        if not 10 <= self.canaries <= MOST_CANARIES:
            raise UserError(f"canaries={self.canaries}: choose 10 to {MOST_CANARIES}")
        if self.seed < 0:
            raise UserError(f"seed={self.seed}: choose 0 or more")
        if self.level == "client" and self.kind != "gradient":
            raise UserError(f"kind={self.kind}: client-level canaries are updates; leave it away")


def train_by_dp_sgd(
    settings: AuditSettings, included: NDArray[np.bool_]
) -> tuple[SamplePlan, NDArray[np.float64]]:
    """Train by DP-SGD, every step's update in sight, and score the canaries."""
    task, people = GazeTask(), IMAGES // _IMAGES_PER_PERSON
    data = client_data(task, load(people=people, images_per_person=_IMAGES_PER_PERSON, seed=settings.seed))
    count = len(data) + len(included)
    settings_of_plan = PrivacySettings(settings.epsilon, settings.delta, None, CLIPPING_NORM)
    batch = max(1, round(SAMPLE_RATE * count))
    plan = plan_for_client(settings_of_plan, count, batch, batch / count, STEPS)
    model, executed, source = _model(settings), _with_faults(plan, settings), _source(settings)

    def train(wrapped: CanaryTask, module: nn.Module, rows: ClientData) -> None:
        train_private(wrapped, module, None, rows, LOCAL, executed, source)

    if settings.kind == "image":
        pictures = _mislabelled(settings, task, people)
        wrapped, rows = with_image_canaries(task, data, pictures, included)
        before = losses_of(task, model, pictures)
        for _ in track(range(STEPS), "train with canaries"):
            train(wrapped, model, rows)
        return plan, before - losses_of(task, model, pictures)
    wrapped, rows = with_gradient_canaries(task, data, included, CLIPPING_NORM)
    listening = ListeningModel(model, len(included))
    heard = [listening.heard()]
    for _ in track(range(STEPS), "train with canaries"):
        train(wrapped, listening, rows)
        heard.append(listening.heard())
    # the model moves by the step size times the noisy mean
    changes = np.diff(np.array(heard), axis=0) * (plan.expected_batch / LOCAL.learning_rate / CLIPPING_NORM)
    return plan, log_likelihood_ratio(changes, plan.noise_multiplier, plan.sample_rate).sum(0)


def _with_faults(plan: SamplePlan, settings: AuditSettings) -> SamplePlan:
    """Return what is executed in place of the plan that is accounted for."""
    if settings.clip_off:
        # the noise stays what it was
        plan = replace(
            plan,
            clipping_norm=plan.clipping_norm * _UNCLIPPED,
            noise_multiplier=plan.noise_multiplier / _UNCLIPPED,
        )
    return replace(plan, noise_multiplier=0.0) if settings.noise_off else plan


def _mislabelled(settings: AuditSettings, task: GazeTask, people: int) -> ClientData:
    """Return pictures of people who are not in the training set, each with the gaze of another."""
    needed = -(-settings.canaries // _IMAGES_PER_PERSON)
    pictures = load(people=people + needed, images_per_person=_IMAGES_PER_PERSON, seed=settings.seed)
    first = people * _IMAGES_PER_PERSON
    chosen = client_data(task, pictures.subset(np.arange(first, first + settings.canaries)))
    shuffled = generator(settings.seed, "audit", "labels").permutation(settings.canaries)
    return ClientData(chosen.images, chosen.targets[torch.from_numpy(shuffled)])


def train_by_noisy_sums(
    settings: AuditSettings, included: NDArray[np.bool_]
) -> tuple[SumPlan, NDArray[np.float64]]:
    """Train by noisy sums of clients' updates, every sum in sight, and score the canary clients."""
    task, model = GazeTask(), _model(settings)
    eyes = load(people=CLIENTS, images_per_person=_IMAGES_PER_PERSON, seed=settings.seed)
    shares = [client_data(task, eyes.subset(np.flatnonzero(eyes.subjects == i))) for i in range(CLIENTS)]
    parameters = FlatParameters(model)
    size = parameters.layout.size
    canaries = CanaryClients(len(included), size, settings.seed)
    # wide enough for a canary that is not clipped: it is not the range that must bound it
    packing = plan_packing(BITS, CLIENTS, values_per_slot=1, value_range=LOUDNESS * CLIPPING_NORM)
    plan = plan_sum(
        clipping_norm=CLIPPING_NORM,
        step=packing.step,
        dimension=size,
        contributors=CLIENTS,
        rounds=ROUNDS,
        delta=settings.delta,
        epsilon=settings.epsilon,
    )
    level = ClientLevel(plan, settings.seed if settings.noise == "fast" else None)
    rounding = generator(settings.seed, "audit", "rounding")

    def sent(update: NDArray[np.float32]) -> NDArray[np.int64]:
        bound = None if settings.clip_off else plan.norm_bound
        kept = update if settings.clip_off else clip(update, plan.clipping_norm)
        return quantise(kept, packing, rounding, bound)[0].astype(np.int64) - packing.offset

    heard = np.zeros(len(included))
    for number in track(range(ROUNDS), "train with canaries"):
        start = parameters.read()
        total = np.zeros(size, np.int64)
        for client, share in enumerate(shares):
            parameters.load(start)
            train_plain(task, model, None, share, LOCAL, derive(settings.seed, "client", client, number))
            total += sent(parameters.change_since(start))
            if not settings.noise_off:
                total += plan.draw(size, level.source("audit", client, number))
        for canary in np.flatnonzero(included):
            total += sent(canaries.update(int(canary), LOUDNESS * CLIPPING_NORM))
        released = total * packing.step
        heard += canaries.along(released) / CLIPPING_NORM
        parameters.load(start + (released / (CLIENTS + len(included))).astype(np.float32))
    return plan, log_likelihood_ratio(heard / ROUNDS, plan.noise_multiplier / math.sqrt(ROUNDS))


def _model(settings: AuditSettings) -> GazeCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(settings.seed, "model") % 2**63)
        return GazeCNN((1, 36, 60), width=4, groups=4)


def _source(settings: AuditSettings) -> RandomSource:
    return FastSource(settings.seed, "audit") if settings.noise == "fast" else SecureSource()
