"""Random changes of training images that leave a face's identity and expression as they are."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

SHIFT, ZOOM, ROTATION_RAD, LIGHT = 0.06, 0.1, 0.17, 0.2

Draw = Callable[[int, int], Tensor]
"""``draw(numbers, examples)`` returns (numbers, examples) float32 uniform on [0, 1], all independent."""


def drawn_by(random: torch.Generator) -> Draw:
    """Return draws of a generator on the processor, for training without privacy."""
    return lambda numbers, examples: torch.rand((numbers, examples), generator=random)


def augmented(inputs: Tensor, draw: Draw, mirror: bool = True, strength: float = 1.0) -> Tensor:
    """Mirror, shift, zoom, rotate, brighten and stretch the contrast of each image by itself.

    Half the images are mirrored. At strength 1, shifts are up to 6 % of the side, zooms 10 %,
    rotations 0.17 rad (about the centre, in pixels, whatever the aspect), brightness 0.2 and contrast
    20 %, all uniform. What comes in from outside repeats the border.

    Args:
        inputs: (B, C, H, W) float, B may be 0; left as it is.
        draw: gives each image seven numbers; its result depends on no other image and no other column.
        mirror: False mirrors none and draws the same of everything else.
        strength: factor of all other changes.

    Returns:
        (B, C, H, W), not clipped to [-1, 1].
    """
    count, _, height, width = inputs.shape
    if not count:
        return inputs
    uniform = draw(7, count).to(inputs)
    side = torch.where((uniform[0] < 0.5) & mirror, -1.0, 1.0)
    spread = strength * (2 * uniform[1:] - 1)
    angle, zoom = ROTATION_RAD * spread[0], 1 + ZOOM * spread[1]
    across, down = 2 * SHIFT * spread[2], 2 * SHIFT * spread[3]
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    rows = [side * cosine, -sine * height / width, across, side * sine * width / height, cosine, down]
    grid = functional.affine_grid(
        torch.stack(rows, dim=1).view(count, 2, 3), list(inputs.shape), align_corners=False
    )
    moved = functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
    contrast, brightness = 1 + LIGHT * spread[4], LIGHT * spread[5]
    return moved * contrast.view(-1, 1, 1, 1) + brightness.view(-1, 1, 1, 1)
