"""A widened LeNet-5 for small colour images, 118 k parameters at 32 x 32 with ten outputs."""

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """conv 5x5 (12) - pool - conv 5x5 (24) - pool - hidden - outputs, ReLU between.

    After LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, section II.B,
    with twice the channels, max pooling and ReLU. No normalisation, so DP-SGD can train it.

    Args:
        in_shape: (C, H, W), H and W at least 16.
        outputs: width of the output.
        hidden: width of the hidden layer.

    Input (B, C, H, W) float32, output (B, outputs).

    Raises:
        ValueError: for images below 16 x 16, or a width below 1.
    """

    def __init__(self, in_shape: tuple[int, int, int], outputs: int, hidden: int = 180) -> None:
        """Build the layers."""
        super().__init__()
        channels, height, width = in_shape
        if min(height, width) < 16:
            raise ValueError(f"in_shape={in_shape}: images must be at least 16 x 16")
        if min(outputs, hidden) < 1:
            raise ValueError(f"hidden={hidden}, outputs={outputs}: must be at least 1")
        self.features = outputs
        rows, columns = ((size - 4) // 2 - 4 for size in (height, width))
        self.conv1 = nn.Conv2d(channels, 12, 5)
        self.conv2 = nn.Conv2d(12, 24, 5)
        self.hidden = nn.Linear(24 * (rows // 2) * (columns // 2), hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, outputs)."""
        x = nn.functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return torch.as_tensor(self.output(torch.relu(self.hidden(x.flatten(1)))))
