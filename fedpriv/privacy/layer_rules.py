"""Rules by which layers keep their parameters' gradients example by example, in their own backward pass.

For example i, activation a_i and gradient g_i of the layer's output,

    linear       g_i a_i^T, kept as the pair: its norm is |g_i| |a_i| and a clipped sum is one product
                 (Goodfellow 2015, arXiv 1510.01799)
    convolution  g_i U(a_i)^T with U the windows of the input (Rochette et al. 2019, arXiv 1912.06015)
    group norm   sum over positions of g_i times the normalised input, by torch's own backward pass
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_WINDOW_BYTES = 1 << 20
"""Windows of a convolution's input that exist at a time: what fits a processor's cache is faster too."""


class Outer:
    """The gradients outputs_i inputs_i^T of a linear layer's weight, (B, O, I), as their factors."""

    def __init__(self, outputs: Tensor, inputs: Tensor) -> None:
        """Take (B, O) and (B, I)."""
        self.outputs, self.inputs = outputs, inputs

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.outputs)


Keep = Callable[[nn.Parameter, Tensor | Outer], None]


def has_rule(layer: nn.Module) -> bool:
    """Tell whether the parameters of ``layer`` itself have a rule."""
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return type(layer) in (nn.Linear, nn.GroupNorm)


def forward_keeping(layer: nn.Module, keep: Keep) -> Callable[[Tensor], Tensor]:
    """Return a forward pass of ``layer`` whose backward pass hands per-example gradients to ``keep``.

    Each is (B, ...) of the parameter's numbers in their order, of the loss that is propagated.

    Args:
        layer: :func:`has_rule` holds for it.
        keep: is called with each parameter that wants a gradient.
    """
    if isinstance(layer, nn.Conv2d):
        return lambda x: _apply(_Convolution, x, layer.weight, layer.bias, layer, keep)
    if isinstance(layer, nn.Linear):
        return lambda x: _apply(_Linear, x, layer.weight, layer.bias, keep)
    assert isinstance(layer, nn.GroupNorm)  # noqa: S101 - narrowed by has_rule
    return lambda x: _apply(_GroupNorm, x, layer.weight, layer.bias, layer, keep)


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
                ctx.keep(weight, Outer(gradient, x))
            else:
                ctx.keep(weight, torch.bmm(gradient.flatten(1, -2).transpose(1, 2), x.flatten(1, -2)))
        if bias is not None and bias.requires_grad:
            ctx.keep(bias, gradient if x.dim() == 2 else gradient.flatten(1, -2).sum(1))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None, None


class _GroupNorm(Function):
    """y = w (x - mean) / deviation + b over each group of channels, for x (B, C, ...)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: nn.Parameter, bias: nn.Parameter, layer: nn.GroupNorm, keep: Keep
    ) -> Tensor:
        count, channels = x.shape[:2]
        positions = x.numel() // max(1, count * channels)
        # four dimensions with one channel can lie both ways in memory at once, and torch would take the other
        flat = x.reshape(count, channels, positions).contiguous()
        ctx.sizes = count, channels, positions, layer.num_groups
        normed, mean, scale = torch.ops.aten.native_group_norm(flat, weight, bias, *ctx.sizes, layer.eps)
        ctx.save_for_backward(flat, mean, scale)
        ctx.weight, ctx.bias, ctx.keep = weight, bias, keep
        return cast(Tensor, normed).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (flat, mean, scale), weight, bias = ctx.saved_tensors, ctx.weight, ctx.bias
        count, channels, positions, groups = ctx.sizes
        # to torch this is one example with the channels of all: what it would sum over examples stays apart
        back, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            gradient.reshape(flat.shape).contiguous(),
            flat,
            mean.view(1, -1),
            scale.view(1, -1),
            weight.repeat(count),
            1,
            count * channels,
            positions,
            count * groups,
            [ctx.needs_input_grad[0], weight.requires_grad, bias.requires_grad],
        )
        if weight.requires_grad:
            ctx.keep(weight, of_weight.view(count, channels))
        if bias.requires_grad:
            ctx.keep(bias, of_bias.view(count, channels))
        return None if back is None else back.view(gradient.shape), None, None, None, None


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
            shape = layer.stride, layer.padding, layer.dilation, False, (0, 0), 1
            wanted = [True, False, False]
            back = torch.ops.aten.convolution_backward(gradient, x, weight, None, *shape, wanted)[0]
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
    channels, height, width = x.shape[1:]
    taps = channels * tall * broad
    together = max(1, min(len(x), _WINDOW_BYTES // (x.element_size() * taps * flat.shape[2])))
    windows = x.new_empty(together, channels, tall, broad, *size)
    # columns that lie a stride apart stand side by side here, and so are copied into windows in runs
    combed = x.new_zeros(together, channels, right, height + 2 * top, -(-(width + 2 * left) // right))
    found = x.new_empty(len(x), flat.shape[1], taps)
    for start in range(0, len(x), together):
        part = x[start : start + together]
        for tooth in range(right):
            first = (tooth - left) % right
            columns, at = part[..., first::right], (first + left) // right
            combed[: len(part), :, tooth, top : top + height, at : at + columns.shape[3]] = columns
        for column in range(broad):
            at, tooth = divmod(column * wide, right)
            lines = combed[: len(part), :, tooth, :, at : at + size[1]]
            rows = lines.unfold(2, (tall - 1) * high + 1, down)[..., ::high]
            windows[: len(part), :, :, column] = rows.permute(0, 1, 4, 2, 3)
        torch.bmm(
            flat[start : start + together],
            windows[: len(part)].view(len(part), taps, -1).transpose(1, 2),
            out=found[start : start + together],
        )
    return found
