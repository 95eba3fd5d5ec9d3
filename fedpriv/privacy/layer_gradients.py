"""Per-example gradients of the layers that small private models are made of, without waste.

Autograd sums the gradients of a batch; DP-SGD needs them apart. In the usual way, with hooks (Opacus), the
sums are computed as well and thrown away. Here the layer's own backward pass computes what is needed in
their place, by the rules of :mod:`fedpriv.privacy.layer_rules`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedpriv.privacy.layer_rules import Outer, forward_keeping, has_rule

_MOST = 1.8e19
"""About the largest number whose square is a float32."""

_PIECE = 1024
"""Numbers whose squares are added in float32; more of them beside a large one would be lost."""

_SIZES = "model: its layers saw batches of sizes {}; keep the first dimension for the examples"


class LayerGradients:
    """Per-example gradients of a module whose parameters all belong to layers with a rule.

    Attributes:
        model: call it for the forward pass.
    """

    def __init__(self, module: nn.Module) -> None:
        """Prepare for ``module``; see :func:`layer_gradients`."""
        self.model = module
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._found: dict[nn.Parameter, Tensor | Outer] = {}

    @property
    def bytes_per_example(self) -> int:
        """Memory that the gradients of one example take at most; linear layers take less."""
        return 4 * sum(parameter.numel() for parameter in self._parameters)

    def norms(self) -> Tensor:
        """Return the L2 norm of each example's gradient of the SUM of losses, (B,), after one backward pass.

        The backward pass is of the mean loss over the B examples.

        Raises:
            ValueError: when layers saw batches of different sizes.
        """
        sizes = {len(found) for found in self._found.values()}
        if len(sizes) != 1:
            raise ValueError(_SIZES.format(sorted(sizes)))
        norms = torch.stack([_norms(found) for found in self._found.values()])
        return _norms(norms.T) * norms.shape[1]

    def add_scaled(self, factors: Tensor, sums: Sequence[Tensor]) -> None:
        """Add sum_i factors_i gradient_i to ``sums``; those with factor 0 count as zeros, whatever they are.

        Args:
            factors: (B,).
            sums: one tensor for each trained parameter, in the module's order, of its shape.
        """
        dropped, scaled = factors == 0, factors * len(factors)
        any_dropped = bool(dropped.any())
        for parameter, total in zip(self._parameters, sums, strict=True):
            found = self._found.get(parameter)
            if found is None:  # the loss does not reach it
                continue
            if any_dropped:
                found = _without(found, dropped)
            if isinstance(found, Outer):
                total.addmm_((scaled[:, None] * found.outputs).T, found.inputs)
            else:
                total.view(-1).add_(scaled @ found.flatten(1))

    def forget(self) -> None:
        """Drop everything about single examples."""
        self._found.clear()

    def keep(self, parameter: nn.Parameter, found: Tensor | Outer) -> None:
        """Take what a backward pass found; a layer that is used twice adds up."""
        before = self._found.get(parameter)
        if before is not None and len(before) != len(found):
            # one of them 1, they would add up without a word
            raise ValueError(_SIZES.format(sorted({len(before), len(found)})))
        self._found[parameter] = found if before is None else _dense(before) + _dense(found)


def has_rules(module: nn.Module) -> bool:
    """Tell whether every trained parameter of ``module`` belongs to one layer that has a rule."""
    owners: dict[nn.Parameter, nn.Module] = {}
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if not has_rule(layer) or owners.setdefault(parameter, layer) is not layer:
                return False
    return True


@contextmanager
def layer_gradients(module: nn.Module) -> Iterator[LayerGradients]:
    """Let the layers of ``module`` keep per-example gradients inside the block.

    Guarantee:
        - Afterwards, also after an error, the module is as it was and holds nothing of any example.

    Edge cases:
        - A frozen parameter has no gradients; one that the loss does not reach has zeros.
        - A layer that is used several times in a forward pass counts as often.

    Args:
        module: :func:`has_rules` holds for it.
    """
    made = LayerGradients(module)
    layers = [
        layer
        for layer in module.modules()
        if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    ]
    try:
        for layer in layers:
            layer.forward = forward_keeping(layer, made.keep)
        yield made
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
        made.forget()


def _dense(found: Tensor | Outer) -> Tensor:
    return found.outputs[:, :, None] * found.inputs[:, None, :] if isinstance(found, Outer) else found


def _norms(found: Tensor | Outer) -> Tensor:
    if isinstance(found, Outer):
        return (_lengths(found.outputs) * _lengths(found.inputs)).to(found.inputs.dtype)
    rows = found.flatten(1)
    whole = rows.shape[1] - rows.shape[1] % _PIECE
    pieces = torch.linalg.vector_norm(rows[:, :whole].unflatten(1, (whole // _PIECE, _PIECE)), dim=2)
    rest = torch.linalg.vector_norm(rows[:, whole:], dim=1, keepdim=True)
    return _lengths(torch.cat((pieces, rest), 1)).to(found.dtype)


def _lengths(factors: Tensor) -> Tensor:
    """Return the norms of an outer product's factors, (B,) float64; inf where float32 cannot hold the square.

    What float32 squares to zero counts: the other factor may be as large as this one is small.
    """
    lengths: Tensor = torch.linalg.vector_norm(factors, dim=1, dtype=torch.float64)
    return lengths.where(lengths < _MOST, torch.inf)


def _without(found: Tensor | Outer, dropped: Tensor) -> Tensor | Outer:
    """Return a copy with zeros for the dropped examples: a factor of zero would leave NaN."""
    if isinstance(found, Outer):
        return Outer(_blank(found.outputs, dropped), _blank(found.inputs, dropped))
    return _blank(found, dropped)


def _blank(values: Tensor, dropped: Tensor) -> Tensor:
    return values.masked_fill(dropped.view(-1, *[1] * (values.dim() - 1)), 0.0)
