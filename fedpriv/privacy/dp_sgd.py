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
        - an example whose gradient is not finite (or whose norm overflows float32) contributes
          zero: clipping could not bound it, and NaN would spread to the released model.
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

    def clip_and_accumulate(self) -> None:
        """Sum the per-example gradients, each scaled to norm at most ``max_grad_norm``."""
        samples = self.grad_samples
        if len(samples[0]):
            norms = torch.stack([sample.flatten(1).norm(2, dim=1) for sample in samples], dim=1).norm(
                2, dim=1
            )
            if not bool(torch.isfinite(norms).all()):
                for sample in samples:
                    # overwritten, for a factor of zero would leave NaN
                    sample[~torch.isfinite(norms)] = 0.0
        super().clip_and_accumulate()

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

    Guarantee:
        - Afterwards, also after an error, the module holds no hook and nothing of any example.

    Raises:
        ValueError: for layers that mix examples (batch normalisation) or keep running statistics.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            message = f"model layer {name}: batch normalisation mixes examples; use GroupNorm"
            raise ValueError(message)  # noqa: TRY004 - the type of a layer is a value here
    try:
        wrapped = GradSampleModule(module, batch_first=True, loss_reduction="mean")
    except NotImplementedError as error:
        raise ValueError(f"model: {error}") from error
    with warnings.catch_warnings():
        # the images themselves need no gradient, and that is right
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        try:
            yield wrapped
        finally:
            wrapped.to_standard_module()
            _forget(module)


def _forget(module: nn.Module) -> None:
    """Remove what Opacus leaves behind: gradients and activations of single examples."""
    for layer in module.modules():
        for name in ("activations", "max_batch_len"):
            vars(layer).pop(name, None)
    for parameter in module.parameters():
        parameter.grad = None
        for name in ("grad_sample", "summed_grad", "_forward_counter"):
            vars(parameter).pop(name, None)


def poisson_sample(plan: SamplePlan, source: RandomSource) -> NDArray[np.int64]:
    """Draw every example independently with probability ``plan.sample_rate``."""
    return np.flatnonzero(source.uniform(plan.examples) < plan.sample_rate)
