"""Per-example gradients of the layers that small private models are made of, without waste.

Autograd sums the gradients of a batch; DP-SGD needs them apart. In the usual way, with hooks (Opacus), the
sums are computed as well and thrown away. Here the layer's own backward pass computes what is needed in
their place: for example i, activation a_i and gradient g_i of the layer's output,

    linear       g_i a_i^T, kept as the pair: its norm is |g_i| |a_i| and a clipped sum is one product
                 (Goodfellow 2015, arXiv 1510.01799)
    convolution  g_i U(a_i)^T with U the windows of the input (Rochette et al. 2019, arXiv 1912.06015)
    group norm   sum over positions of g_i times the normalised input
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

_WINDOW_BYTES = 1 << 22
"""Windows of a convolution's input that exist at a time: what fits a processor's cache is faster too."""
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
        self._found: dict[nn.Parameter, Tensor | _Outer] = {}

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
        squares = torch.stack([_squares(found) for found in self._found.values()]).sum(0)
        return squares.sqrt() * len(squares)

    def add_scaled(self, factors: Tensor, sums: Sequence[Tensor]) -> None:
        """Add sum_i factors_i gradient_i to ``sums``; those with factor 0 count as zeros, whatever they are.

        Args:
            factors: (B,).
            sums: one tensor for each trained parameter, in the module's order, of its shape.
        """
        dropped, scaled = factors == 0, factors * len(factors)
        for parameter, total in zip(self._parameters, sums, strict=True):
            found = self._found.get(parameter)
            if found is None:  # the loss does not reach it
                continue
            if bool(dropped.any()):
                found = _without(found, dropped)
            if isinstance(found, _Outer):
                total.addmm_((scaled[:, None] * found.outputs).T, found.inputs)
            else:
                total.view(-1).add_(scaled @ found.flatten(1))

    def forget(self) -> None:
        """Drop everything about single examples."""
        self._found.clear()

    def keep(self, parameter: nn.Parameter, found: "Tensor | _Outer") -> None:
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
            if not _has_rule(layer) or owners.setdefault(parameter, layer) is not layer:
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
            layer.forward = _forward(layer, made.keep)
        yield made
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
        made.forget()


Keep = Callable[[nn.Parameter, "Tensor | _Outer"], None]


class _Outer:
    """The gradients outputs_i inputs_i^T of a linear layer's weight, (B, O, I), as their factors."""

    def __init__(self, outputs: Tensor, inputs: Tensor) -> None:
        self.outputs, self.inputs = outputs, inputs

    def __len__(self) -> int:
        return len(self.outputs)


def _dense(found: "Tensor | _Outer") -> Tensor:
    return found.outputs[:, :, None] * found.inputs[:, None, :] if isinstance(found, _Outer) else found


def _squares(found: "Tensor | _Outer") -> Tensor:
    if isinstance(found, _Outer):
        return found.outputs.square().sum(1) * found.inputs.square().sum(1)
    return found.flatten(1).square().sum(1)


def _without(found: "Tensor | _Outer", dropped: Tensor) -> "Tensor | _Outer":
    """Return a copy with zeros for the dropped examples: a factor of zero would leave NaN."""
    if isinstance(found, _Outer):
        return _Outer(_blank(found.outputs, dropped), _blank(found.inputs, dropped))
    return _blank(found, dropped)


def _blank(values: Tensor, dropped: Tensor) -> Tensor:
    return values.masked_fill(dropped.view(-1, *[1] * (values.dim() - 1)), 0.0)


def _has_rule(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return type(layer) in (nn.Linear, nn.GroupNorm)


def _forward(layer: nn.Module, keep: Keep) -> Callable[[Tensor], Tensor]:
    if isinstance(layer, nn.Conv2d):
        return lambda x: _apply(_Convolution, x, layer.weight, layer.bias, layer, keep)
    if isinstance(layer, nn.Linear):
        return lambda x: _apply(_Linear, x, layer.weight, layer.bias, keep)
    assert isinstance(layer, nn.GroupNorm)  # noqa: S101 - narrowed by has_rules

    def normalised(x: Tensor) -> Tensor:
        # without its own scale and shift, which a rule of ours then applies
        plain = functional.group_norm(x, layer.num_groups, None, None, layer.eps)
        return _apply(_Affine, plain, layer.weight, layer.bias, keep)

    return normalised


def _apply(rule: type[Function], *given: Any) -> Tensor:
    return cast(Tensor, rule.apply(*given))


class _Linear(Function):
    """y = x W^T + b for x (B, ..., I)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, keep: Keep) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias, ctx.keep = weight, bias, keep
        return functional.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,), weight, bias = ctx.saved_tensors, ctx.weight, ctx.bias
        if weight.requires_grad:
            if x.dim() == 2:
                ctx.keep(weight, _Outer(gradient, x))
            else:
                flat = gradient.reshape(len(x), -1, gradient.shape[-1])
                ctx.keep(weight, torch.bmm(flat.transpose(1, 2), x.reshape(len(x), -1, x.shape[-1])))
        if bias is not None and bias.requires_grad:
            ctx.keep(bias, gradient.reshape(len(x), -1, gradient.shape[-1]).sum(1))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None, None


class _Affine(Function):
    """y = w x + b per channel, for x (B, C, ...)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter, keep: Keep) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias, ctx.keep = weight, bias, keep
        shape = (1, -1, *[1] * (x.dim() - 2))
        return torch.addcmul(bias.view(shape), x, weight.view(shape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,), weight, bias = ctx.saved_tensors, ctx.weight, ctx.bias
        if weight.requires_grad:
            ctx.keep(weight, (gradient * x).reshape(*x.shape[:2], -1).sum(2))
        if bias.requires_grad:
            ctx.keep(bias, gradient.reshape(*x.shape[:2], -1).sum(2))
        back = gradient * weight.view(1, -1, *[1] * (x.dim() - 2)) if ctx.needs_input_grad[0] else None
        return back, None, None, None


class _Convolution(Function):
    """A two-dimensional convolution, zeros beyond the edges."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, layer: nn.Conv2d, keep: Keep
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias, ctx.layer, ctx.keep = weight, bias, layer, keep
        return functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,), weight, bias, layer = ctx.saved_tensors, ctx.weight, ctx.bias, ctx.layer
        flat = gradient.flatten(2)
        if weight.requires_grad:
            ctx.keep(weight, _convolution_weights(x, flat, gradient.shape[2:], layer))
        if bias is not None and bias.requires_grad:
            ctx.keep(bias, flat.sum(2))
        back = None
        if ctx.needs_input_grad[0]:
            back = conv2d_input(x.shape, weight, gradient, layer.stride, layer.padding, layer.dilation)
        return back, None, None, None, None


def _convolution_weights(x: Tensor, flat: Tensor, size: Sequence[int], layer: nn.Conv2d) -> Tensor:
    """Return the per-example gradients of the weight, (B, O, C KH KW).

    Args:
        x: input, (B, C, H, W).
        flat: gradient of the output, (B, O, T).
        size: height and width of the output, T their product.
        layer: the convolution.
    """
    (down, right), (high, wide), (tall, broad) = layer.stride, layer.dilation, layer.kernel_size
    top, left = (int(side) for side in layer.padding)
    padded = functional.pad(x, (left, left, top, top))
    of_image, of_channel, of_row, of_column = padded.stride()
    shape = (x.shape[1], tall, broad, *size)
    steps = (of_channel, of_row * high, of_column * wide, of_row * down, of_column * right)
    taps = x.shape[1] * tall * broad
    found = x.new_empty(len(x), flat.shape[1], taps)
    together = max(1, _WINDOW_BYTES // (x.element_size() * taps * flat.shape[2]))
    for some in range(0, len(x), together):
        part = padded[some : some + together]
        windows = part.as_strided((len(part), *shape), (of_image, *steps), part.storage_offset())
        torch.bmm(
            flat[some : some + together],
            windows.reshape(len(part), taps, -1).transpose(1, 2),
            out=found[some : some + together],
        )
    return found
