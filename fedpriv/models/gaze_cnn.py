"""A small convolutional network for gaze from one eye, made for slow processors and for DP-SGD."""

import torch
from torch import Tensor, nn


class GazeCNN(nn.Module):
    """Three strided convolutions and one hidden layer, each normalised within its own example.

    conv 5x5/2 (width) - conv 3x3/2 (2 width) - conv 3x3/2 (2 width) - hidden (4 width) - outputs,
    with GroupNorm and SiLU after all but the last. Group normalisation (Wu and He 2018,
    arXiv 1803.08494) has no statistics over the batch, so every example has its own gradient, as
    DP-SGD needs; on the hidden layer it keeps units from dying at high learning rates. There are
    no buffers: the parameters are the whole state.

    Input (B, channels, height, width) float32 in [-1, 1]; output (B, outputs), radians for gaze.
    B may be 0, as Poisson sampling draws empty batches.

    Attributes:
        features: width of the output.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], outputs: int = 2, width: int = 8, groups: int = 8
    ) -> None:
        """Build the network with PyTorch's initial weights, the last layer's scaled by 0.1.

        Args:
            in_shape: channels, height and width of an image.
            outputs: numbers per image.
            width: channels of the first convolution: 8 gives 24,418 parameters for eyes of 36x60,
                16 gives 96,706 and a little accuracy.
            groups: of the group normalisation; must divide ``width``.

        Raises:
            ValueError: a size is below 1, or ``groups`` does not divide ``width``.
        """
        super().__init__()
        if min(*in_shape, outputs, width, groups) < 1 or width % groups:
            raise ValueError(
                f"in_shape={in_shape}, outputs={outputs}, width={width}, groups={groups}: "
                "need sizes of at least 1 and groups that divide width"
            )
        channels, height, across = in_shape
        self.features = outputs
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 5, stride=2, padding=2),
            nn.GroupNorm(groups, width),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(groups, 2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(groups, 2 * width),
            nn.SiLU(),
        )
        last = nn.Linear(4 * width, outputs)
        cells = -(-height // 8) * -(-across // 8)
        self.regressor = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * cells, 4 * width),
            nn.GroupNorm(1, 4 * width),
            nn.SiLU(),
            last,
        )
        with torch.no_grad():
            # Predictions start near straight ahead, within the range of gaze, instead of at +-0.5 rad.
            last.weight.mul_(0.1)
            last.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, outputs)."""
        result: Tensor = self.regressor(self.convolutions(images))
        return result
