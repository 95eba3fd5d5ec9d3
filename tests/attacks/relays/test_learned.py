"""The measures tell a leak from none, and what n - 1 relays hold here is none."""

import math

import numpy as np
import pytest

from fedpriv.attacks.relays.holdings import bands_read, eye_images, readings_of_pieces, shared
from fedpriv.attacks.relays.learned import leaks, learned, linear_guess, mutual_information
from fedpriv.attacks.relays.similarity import ssim
from fedpriv.sharing.payload import unpack

EYES = eye_images(24, seed=11)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def ssim_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Window after window, as the paper has it."""
    x, y = x.astype(float), y.astype(float)
    distance = (np.arange(11) - 5) ** 2
    weights = np.exp(-(distance[:, None] + distance[None, :]) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
            p, q = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - p) ** 2).sum(), (weights * (b - q) ** 2).sum()
            cov = (weights * (a - p) * (b - q)).sum()
            values.append((2 * p * q + c1) * (2 * cov + c2) / ((p * p + q * q + c1) * (va + vb + c2)))
    return float(np.mean(values))


def test_ssim_is_that_of_its_definition_for_every_pair() -> None:
    first = np.stack([EYES[0, :16, :20], noise(16, 20)])
    second = np.stack([EYES[1, :16, :20], EYES[0, :16, :20], 255 - EYES[0, :16, :20]])
    found = ssim(first, second)
    assert found.shape == (2, 3)
    for row, x in enumerate(first):
        for column, y in enumerate(second):
            assert found[row, column] == pytest.approx(ssim_by_definition(x, y), abs=1e-9)


def test_ssim_of_flat_equal_and_opposite_pictures_follows_by_hand() -> None:
    flat = np.stack([np.full((11, 30), level, np.uint8) for level in (50, 200)])
    c1 = (0.01 * 255) ** 2
    assert ssim(flat[:1], flat[1:])[0, 0] == pytest.approx((2 * 50 * 200 + c1) / (50**2 + 200**2 + c1))
    assert ssim(EYES[:1], EYES[:1])[0, 0] == pytest.approx(1.0, abs=1e-12)
    checks = (np.indices((22, 22)).sum(axis=0) % 2 * 255).astype(np.uint8)[None]
    assert ssim(checks, 255 - checks)[0, 0] < -0.9


@pytest.mark.parametrize(
    "shapes", [((1, 10, 30), (1, 10, 30)), ((1, 36, 60), (1, 36, 59)), ((36, 60), (36, 60))]
)
def test_ssim_refuses_sizes_that_do_not_fit(shapes) -> None:
    with pytest.raises(ValueError, match="ssim"):
        ssim(*(np.zeros(shape, np.uint8) for shape in shapes))


def test_mutual_information_of_known_distributions() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert mutual_information(every, every) == pytest.approx(8.0)
    assert mutual_information(every, every[::-1].copy()) == pytest.approx(8.0)
    assert mutual_information(every, np.zeros(256, np.uint8)) == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(np.repeat(every, 256), np.tile(every, 256)) == pytest.approx(0.0, abs=1e-9)
    # a fair bit seen through a channel that flips it one time in four: 1 - h(1/4) bits
    sent, flipped = np.divmod(np.arange(8, dtype=np.uint8), 4)
    got = sent ^ (flipped == 0)
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert mutual_information(sent, got.astype(np.uint8)) == pytest.approx(1.0 - entropy)


def test_the_plug_in_bias_is_as_large_as_stated() -> None:
    found = mutual_information(noise(400_000, seed=1), noise(400_000, seed=2))
    assert found == pytest.approx(255**2 / (2 * 400_000 * math.log(2)), rel=0.05)


def test_the_linear_guess_finds_an_image_in_a_combination_and_only_the_mean_in_noise() -> None:
    mask = noise(*EYES.shape, seed=3) // 2
    dimmed = EYES // 2 + mask  # no wrap: twice the difference is the image
    found = linear_guess(EYES, np.stack([dimmed, mask], axis=1))
    assert np.abs(found.astype(int) - EYES).mean() < 3
    blind = linear_guess(EYES, noise(24, 2, 36, 60)).astype(int)
    means = [EYES[parity::2].mean(axis=0) for parity in (1, 0)]
    assert all(np.abs(blind[index] - means[index % 2]).mean() < 3 for index in range(24))


def test_the_pieces_that_are_measured_are_the_real_ones() -> None:
    sealed, opened = shared(EYES[:3])
    assert sealed.shape == opened.shape == (3, 3, 4104)
    for image, shares in zip(EYES, opened, strict=False):
        total = np.add.reduce(shares, axis=0, dtype=np.uint8)
        np.testing.assert_array_equal(unpack(total.tobytes()).image, image)
    assert not np.any((sealed == opened).mean(axis=2) > 0.05)
    read = readings_of_pieces(opened, 36, 60)
    np.testing.assert_array_equal(read[:, -1], EYES[:3])


def test_missing_bands_are_filled_from_the_rows_beside_them() -> None:
    ramp = np.repeat(np.arange(0, 180, 20, dtype=np.uint8)[:, None], 4, axis=1)[None]
    first, middle, last = bands_read(ramp)[0]
    assert first[:, 0].tolist() == [60, 60, 60, 60, 80, 100, 120, 140, 160]
    assert middle[:, 0].tolist() == ramp[0, :, 0].tolist()  # linear: interpolation finds it
    assert last[:, 0].tolist() == [0, 20, 40, 60, 80, 100, 100, 100, 100]


def test_n_minus_1_relays_learn_nothing_here_and_nearly_all_in_the_original() -> None:
    found = leaks(EYES)
    assert {name: each.better_than_chance for name, each in found.items()} == {
        "sealed": False, "sealed_all": False, "opened": False, "bands": True, "opened_all": True,
    }  # fmt: skip
    assert found["opened_all"].likeness.value == pytest.approx(1.0)
    assert found["bands"].likeness.value > 0.8 > 0.5 > found["opened"].likeness.value
    shares = np.bincount(EYES.ravel(), minlength=256) / EYES.size
    entropy = -(shares[shares > 0] @ np.log2(shares[shares > 0]))
    assert found["opened_all"].information.value == pytest.approx(entropy)
    told = found["sealed"].as_json()
    assert told["images"] == 24
    assert set(told["ssim"]) == {"value", "null_mean", "null_p95", "z"}


@pytest.mark.parametrize("leak", ["one bit in four", "faint"])
def test_a_small_leak_in_otherwise_random_pieces_is_found(leak) -> None:
    pieces = noise(24, 1, 36, 60, seed=4)
    if leak == "one bit in four":
        chosen = noise(24, 1, 36, 60, seed=5) < 64
        pieces = np.where(chosen, pieces & 0x7F | EYES[:, None] & 0x80, pieces)
    else:  # a share whose randomness is not uniform
        pieces = (pieces // 4 * 3 + EYES[:, None] // 4).astype(np.uint8)
    assert learned("leaky", EYES, pieces).better_than_chance


def test_what_does_not_fit_is_refused() -> None:
    for images, readings in (
        (EYES[:4], EYES[:4, None]),
        (EYES, EYES),
        (EYES, EYES[:, None, :, :30]),
        (EYES, EYES[:12, None]),
        (EYES, np.empty((24, 0, 36, 60), np.uint8)),
    ):
        with pytest.raises(ValueError, match="learned"):
            learned("odd", images, readings)
