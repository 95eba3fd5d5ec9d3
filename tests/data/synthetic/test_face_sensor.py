from dataclasses import replace

import numpy as np
import pytest
from scipy.fft import dctn, idctn

from fedpriv.data.synthetic.face_priors import PORTRAITS, draw_views
from fedpriv.data.synthetic.face_sensor import compress, expose


def ideal(count):
    """Views whose sensor blurs, bends and adds nothing."""
    views = draw_views(PORTRAITS, [None] * count, (3, 16, 24), 0, "test")
    zero, one = np.zeros(count, np.float32), np.ones(count, np.float32)
    return replace(
        views, blur=zero, noise=zero, quantum=zero, gamma=one, balance=np.ones((count, 3), np.float32)
    )


def test_compression_rounds_the_cosine_coefficients_of_every_block():
    random = np.random.default_rng(0)
    picture = random.random((1, 2, 16, 24), dtype=np.float32)
    packed = compress(picture, np.array([0.03], dtype=np.float32))
    step = 0.03 * (1 + np.add.outer(np.arange(8), np.arange(8)))
    for channel in range(2):
        for row in range(0, 16, 8):
            for column in range(0, 24, 8):
                block = (0, channel, slice(row, row + 8), slice(column, column + 8))
                expected = idctn(np.rint(dctn(picture[block], norm="ortho") / step) * step, norm="ortho")
                np.testing.assert_allclose(packed[block], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(36, 60), (48, 48), (9, 1)])
def test_no_compression_leaves_pictures_of_any_size_as_they_are(shape):
    picture = np.random.default_rng(1).random((2, 1, *shape), dtype=np.float32)
    np.testing.assert_allclose(compress(picture, np.zeros(2, np.float32)), picture, atol=2e-5)


def test_every_picture_is_exposed_anew_so_brightness_tells_nothing():
    views = ideal(4)
    scene = np.random.default_rng(2).uniform(0.1, 0.3, (4, 3, 16, 24)).astype(np.float32)
    pictures = expose(scene, views)
    np.testing.assert_allclose(pictures.mean(axis=(1, 2, 3)) / 255, views.exposure, atol=5e-3)
    difference = expose(scene * np.float32(2.7), views).astype(int) - pictures
    assert np.abs(difference).max() <= 1


def test_darkness_is_no_number_trouble():
    assert expose(np.zeros((2, 3, 16, 24), np.float32), ideal(2)).max() == 0


def test_noise_has_the_standard_deviation_asked_for():
    views = draw_views(PORTRAITS, [None], (3, 64, 64), 0, "test")
    ideal_ = {name: np.zeros(1, np.float32) for name in ("blur", "quantum")}
    views = replace(views, **ideal_, noise=np.array([0.02], np.float32), balance=np.ones((1, 3), np.float32))
    noisy = expose(np.full((1, 3, 64, 64), 0.4, np.float32), views) / 255.0
    assert noisy.std() == pytest.approx(0.02, rel=0.05)
