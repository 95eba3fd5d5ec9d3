"""What DP-SGD adds to a training step of the gaze model: ours, and Opacus' hooks with Opacus' noise.

Workload: one client's rounds of the gaze task, 512 rendered eyes of 36 x 60, batches of 128 (with privacy the
expected size of a Poisson sample), plain SGD, one thread. Each way is what a run calls, with preprocessing,
augmentation and what a round sets up; the ways are interleaved, and every other time run in reverse.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.privacy.dp_sgd import poisson_sample
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.privacy.plan import SamplePlan
from fedpriv.tasks.augment import drawn_by
from fedpriv.tasks.base import Task
from fedpriv.training.data import ClientData, client_data
from fedpriv.training.local import LocalSettings, train_plain, train_private

EXAMPLES, BATCH, STEPS = 512, 128, 20
NOISE, CLIP = 1.0, 1.0


class _Timed(SecureSource):
    """The source of a run, with a clock around its normal numbers."""

    seconds = 0.0

    def normal(self, count: int) -> NDArray[np.float64]:
        started = time.perf_counter()
        try:
            return super().normal(count)
        finally:
            self.seconds += time.perf_counter() - started


def measure(repeats: int) -> dict[str, Any]:
    """Train ``repeats`` rounds in every way, interleaved, and return medians per step.

    Returns:
        ``plain_step_ms``: without privacy; ``dp_step_ms``: DP-SGD as runs do it (``gradients=auto``,
        ``noise=secure``); ``ratio``: of the two; ``secure_noise_share``: part of ``dp_step_ms`` that
        drawing the noise takes; ``fast_noise_step_ms``: with seeded noise; ``hooks_step_ms``: with
        per-example gradients by Opacus' hooks; ``opacus_step_ms``: Opacus alone, ``DPOptimizer`` with
        ``GradSampleModule`` set up once, and its own noise.
    """
    torch.set_num_threads(1)
    task, dataset = _gaze()
    data, steps = client_data(task, dataset), STEPS
    settings = LocalSettings(
        learning_rate=0.01, momentum=0.0, batch_size=BATCH, local_epochs=steps * BATCH / EXAMPLES
    )
    plan = SamplePlan(EXAMPLES, BATCH / EXAMPLES, steps, NOISE, CLIP, 1e-5, None)
    shares: list[float] = []

    def secure(model: nn.Module) -> None:
        source = _Timed()
        started = time.perf_counter()
        train_private(task, model, None, data, settings, plan, source)
        shares.append(source.seconds / (time.perf_counter() - started))

    def private(source: RandomSource, gradients: str) -> Callable[[nn.Module], Any]:
        return lambda model: train_private(
            task, model, None, data, settings, plan, source, gradients=gradients
        )

    ways: dict[str, Callable[[nn.Module], Any]] = {
        "plain": lambda model: train_plain(task, model, None, data, settings, seed=0),
        "dp": secure,
        "fast_noise": private(FastSource(0), "auto"),
        "hooks": private(SecureSource(), "opacus"),
        "opacus": lambda model: _opacus(task, model, data, settings, plan),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(-1, repeats):
        for way in list(ways)[:: -1 if repeat % 2 else 1]:
            torch.manual_seed(0)
            model = GazeCNN(dataset.image_shape)
            started = time.perf_counter()
            ways[way](model)
            if repeat >= 0:  # the first time warms up
                seconds[way].append((time.perf_counter() - started) / steps)
    return {
        "benchmark": "dp",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "batch": BATCH,
        "steps": steps,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        **{f"{way}_step_ms": round(1e3 * statistics.median(seconds[way]), 3) for way in ways},
        "ratio": round(statistics.median(seconds["dp"]) / statistics.median(seconds["plain"]), 3),
        "paired_ratios": _ratios(seconds["dp"], seconds["plain"]),
        "opacus_ratio": round(statistics.median(seconds["opacus"]) / statistics.median(seconds["plain"]), 3),
        "secure_noise_share": round(statistics.median(shares), 4),
    }


def _ratios(ours: Sequence[float], plain: Sequence[float]) -> list[float]:
    return [round(a / b, 3) for a, b in zip(ours, plain, strict=True)]


def _gaze() -> tuple[Task, ImageDataset]:
    from fedpriv.data.synthetic_eyes import load
    from fedpriv.tasks.gaze import GazeTask

    return GazeTask(), load(people=16, images_per_person=EXAMPLES // 16, seed=0)


def _opacus(
    task: Task, model: nn.Module, data: ClientData, settings: LocalSettings, plan: SamplePlan
) -> None:
    """Train as Opacus' own examples do, on the same samples and images."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(model, batch_first=True, loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=settings.learning_rate),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clipping_norm,
        expected_batch_size=plan.expected_batch,
    )
    draw = drawn_by(torch.Generator().manual_seed(0))
    source = FastSource(0)
    with warnings.catch_warnings():
        # the images themselves need no gradient, and that is right
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for _ in range(plan.steps_per_round):
            optimizer.zero_grad(set_to_none=True)
            chosen = torch.from_numpy(poisson_sample(plan, source))
            inputs = task.augment(task.preprocess(data.batch(chosen)), draw)
            task.loss(wrapped(inputs), data.targets[chosen]).backward()
            optimizer.step()
    wrapped.to_standard_module()
