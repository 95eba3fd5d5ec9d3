"""Per-example gradients of any layers that Opacus knows, by its hooks."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn


class OpacusGradients:
    """As :class:`fedpriv.privacy.layer_gradients.LayerGradients`, for :class:`opacus.GradSampleModule`.

    Attributes:
        model: call it for the forward pass.
    """

    def __init__(self, wrapped: GradSampleModule) -> None:
        """Read from the parameters of ``wrapped``."""
        self.model = wrapped
        self._parameters = [p for p in wrapped.parameters() if p.requires_grad]

    @property
    def bytes_per_example(self) -> int:
        """Memory that the gradients of one example take."""
        return sum(4 * int(parameter.numel()) for parameter in self._parameters)

    def norms(self) -> Tensor:
        """Return the L2 norm of each example's gradient of the sum of losses, (B,)."""
        found = [p.grad_sample for p in self._parameters if _has_samples(p)]
        return torch.stack([each.flatten(1).square().sum(1) for each in found]).sum(0).sqrt()

    def add_scaled(self, factors: Tensor, sums: Sequence[Tensor]) -> None:
        """Add sum_i factors_i gradient_i to ``sums``; examples with factor 0 count as zeros."""
        dropped = factors == 0
        for parameter, total in zip(self._parameters, sums, strict=True):
            if not _has_samples(parameter):
                continue
            found = parameter.grad_sample.flatten(1)
            if bool(dropped.any()):
                # a factor of zero would leave NaN
                found = found.masked_fill(dropped[:, None], 0.0)
            total.view(-1).add_(factors @ found)

    def forget(self) -> None:
        """Drop what a backward pass left."""
        for parameter in self._parameters:
            parameter.grad = parameter.grad_sample = None


@contextmanager
def opacus_gradients(module: nn.Module) -> Iterator[OpacusGradients]:
    """Let Opacus' hooks keep per-example gradients of ``module`` inside the block.

    Guarantee:
        - Afterwards, also after an error, the module holds no hook and nothing of any example.

    Raises:
        ValueError: for layers that keep running statistics, and what Opacus does not know.
    """
    try:
        wrapped = GradSampleModule(module, batch_first=True, loss_reduction="mean")
    except NotImplementedError as error:
        raise ValueError(f"model: {error}") from error
    with warnings.catch_warnings():
        # the images themselves need no gradient, and that is right
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        try:
            yield OpacusGradients(wrapped)
        finally:
            wrapped.to_standard_module()
            _forget(module)


def _has_samples(parameter: nn.Parameter) -> bool:
    return getattr(parameter, "grad_sample", None) is not None


def _forget(module: nn.Module) -> None:
    """Remove what Opacus leaves behind: gradients and activations of single examples."""
    for layer in module.modules():
        for name in ("activations", "max_batch_len"):
            vars(layer).pop(name, None)
    for parameter in module.parameters():
        parameter.grad = None
        for name in ("grad_sample", "summed_grad", "_forward_counter"):
            vars(parameter).pop(name, None)
