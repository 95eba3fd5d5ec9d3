"""A small convolutional network for expressions, on grey faces of 48 x 48 or eyes of 36 x 60."""

from collections.abc import Sequence

from torch import Tensor, nn

_GROUPS = 8
_SHRINK = 8


class EmotionCNN(nn.Module):
    """Four 3x3 convolutions with three poolings between, and one hidden layer.

    conv (width) - pool - conv (4 width) - pool - conv (6 width) - pool - conv (6 width) - hidden - outputs,
    with GroupNorm and SiLU after all but the last; pools keep the largest of 2 x 2. Brows and lips are a
    pixel or two thin, so the first convolution sees them at full resolution: one with stride 2 costs a
    third and falls behind. Group normalisation (Wu and He 2018, arXiv 1803.08494) has no statistics over
    the batch, so every example has its own gradient, as DP-SGD needs, and there are no buffers: the
    parameters are the whole state. Each image is first brought to mean 0 and standard deviation 1,
    which takes away exposure.

    Input (B, channels, height, width) float32, B may be 0; output (B, outputs) logits.

    Attributes:
        features: width of the output.
    """

    def __init__(self, in_shape: Sequence[int], outputs: int = 7, width: int = 8, hidden: int = 48) -> None:
        """Build the network with PyTorch's initial weights.

        Args:
            in_shape: channels, height and width of an image, e.g. (1, 48, 48) or (1, 36, 60).
            outputs: classes.
            width: channels of the first convolution, a multiple of 8; with 8 and 48 hidden units there
                are 120,775 parameters for faces of 48 x 48.
            hidden: units of the hidden layer.

        Raises:
            ValueError: a size is below 1, ``width`` no multiple of 8, or the image below 8 x 8.
        """
        super().__init__()
        channels, height, across = (int(size) for size in in_shape)
        if min(channels, outputs, width, hidden) < 1 or width % _GROUPS or min(height, across) < _SHRINK:
            raise ValueError(
                f"in_shape={tuple(in_shape)}, outputs={outputs}, width={width}, hidden={hidden}: need "
                f"positive sizes, width a multiple of {_GROUPS} and images of at least {_SHRINK} x {_SHRINK}"
            )
        self.features = outputs
        self.convolutions = nn.Sequential(
            *_convolution(channels, width),
            nn.MaxPool2d(2, ceil_mode=True),
            *_convolution(width, 4 * width),
            nn.MaxPool2d(2, ceil_mode=True),
            *_convolution(4 * width, 6 * width),
            nn.MaxPool2d(2, ceil_mode=True),
            *_convolution(6 * width, 6 * width),
        )
        cells = -(-height // _SHRINK) * -(-across // _SHRINK)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(6 * width * cells, hidden),
            nn.GroupNorm(1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, outputs)."""
        centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
        scaled = centred / (centred.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-2).sqrt()
        logits: Tensor = self.classifier(self.convolutions(scaled))
        return logits


def _convolution(channels: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(_GROUPS, outputs), nn.SiLU()]
