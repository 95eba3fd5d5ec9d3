"""Max pooling of 2 x 2 cells that is quick in float64, where PyTorch's has no vector code for processors."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class HalvingMaxPool(nn.Module):
    """``nn.MaxPool2d(2, ceil_mode=True)``, the same values bit by bit; a maximum rounds nothing."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2)): each cell's largest, cut at the edge."""
        odd_rows, odd_columns = inputs.shape[2] % 2, inputs.shape[3] % 2
        if odd_rows or odd_columns:
            inputs = functional.pad(inputs, (0, odd_columns, 0, odd_rows), value=-math.inf)
        rows = torch.maximum(inputs[:, :, ::2], inputs[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def with_quick_pools(module: nn.Module) -> nn.Module:
    """Exchange every ``nn.MaxPool2d(2, ceil_mode=True)`` inside a module; the rest stays."""
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d) and _halves(child):
            setattr(module, name, HalvingMaxPool())
        else:
            with_quick_pools(child)
    return module


def _halves(pool: nn.MaxPool2d) -> bool:
    plain = pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1)) and not pool.return_indices
    halves = pool.kernel_size in (2, (2, 2)) and pool.stride in (2, (2, 2))
    return bool(plain and halves and pool.ceil_mode)
