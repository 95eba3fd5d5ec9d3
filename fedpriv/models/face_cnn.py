"""A small face embedding network and the cosine classifier that sits on it during training.

Both use only layers with exact per-sample gradients in Opacus: no BatchNorm, no buffers, no
in-place operations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_CHANNELS_PER_GROUP = 8
_POOLED_SIZE = (4, 3)


class FaceCNN(nn.Module):
    """Embed a face: four 3x3 convolutions, GroupNorm and ReLU each, then one linear layer.

    Channels are w, 2w, 4w, 8w for width w; all but the first convolution halve the image. The result
    is averaged onto a 4 x 3 grid, the aspect of a face, so the parameter count does not depend on
    the image size: 9wC + 378w^2 + 96wD plus biases and norms (C channels in, D numbers out).

    GroupNorm (Wu and He, 2018, arXiv 1803.08494) works on each example alone, which differential
    privacy needs.

    Attributes:
        features: D, width of the embedding.
    """

    def __init__(self, in_shape: Sequence[int], outputs: int = 128, width: int = 8) -> None:
        """Build the network with torch's default initial weights.

        Args:
            in_shape: channels, height, width of the images.
            outputs: embedding dimension D.
            width: channels of the first convolution.

        Raises:
            ValueError: when a size is not positive or the image is smaller than 8 x 8.
        """
        super().__init__()
        channels, height, image_width = (int(size) for size in in_shape)
        if min(channels, outputs, width) < 1 or min(height, image_width) < 8:
            raise ValueError(
                f"in_shape={tuple(in_shape)}, outputs={outputs}, width={width}: "
                "sizes must be positive and images at least 8 x 8"
            )
        self.features = outputs
        layers: list[nn.Module] = []
        for level in range(4):
            widened = width * 2**level
            groups = widened // _CHANNELS_PER_GROUP if widened % _CHANNELS_PER_GROUP == 0 else 1
            stride = 1 if level == 0 else 2
            layers += [
                nn.Conv2d(channels, widened, kernel_size=3, stride=stride, padding=1),
                nn.GroupNorm(groups, widened),
                nn.ReLU(),
            ]
            channels = widened
        self.convolutions = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(_POOLED_SIZE)
        self.embedding = nn.Linear(channels * _POOLED_SIZE[0] * _POOLED_SIZE[1], outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map float images (B, C, H, W) to embeddings (B, D) that are not normalised; B may be 0."""
        return self.embedding(self.pool(self.convolutions(images)).flatten(1))  # type: ignore[no-any-return]


class CosineHead(nn.Module):
    """Cosine of the angle between an embedding and each class vector.

        output[b, k] = <x_b, w_k> / (|x_b| |w_k|)

    The layer with the parameters is a plain ``nn.Linear`` on normalised embeddings. Its rows' lengths
    divide the output as constants, without a gradient, so that Opacus' rule for linear layers gives
    exact per-sample gradients.

    Attributes:
        classes: ``nn.Linear(D, K, bias=False)`` whose rows are the class vectors.
    """

    def __init__(self, class_vectors: Tensor, trainable: bool) -> None:
        """Start from given class vectors.

        Args:
            class_vectors: (K, D) float32, no row zero; copied.
            trainable: whether they are learned, or stay what they are.
        """
        super().__init__()
        count, features = class_vectors.shape
        self.classes = nn.Linear(features, count, bias=False)
        with torch.no_grad():
            self.classes.weight.copy_(class_vectors)
        self.classes.weight.requires_grad_(trainable)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings (B, D) to cosines (B, K); a zero embedding has cosine 0 with everything."""
        lengths = self.classes.weight.detach().norm(dim=1)
        return self.classes(functional.normalize(embeddings, dim=1)) / lengths  # type: ignore[no-any-return]
