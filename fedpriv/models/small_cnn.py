"""A plain two-convolution network for small colour images, about 120 k parameters at 32 x 32."""

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """conv 3x3 (32) - pool - conv 3x3 (64) - pool - hidden - outputs, ReLU between.

    Args:
        in_shape: (C, H, W), H and W at least 4.
        outputs: width of the output.
        hidden: width of the hidden layer.

    Raises:
        ValueError: for an image below 4 x 4, or a width below 1.

    Input (B, C, H, W) float32, output (B, outputs).
    """

    def __init__(self, in_shape: tuple[int, int, int], outputs: int, hidden: int = 24) -> None:
        """Build the layers."""
        super().__init__()
        channels, height, width = in_shape
        if min(height, width) < 4:
            raise ValueError(f"images of {height} x {width} are too small; at least 4 x 4")
        if min(channels, outputs, hidden) < 1:
            raise ValueError(f"hidden={hidden}, outputs={outputs} and channels={channels} must be at least 1")
        self.features = outputs
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * (height // 4) * (width // 4), hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, outputs)."""
        x = nn.functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return torch.as_tensor(self.output(torch.relu(self.hidden(x.flatten(1)))))
