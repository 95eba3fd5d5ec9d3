"""Re-encoded pictures look as the originals do, though their EXIF header is gone."""

import io

import numpy as np
import pytest
from PIL import Image

from data_tools.extract import extract
from data_tools.reencode import reencoder
from fedpriv.errors import UserError
from fedpriv.formats.identity_folder import decode_image
from fedpriv.formats.image_record import ImageHeader
from tests.data_tools.made import encoded, record_file

# how np.ndarray (rows, columns) as stored become what is meant: EXIF 2.3, tag 0x0112
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


def turned(orientation: int, kind: str) -> tuple[bytes, np.ndarray]:
    """Return a file with this orientation and its grey values as stored."""
    stored = np.repeat(np.repeat(np.array([[10, 80, 150], [220, 40, 110]], np.uint8), 16, 0), 16, 1)
    exif, saved = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(saved, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {}))
    return saved.getvalue(), stored


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("encoding", ["jpeg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_in_the_pixels_and_no_longer_in_the_header(orientation, encoding, kind):
    image, stored = turned(orientation, kind)
    encode, _ = reencoder(encoding, 100)
    made, _ = encode(image)
    with Image.open(io.BytesIO(made)) as opened:
        assert 0x0112 not in opened.getexif()
        pixels = np.asarray(opened.convert("L")).astype(int)
    expected = UPRIGHT[orientation](stored)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 3


def test_training_sees_the_same_pixels_before_and_after(tmp_path):
    image, _ = turned(6, "PNG")
    record_file(tmp_path / "a.rec", [(ImageHeader(0.0, 1), image)])
    extract(tmp_path / "a.rec", tmp_path / "out", encoding="png")
    again = (tmp_path / "out/00000000/000000001.png").read_bytes()
    assert np.array_equal(decode_image(again, "a", 48, 32), decode_image(image, "b", 48, 32))


def test_no_encoding_is_no_function():
    assert reencoder(None, 95) == (None, "as stored")


@pytest.mark.parametrize("image", [b"", b"no image", encoded(1)[:40]])
def test_what_is_no_image_is_refused(image):
    encode, _ = reencoder("png", 95)
    with pytest.raises(UserError, match="image: "):
        encode(image)
