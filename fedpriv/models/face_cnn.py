"""A face embedding network with one learned layer, for data of a few hundred images.

It uses only layers with exact per-sample gradients in Opacus: no BatchNorm, no buffers, no in-place
operations. Larger data deserve :mod:`fedpriv.models.face_resnet`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_SCALES = 3
_WAVELENGTH, _SPREAD, _RADIUS = 4.0, 2.0, 4
_GRID = (7, 6)
_FLOOR = 1e-4
_TYPICAL = 0.8
_CONTRAST = 0.01
_MOST_ORIENTATIONS = 180
"""One a degree. The filters are made at once, whatever a stranger's settings say."""


class FaceCNN(nn.Module):
    """Embed a face: a fixed convolution layer of Gabor filters, then one learned linear layer.

    Each image is standardised, x = (x - mean) / sqrt(var + 0.01), and halved twice. On each of the
    three scales a pair of filters (even, odd) per orientation gives an amplitude

        a = (even(x)^2 + odd(x)^2 + 1e-4)^(1/4),

    the square root of the local energy, averaged onto a 7 x 6 grid. The learned part is

        embedding = W (a - 0.8) + b,   D (126 width + 1) parameters.

    Filters that nobody has to learn are what differential privacy and small federations need:
    Tramer and Boneh, Differentially Private Learning Needs Better Features (Or Much More Data),
    2021, arXiv 2011.11660. Gabor energies for faces: Wiskott et al., Face Recognition by Elastic
    Bunch Graph Matching, IEEE PAMI 19(7), 1997. No layer mixes examples, so none needs BatchNorm's
    running statistics.

    Attributes:
        features: D, width of the embedding.
    """

    def __init__(self, in_shape: Sequence[int], outputs: int = 256, width: int = 8) -> None:
        """Build the network with torch's default initial weights.

        Args:
            in_shape: channels, height, width of the images; channels are averaged.
            outputs: embedding dimension D.
            width: number of orientations, evenly spaced over 180 degrees, at most 180.

        Raises:
            ValueError: when a size is not positive, the image is smaller than 16 x 16, or there are more
                orientations.
        """
        super().__init__()
        channels, height, image_width = (int(size) for size in in_shape)
        if min(channels, outputs, width) < 1 or min(height, image_width) < 16:
            raise ValueError(
                f"in_shape={tuple(in_shape)}, outputs={outputs}, width={width}: "
                "sizes must be positive and images at least 16 x 16"
            )
        if width > _MOST_ORIENTATIONS:
            raise ValueError(f"width={width}: at most {_MOST_ORIENTATIONS} orientations")
        self.features = outputs
        # A plain attribute: as a parameter it would be federated, as a buffer be taken for running state.
        self._filters = gabor_filters(width)
        self.embedding = nn.Linear(_SCALES * width * _GRID[0] * _GRID[1], outputs)

    def amplitudes(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to pooled filter amplitudes (B, 3 width, 7, 6), all positive."""
        grey = images.mean(dim=1, keepdim=True)
        centred = grey - grey.mean(dim=(2, 3), keepdim=True)
        scaled = centred / (centred.square().mean(dim=(2, 3), keepdim=True) + _CONTRAST).sqrt()
        filters = self._filters.to(scaled)
        pooled = []
        for _ in range(_SCALES):
            padded = functional.pad(scaled, [_RADIUS] * 4, mode="replicate")
            energy = functional.conv2d(padded, filters).square().unflatten(1, (-1, 2)).sum(dim=2)
            pooled.append(functional.adaptive_avg_pool2d((energy + _FLOOR).pow(0.25), _GRID))
            scaled = functional.avg_pool2d(scaled, 2)
        return torch.cat(pooled, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map float images (B, C, H, W) to embeddings (B, D) that are not normalised; B may be 0."""
        return self.embedding((self.amplitudes(images) - _TYPICAL).flatten(1))  # type: ignore[no-any-return]


def gabor_filters(orientations: int) -> Tensor:
    """Return (2 orientations, 1, 9, 9) float32: an even and an odd filter for each orientation.

        g(x, y) = exp(-(x^2 + y^2) / (2 * 2^2)) * cos or sin(2 pi u / 4),  u = x cos t + y sin t,

    in pixels, t = pi i / orientations. A multiple of the Gaussian is taken off so that each sums to
    0, and each has unit L2 norm.
    """
    y, x = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1].astype(np.float64)
    angle = np.pi * np.arange(orientations).reshape(-1, 1, 1) / orientations
    phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / _WAVELENGTH
    window = np.exp(-(x**2 + y**2) / (2 * _SPREAD**2))
    waves = np.stack([np.cos(phase), np.sin(phase)], axis=1).reshape(-1, 1, *window.shape) * window
    waves -= window * (waves.sum(axis=(2, 3), keepdims=True) / window.sum())
    waves /= np.sqrt(np.square(waves).sum(axis=(2, 3), keepdims=True))
    return torch.from_numpy(waves.astype(np.float32))
