import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.formats.crop import crop_resize
from fedpriv.serving.image import check_image, fit, read_image, within
from tests.serving.conftest import noise


def test_an_image_of_the_models_size_is_untouched():
    image = noise(36, 60)
    assert np.array_equal(fit(image, 36, 60), image)


@pytest.mark.parametrize("size", [(8, 8), (128, 128), (128, 8), (48, 48), (37, 61)])
def test_fitting_is_what_the_data_loaders_do(size):
    image = noise(*size)
    expected = crop_resize(image[..., None], (0.0, 0.0, size[1], size[0]), 36, 60)[0]
    assert np.array_equal(fit(image, 36, 60), expected)
    assert fit(image, 36, 60).dtype == np.uint8


def test_fitting_by_whole_factors_averages_away_fine_patterns_and_keeps_flat_ones():
    checks = np.indices((72, 120)).sum(axis=0) % 2 * 255
    small = fit(checks.astype(np.uint8), 36, 60)
    assert np.all(np.abs(small[2:-2, 2:-2].astype(int) - 127) <= 2)
    assert np.all(fit(np.full((72, 120), 77, np.uint8), 36, 60) == 77)


@given(rows=st.integers(1, 400), columns=st.integers(1, 400), most=st.integers(1, 20000))
def test_shrunk_pictures_keep_within_the_pixels_and_their_aspect(rows, columns, most):
    image = np.zeros((rows, columns), np.uint8)
    small = within(image, most)
    assert small.size <= most
    assert max(small.shape) <= 128
    if rows * columns <= most and max(rows, columns) <= 128:
        assert small is image
    elif min(small.shape) >= 10:
        assert small.shape[1] / small.shape[0] == pytest.approx(columns / rows, rel=0.12)


@pytest.mark.parametrize("shape", [(7, 20), (20, 129), (20,), (1, 36, 60)])
def test_other_shapes_are_refused_in_one_line(shape):
    with pytest.raises(UserError, match=r"^a\.png: .*give"):
        check_image(np.zeros(shape, np.uint8), "a.png")


def test_other_types_are_refused():
    with pytest.raises(UserError, match="float32"):
        check_image(np.zeros((36, 60), np.float32))


@pytest.mark.parametrize("shape", [(8, 8), (8, 128), (128, 128)])
def test_the_limits_themselves_are_taken(shape):
    check_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("format", ["PNG", "PPM", "BMP"])
def test_grey_files_are_read_as_they_are(format):
    image, file = noise(20, 30), io.BytesIO()
    Image.fromarray(image).save(file, format)
    assert np.array_equal(read_image(file.getvalue(), "x"), image)


def test_colour_becomes_luma():
    file = io.BytesIO()
    Image.new("RGB", (9, 9), (200, 100, 50)).save(file, "PNG")
    assert abs(int(read_image(file.getvalue(), "x")[4, 4]) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1


@pytest.mark.parametrize("content", [b"", b"P5", b"\x89PNG\r\n\x1a\n", b"hello" * 100])
def test_damaged_files_are_one_line(content):
    with pytest.raises(UserError, match=r"^body: ") as caught:
        read_image(content, "body")
    assert "\n" not in str(caught.value)
