"""The gradient of each example by itself: by rules of our own where all layers have one, else by Opacus."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor, nn

from fedpriv.privacy.layer_gradients import has_rules, layer_gradients
from fedpriv.privacy.plan import WAYS


class PerExample(Protocol):
    """Per-example gradients of a model, after the backward pass of a MEAN loss over B examples."""

    @property
    def model(self) -> nn.Module:
        """Call it for the forward pass."""

    @property
    def bytes_per_example(self) -> int:
        """An upper bound on the memory that one example's gradients take."""

    def norms(self) -> Tensor:
        """Return the L2 norm of the gradient of each example's loss, (B,)."""

    def add_scaled(self, factors: Tensor, sums: Sequence[Tensor]) -> None:
        """Add sum_i factors_i gradient_i to ``sums``, one tensor per trained parameter.

        An example with factor 0 counts as zeros, even where its gradient is not finite.
        """

    def forget(self) -> None:
        """Drop everything about single examples."""


@contextmanager
def per_example_gradients(module: nn.Module, way: str = "auto") -> Iterator[PerExample]:
    """Let ``module`` compute per-example gradients inside the block.

    Guarantee:
        - Afterwards, also after an error, the module holds no hook and nothing of any example.

    Args:
        module: the model.
        way: ``auto``, or ``opacus`` for its hooks even where our own rules would do.

    Raises:
        ValueError: for layers that mix examples (batch normalisation) or keep running statistics, and
            for an unknown way.
    """
    if way not in WAYS:
        raise ValueError(f"gradients={way!r}: choose one of {', '.join(WAYS)}")
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            message = f"model layer {name}: batch normalisation mixes examples; use GroupNorm"
            raise ValueError(message)  # noqa: TRY004 - the type of a layer is a value here
    try:
        if way == "auto" and has_rules(module):
            with layer_gradients(module) as found:
                yield found
        else:
            from fedpriv.privacy.opacus_gradients import opacus_gradients  # on use: seconds to import

            with opacus_gradients(module) as hooked:
                yield hooked
    finally:
        for parameter in module.parameters():
            parameter.grad = None
