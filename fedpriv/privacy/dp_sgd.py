"""The noisy optimiser: Opacus clips and sums, the noise comes from our own source."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from fedpriv.privacy.noise import RandomSource
from fedpriv.privacy.plan import SamplePlan


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' DP-SGD optimiser with noise drawn from a :class:`RandomSource`.

    Guarantee:
        - ``step`` adds N(0, (noise_multiplier clipping_norm)^2 I) to the sum of clipped
          per-example gradients, every time it is called.

    Edge cases:
        - without examples the step is noise alone.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, plan: SamplePlan, source: RandomSource) -> None:
        """Bind ``optimizer`` to the plan it must execute."""
        super().__init__(
            optimizer,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clipping_norm,
            expected_batch_size=plan.expected_batch,
        )
        self._source = source

    def add_noise(self) -> None:
        """Add noise to every parameter's summed gradient in one draw."""
        sizes = [parameter.numel() for parameter in self.params]
        noise = self._source.normal(sum(sizes)) * (self.noise_multiplier * self.max_grad_norm)
        for parameter, part in zip(
            self.params, torch.from_numpy(noise.astype(np.float32)).split(sizes), strict=True
        ):
            parameter.grad = (parameter.summed_grad + part.view_as(parameter)).view_as(parameter)

    def use_no_examples(self) -> None:
        """Set the per-example gradients of an empty sample: zero of them."""
        for parameter in self.params:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))


@contextmanager
def per_example_gradients(module: nn.Module) -> Iterator[GradSampleModule]:
    """Let ``module`` compute per-example gradients (Opacus hooks) inside the block.

    Raises:
        ValueError: for layers that mix examples, such as batch normalisation.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"model layer {name}: batch normalisation mixes examples; use GroupNorm")
    wrapped = GradSampleModule(module, batch_first=True, loss_reduction="mean")
    with warnings.catch_warnings():
        # the images themselves need no gradient, and that is right
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        try:
            yield wrapped
        finally:
            wrapped.to_standard_module()


def poisson_sample(plan: SamplePlan, source: RandomSource) -> NDArray[np.int64]:
    """Draw every example independently with probability ``plan.sample_rate``."""
    return np.flatnonzero(source.uniform(plan.examples) < plan.sample_rate)
