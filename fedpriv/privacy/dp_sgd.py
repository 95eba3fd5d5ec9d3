"""The noisy gradient of DP-SGD: sample, clip, add noise (Abadi et al. 2016, arXiv 1607.00133, Alg. 1)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedpriv.privacy.noise import RandomSource
from fedpriv.privacy.per_example import PerExample
from fedpriv.privacy.plan import SamplePlan

MOST_BYTES = 1 << 30
"""Per-example gradients that are held at a time; a larger sample is taken in parts."""


class PrivateGradient:
    """(sum_i clip(gradient_i) + noise) / expected batch, written where the optimiser looks for it.

    Guarantee:
        - :meth:`release` adds N(0, (noise_multiplier clipping_norm)^2 I) to the sum of clipped
          per-example gradients, every time it is called.
        - One example moves that sum by at most ``clipping_norm``, but for the rounding to float32, whatever
          its gradient and in how many parts the sample is taken. A model that mixes examples in a layer
          without parameters breaks this, and nothing here notices.

    Edge cases:
        - Without examples the release is noise alone.
        - An example whose gradient is not finite (or whose squared norm overflows float32, or that of
          a linear layer's input or output gradient) contributes zero: clipping could not bound it, and NaN
          would spread to the released model.
        - A parameter that the loss does not reach gets noise all the same.
    """

    def __init__(
        self, examples: PerExample, module: nn.Module, plan: SamplePlan, source: RandomSource
    ) -> None:
        """Bind the gradients of ``module``'s examples to the plan that must be executed."""
        self._examples, self._plan, self._source = examples, plan, source
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._sums = [torch.zeros_like(parameter) for parameter in self._parameters]

    @property
    def most_at_once(self) -> int:
        """Examples whose gradients are held together."""
        return max(1, MOST_BYTES // max(1, self._examples.bytes_per_example))

    @torch.no_grad()
    def add(self, count: int) -> None:
        """Clip and add the ``count`` examples of the last backward pass, and forget them.

        Raises:
            ValueError: when the model's layers saw another number of them: each would be clipped in pieces,
                and could move the sum by more than ``clipping_norm``.
        """
        norms = self._examples.norms()
        if len(norms) != count:
            raise ValueError(
                f"model: its layers saw a batch of {len(norms)} where {count} examples were given; keep the "
                "first dimension for the examples"
            )
        factors = (self._plan.clipping_norm / (norms + 1e-6)).clamp(max=1.0)
        self._examples.add_scaled(factors.where(norms.isfinite(), 0.0), self._sums)
        self._examples.forget()

    @torch.no_grad()
    def release(self) -> None:
        """Set every parameter's ``grad`` to the noisy mean, in one draw of noise, and start anew."""
        sizes = [parameter.numel() for parameter in self._parameters]
        deviation = self._plan.noise_multiplier * self._plan.clipping_norm
        noise = torch.from_numpy((self._source.normal(sum(sizes)) * deviation).astype(np.float32))
        for parameter, total, part in zip(self._parameters, self._sums, noise.split(sizes), strict=True):
            parameter.grad = total.add(part.view_as(total)).div_(self._plan.expected_batch)
            total.zero_()


def poisson_sample(plan: SamplePlan, source: RandomSource) -> NDArray[np.int64]:
    """Draw every example independently with probability ``plan.sample_rate``.

    Guarantee:
        - The size of a sample is binomial, and no sample depends on the one before.

    Edge cases:
        - sample rate 1 takes everybody, always; a sample can be empty.

    Returns:
        Numbers of examples, ascending, int64.
    """
    return np.flatnonzero(source.uniform(plan.examples) < plan.sample_rate)
