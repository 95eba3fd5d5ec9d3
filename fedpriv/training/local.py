"""One client's optimisation: plain SGD and DP-SGD. Knows nothing of Flower."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from fedpriv.privacy.canaries import Canaries
from fedpriv.privacy.noise import RandomSource
from fedpriv.privacy.plan import SamplePlan
from fedpriv.seeding import derive, generator
from fedpriv.tasks.augment import Draw, drawn_by
from fedpriv.tasks.base import Task
from fedpriv.training.data import ClientData


@dataclass(frozen=True)
class LocalSettings:
    """How a client optimises.

    Attributes:
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        learning_rate: step size.
        momentum: of SGD.
        weight_decay: L2 penalty (decoupled in AdamW).
        batch_size: examples per step; the expected number under DP-SGD.
        local_epochs: passes over the client's data per round; fractions allowed.
        schedule: of the step size over rounds, ``constant`` or ``cosine``.
        proximal_mu: weight of mu/2 ||w - w_t||^2 (FedProx), 0 for none.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    local_epochs: float = 1.0
    schedule: str = "constant"
    proximal_mu: float = 0.0

    def at_round(self, server_round: int, rounds: int) -> "LocalSettings":
        """Return the settings of a round: cosine scales the step size by (1 + cos(pi (t - 1) / T)) / 2.

        Raises:
            ValueError: for an unknown schedule.
        """
        if self.schedule == "constant":
            return self
        if self.schedule != "cosine":
            raise ValueError(f"training.schedule={self.schedule}: choose constant or cosine")
        factor = (1.0 + math.cos(math.pi * min(1.0, (server_round - 1) / rounds))) / 2.0
        return replace(self, learning_rate=self.learning_rate * factor)


def build_optimizer(settings: LocalSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser that ``settings`` names, freshly initialised.

    Raises:
        ValueError: for an unknown name.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    raise ValueError(f"training.optimizer={settings.optimizer}: choose sgd, adam or adamw")


def _ready(
    optimizer: torch.optim.Optimizer | None, settings: LocalSettings, model: nn.Module
) -> torch.optim.Optimizer:
    """Return the given optimiser at this round's step size, or a fresh one."""
    if optimizer is None:
        return build_optimizer(settings, list(model.parameters()))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate
    return optimizer


def warm_up() -> None:
    """Make torch import now what its first optimiser step would import, a second of work.

    It starts no thread, so that a process may fork after it: nothing is differentiated.
    """
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.0).step()


class _Proximal:
    """Adds mu (w - w_t), the gradient of mu/2 ||w - w_t||^2, to every gradient.

    Li et al. 2020, Federated Optimization in Heterogeneous Networks, arXiv 1812.06127, eq. (2).
    """

    def __init__(self, mu: float, backbone: nn.Module) -> None:
        self._mu = mu
        self._pairs = [(p, p.detach().clone()) for p in backbone.parameters()] if mu else []

    def add(self) -> None:
        for parameter, start in self._pairs:
            if parameter.grad is not None:  # what the loss does not reach never moves: its pull is 0
                parameter.grad.add_(parameter.detach() - start, alpha=self._mu)


def train_plain(
    task: Task,
    backbone: nn.Module,
    head: nn.Module | None,
    data: ClientData,
    settings: LocalSettings,
    seed: int,
    optimizer: torch.optim.Optimizer | None = None,
) -> float:
    """Run ``local_epochs`` of mini-batch optimisation in place.

    Batches are a seeded permutation per pass, the last one possibly smaller.

    Args:
        task: gives preprocessing, augmentation and loss.
        backbone: the federated part.
        head: the client's own part, or None.
        data: the client's examples.
        settings: how to optimise.
        seed: determines batches and augmentation.
        optimizer: goes on from its state, at the step size of ``settings``; of the parameters of
            backbone and head. None makes a fresh one.

    Returns:
        The mean loss over the steps taken.
    """
    model = backbone if head is None else nn.Sequential(backbone, head)
    model.train()
    optimizer = _ready(optimizer, settings, model)
    proximal = _Proximal(settings.proximal_mu, backbone)
    shuffle = generator(seed, "batches")
    draw = drawn_by(torch.Generator().manual_seed(derive(seed, "augment") % 2**63))
    steps = max(1, math.ceil(settings.local_epochs * len(data) / settings.batch_size))
    losses: list[Tensor] = []
    while len(losses) < steps:
        order = torch.from_numpy(shuffle.permutation(len(data)))
        for chosen in order.split(settings.batch_size):
            inputs = task.augment(task.preprocess(data.batch(chosen)), draw)
            loss = task.loss(model(inputs), data.targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            proximal.add()
            optimizer.step()
            losses.append(loss.detach())
            if len(losses) == steps:
                break
    return float(torch.stack(losses).mean())


def _drawn_by_mechanism(source: RandomSource) -> Draw:
    def draw(numbers: int, examples: int) -> Tensor:
        uniform = source.uniform(numbers * examples).astype(np.float32)
        return torch.from_numpy(uniform).view(numbers, examples)

    return draw


def train_private(
    task: Task,
    backbone: nn.Module,
    head: nn.Module | None,
    data: ClientData,
    settings: LocalSettings,
    plan: SamplePlan,
    source: RandomSource,
    optimizer: torch.optim.Optimizer | None = None,
    gradients: str = "auto",
    canaries: Canaries | None = None,
) -> float:
    """Run the ``plan.steps_per_round`` steps of DP-SGD that ``plan`` accounts for, in place.

    Guarantee:
        - exactly ``plan.steps_per_round`` noisy steps on Poisson samples are taken.
        - one example moves a step's sum by at most the clipping norm, augmentation included: its draws are
          the mechanism's own, secret and independent of each other, so that of two data sets which differ
          in one example all others can be thought to get the same. A stream dealt in order, of a seed that
          others know, would give every later example of the sample other changes.

    Edge cases:
        - an empty sample takes its noisy step; its loss is left out of the mean.
        - when every sample was empty the returned loss is NaN.

    Args:
        task: gives preprocessing, augmentation and loss.
        backbone: the federated part.
        head: the client's own part, or None; it is trained by the same noisy steps.
        data: the client's examples; ``len(data) == plan.examples``.
        settings: how to optimise; batch size and epochs are the plan's.
        plan: what is executed and accounted.
        source: randomness of sampling, augmentation and noise.
        optimizer: as for :func:`train_plain`; it takes the noisy gradients.
        gradients: how per-example gradients are computed, see :mod:`fedpriv.privacy.per_example`.
        canaries: further examples, for an audit: sampled, clipped, added and drowned in noise as all are.

    Raises:
        ValueError: when the data is not what the plan was made for.
    """
    from fedpriv.privacy.canary_examples import CanaryExamples
    from fedpriv.privacy.dp_sgd import PrivateGradient, poisson_sample
    from fedpriv.privacy.per_example import per_example_gradients

    if len(data) != plan.examples:
        raise ValueError(f"the plan is for {plan.examples} examples, the client has {len(data)}")
    model = backbone if head is None else nn.Sequential(backbone, head)
    model.train()
    optimizer = _ready(optimizer, settings, model)
    proximal = _Proximal(settings.proximal_mu, backbone)
    draw = _drawn_by_mechanism(source)
    losses: list[float] = []
    # canaries change neither rate, noise nor steps, all that epsilon depends on; the divisor stays, too
    sampled = plan if canaries is None else replace(plan, examples=plan.examples + len(canaries.included))
    with per_example_gradients(model, gradients) as examples:
        audited = None
        if canaries is not None:
            examples = audited = CanaryExamples(examples, backbone, canaries, plan.clipping_norm)
        private = PrivateGradient(examples, model, plan, source)
        for _ in range(plan.steps_per_round):
            chosen = torch.from_numpy(poisson_sample(sampled, source))
            total, count = 0.0, 0
            for part in chosen.split(private.most_at_once) if len(chosen) else ():
                rows = part if audited is None else audited.take(part, len(data))
                if len(rows):
                    inputs = task.augment(task.preprocess(data.batch(rows)), draw)
                    loss = task.loss(examples.model(inputs), data.targets[rows])
                    loss.backward()
                    total, count = total + float(loss.detach()) * len(rows), count + len(rows)
                private.add(len(part))
            if count:
                losses.append(total / count)
            private.release()
            proximal.add()
            optimizer.step()
    return float(np.mean(losses)) if losses else float("nan")
