"""A small residual network that learns to tell faces apart, for thousands of images and for DP-SGD."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_GRID = 7
_GROUPS = 8
SMALLEST = 28
"""Least height and width: three halvings then leave a cell grid of 4 x 4."""


class FaceResNet(nn.Module):
    """Embed an aligned face: a strided convolution, two residual blocks, one linear layer.

    conv 5x5/2 (width) - residual block/2 (2 width) - residual block/2 (4 width) - mean over each cell of a
    7 x 7 grid - conv 1x1 (width) - linear on all cells. A block is two 3x3 convolutions, normalised, added
    to its input, which goes through a 1x1 convolution where sizes change (He et al. 2016, arXiv
    1512.03385). The embedding sees every cell of the grid by itself, not their mean: in an aligned
    face a place has a meaning (ArcFace, arXiv 1801.07698, section 3.1, "option E").

    Group normalisation (Wu and He 2018, arXiv 1803.08494) has no statistics over the batch, so every
    example has its own gradient, as DP-SGD needs, and there are no buffers: the parameters are the
    whole state. Each image is first brought to mean 0 and standard deviation 1 in each channel, which
    takes away exposure and the colour of the light.

    Input (B, channels, height, width) float32, B may be 0; output (B, outputs), not normalised.

    Attributes:
        features: width of the embedding.
    """

    def __init__(self, in_shape: Sequence[int], outputs: int = 128, width: int = 24) -> None:
        """Build the network with PyTorch's initial weights.

        Args:
            in_shape: channels, height, width of the images, e.g. (3, 56, 56) or (3, 112, 112).
            outputs: embedding dimension.
            width: channels of the first stage, a multiple of 8; 24 has 317,192 parameters.

        Raises:
            ValueError: a size is not positive, ``width`` no multiple of 8, or the image below 28 x 28.
        """
        super().__init__()
        channels, height, across = (int(size) for size in in_shape)
        if min(channels, outputs, width) < 1 or width % _GROUPS or min(height, across) < SMALLEST:
            raise ValueError(
                f"in_shape={tuple(in_shape)}, outputs={outputs}, width={width}: need positive sizes, width a "
                f"multiple of {_GROUPS} and images of at least {SMALLEST} x {SMALLEST}"
            )
        self.features = outputs
        self.stem = _normalised(nn.Conv2d(channels, width, 5, stride=2, padding=2))
        self.stages = nn.Sequential(Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2))
        self.squeeze = _normalised(nn.Conv2d(4 * width, width, 1))
        self.embedding = nn.Linear(width * _GRID * _GRID, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to embeddings (B, outputs)."""
        centred = images - images.mean(dim=(2, 3), keepdim=True)
        scaled = centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-2).sqrt()
        cells = functional.adaptive_avg_pool2d(self.stages(self.stem(scaled)), _GRID)
        embeddings: Tensor = self.embedding(self.squeeze(cells).flatten(1))
        return embeddings


class Residual(nn.Module):
    """Two 3x3 convolutions, normalised, added to their input."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        """Build the block: ``channels`` in, ``outputs`` out, the first convolution with ``stride``."""
        super().__init__()
        self.first = _normalised(nn.Conv2d(channels, outputs, 3, stride=stride, padding=1))
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1), nn.GroupNorm(_GROUPS, outputs))
        changes = stride > 1 or channels != outputs
        self.skip = nn.Conv2d(channels, outputs, 1, stride=stride) if changes else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, outputs, H / stride, W / stride)."""
        return functional.silu(self.second(self.first(inputs)) + self.skip(inputs))


def _normalised(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, convolution.out_channels), nn.SiLU())
