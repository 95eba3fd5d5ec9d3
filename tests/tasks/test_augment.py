"""Augmentation: determined by its draws, different per image, and no more than it says."""

import numpy as np
import pytest
import torch

from fedpriv.tasks.augment import Draw, augmented, drawn_by


def seeded(seed: int) -> Draw:
    return drawn_by(torch.Generator().manual_seed(seed))


def test_it_is_determined_by_its_draws_and_differs_per_image() -> None:
    inputs = torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(0)).repeat(6, 1, 1, 1)
    one, two = (augmented(inputs, seeded(3)) for _ in range(2))
    torch.testing.assert_close(one, two)
    assert one.shape == inputs.shape
    assert one.dtype == torch.float32
    for first in range(6):
        for second in range(first):
            assert float((one[first] - one[second]).abs().mean()) > 0.01


def test_an_image_depends_on_its_own_column_of_draws_and_on_no_other_image() -> None:
    inputs, uniform = torch.rand(5, 1, 24, 20), torch.rand(7, 5)
    together = augmented(inputs, lambda *_: uniform)
    for index in range(5):
        alone = augmented(inputs[index : index + 1], lambda *_, i=index: uniform[:, i : i + 1])
        torch.testing.assert_close(alone[0], together[index])


def test_it_leaves_its_input_alone_and_takes_an_empty_batch() -> None:
    inputs = torch.rand(3, 1, 24, 20)
    before = inputs.clone()
    augmented(inputs, seeded(0))
    assert torch.equal(inputs, before)
    assert augmented(torch.rand(0, 1, 24, 20), seeded(0)).shape == (0, 1, 24, 20)


def spots(mirror: bool, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a spot right of the centre of 400 images ends, in pixels across and down."""
    inputs = torch.full((400, 1, 48, 40), -1.0)
    inputs[:, :, 20:28, 28:32] = 1.0
    moved = augmented(inputs, seeded(0), mirror, strength)[:, 0]
    weight = (moved - moved.amin(dim=(1, 2), keepdim=True)).square()
    across = (weight * torch.arange(40)).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    down = (weight * torch.arange(48).view(-1, 1)).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    return across - 19.5, down - 23.5


def test_half_of_the_images_are_mirrored_and_none_is_moved_far() -> None:
    across, down = spots(mirror=True, strength=1.0)
    assert 0.4 < float((across > 0).float().mean()) < 0.6
    offset = across.abs() - 10
    assert float(offset.abs().max()) < 4.5
    assert 0.5 < float(offset.std()) < 2.5
    assert float(down.abs().max()) < 6


def test_without_mirroring_everything_else_is_drawn_alike() -> None:
    plain, mirrored = spots(mirror=False, strength=1.0), spots(mirror=True, strength=1.0)
    assert bool((plain[0] > 0).all())
    kept = mirrored[0] > 0
    torch.testing.assert_close(plain[0][kept], mirrored[0][kept])


def test_half_the_strength_moves_half_as_far_and_none_moves_nothing() -> None:
    full, half = (spots(mirror=False, strength=strength)[1] for strength in (1.0, 0.5))
    assert float(half.std() / full.std()) == pytest.approx(0.5, abs=0.05)
    inputs = torch.rand(5, 3, 20, 24)
    still = augmented(inputs, seeded(0), mirror=False, strength=0.0)
    torch.testing.assert_close(still, inputs)


def test_rotation_keeps_distances_in_pixels_on_an_oblong_image() -> None:
    """A bar of 20 x 4 pixels keeps its length when only rotation is drawn."""
    uniform = torch.full((7, 1), 0.5)
    uniform[0], uniform[1] = 0.9, 1.0
    inputs = torch.zeros(1, 1, 80, 40)
    inputs[:, :, 38:42, 10:30] = 1.0
    turned = augmented(inputs, lambda *_: uniform)[0, 0]
    y, x = np.mgrid[:80, :40] - np.array([39.5, 19.5]).reshape(2, 1, 1)
    mass = turned.numpy() / float(turned.sum())
    moments = np.array(
        [[(mass * x * x).sum(), (mass * x * y).sum()], [(mass * x * y).sum(), (mass * y * y).sum()]]
    )
    lengths, axes = np.linalg.eigh(moments)
    assert np.sqrt(12 * lengths[1]) == pytest.approx(20, abs=0.5)
    assert abs(np.arctan(axes[1, 1] / axes[0, 1])) == pytest.approx(0.17, abs=0.01)
