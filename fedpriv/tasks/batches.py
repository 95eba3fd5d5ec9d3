"""A model over a whole data set, batch by batch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.types import AnyArray

BATCH = 256


def in_batches(backbone: nn.Module, dataset: ImageDataset, outputs: Callable[[Tensor], Tensor]) -> AnyArray:
    """Return ``outputs(images)`` for all images, concatenated along the first axis.

    Runs in evaluation mode and without gradients, on the device that the backbone's parameters are on;
    the backbone's mode is left as found.

    Args:
        backbone: what ``outputs`` calls.
        dataset: N images; N may be 0.
        outputs: maps uint8 images (B, C, H, W) to a tensor (B, ...); B may be 0.

    Returns:
        (N, ...) on the CPU.
    """
    parameter = next(backbone.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    training = backbone.training
    backbone.eval()
    parts = []
    try:
        with torch.inference_mode():
            for start in range(0, max(1, len(dataset)), BATCH):
                images = torch.from_numpy(np.array(dataset.images[start : start + BATCH]))
                parts.append(outputs(images.to(device)).cpu().numpy())
    finally:
        backbone.train(training)
    return np.concatenate(parts)
