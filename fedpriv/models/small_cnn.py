"""A small network for small colour images: 122,570 parameters at 32 x 32 with ten outputs."""

import torch
from torch import Tensor, nn

SMALLEST = 18
"""Smallest height and width that three convolutions and two poolings leave something of."""


class SmallCNN(nn.Module):
    """conv 3x3 (32) - pool - conv 3x3 (64) - pool - conv 3x3 (64) - hidden - outputs, ReLU between.

    The network of TensorFlow's CIFAR-10 tutorial, much used to compare federated simulators. No
    normalisation, so DP-SGD can train it.

    Args:
        in_shape: (C, H, W), H and W at least 18.
        outputs: width of the output.
        hidden: width of the hidden layer.

    Input (B, C, H, W) float32, output (B, outputs).

    Raises:
        ValueError: for smaller images, or widths below 1.
    """

    def __init__(self, in_shape: tuple[int, int, int], outputs: int, hidden: int = 64) -> None:
        """Build the layers."""
        super().__init__()
        channels, height, width = in_shape
        if min(height, width) < SMALLEST:
            raise ValueError(f"in_shape={in_shape}: images must be at least {SMALLEST} x {SMALLEST}")
        if outputs < 1 or hidden < 1:
            raise ValueError(f"outputs={outputs}, hidden={hidden}: must be at least 1")
        self.features = outputs
        rows, columns = (((size - 2) // 2 - 2) // 2 - 2 for size in (height, width))
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.hidden = nn.Linear(64 * rows * columns, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, outputs)."""
        x = nn.functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.conv3(x))
        return torch.as_tensor(self.output(torch.relu(self.hidden(x.flatten(1)))))
