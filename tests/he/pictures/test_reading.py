"""Pictures from files: exactly as stored, or one line that names the file and the mend."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.he.pictures.reading import read_picture, require_alike

GENERATOR = np.random.default_rng(0)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [("png", 1), ("png", 3), ("png", 4), ("webp", 3), ("webp", 4), ("bmp", 1), ("bmp", 3)],
)
def test_pixels_are_those_that_were_stored(tmp_path, suffix, channels):
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    pixels = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
    if channels == 4:
        pixels[..., 3] |= 1  # formats may drop colours that cannot be seen
    options = {"lossless": True} if suffix == "webp" else {}
    found = read_picture(saved(tmp_path / f"p.{suffix}", pixels, **options))
    assert np.array_equal(found, pixels.reshape(5, 7, channels))


def test_bilevel_palettes_and_grey_with_transparency_become_what_shows_them(tmp_path):
    bilevel = Image.fromarray(np.uint8([[0, 255], [255, 0]])).convert("1")
    bilevel.save(tmp_path / "1.png")
    assert read_picture(tmp_path / "1.png")[..., 0].tolist() == [[0, 255], [255, 0]]
    colours = np.uint8([[[255, 0, 0], [0, 0, 255]]])
    palette = Image.fromarray(colours).quantize(2)
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_picture(tmp_path / "p.png"), colours)
    palette.save(tmp_path / "t.png", transparency=palette.getpixel((0, 0)))
    assert read_picture(tmp_path / "t.png")[0, :, 3].tolist() == [0, 255]
    Image.new("LA", (1, 1), (9, 8)).save(tmp_path / "la.png")
    assert read_picture(tmp_path / "la.png").tolist() == [[[9, 9, 9, 8]]]


def test_the_turn_of_a_camera_is_made(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = read_picture(saved(tmp_path / "p.png", pixels, exif=exif))
    assert np.array_equal(found[..., 0], np.rot90(pixels, -1))


def png(width, height, depth, colour, data):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("colour", [0, 2, 6])
def test_16_bits_are_refused_and_not_cut_down(tmp_path, colour):
    (tmp_path / "deep.png").write_bytes(png(1, 1, 16, colour, b"\0" + bytes(8)[: {0: 2, 2: 6, 6: 8}[colour]]))
    with pytest.raises(UserError, match=r"deep.png: 16 bits per channel; save it with 8"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("head", [b"P6 1 1 65535\n", b"P5 1 1 300\n"])
def test_deep_pnm_is_refused(tmp_path, head):
    (tmp_path / "deep.ppm").write_bytes(head + bytes(6))
    with pytest.raises(UserError, match=r"deep.ppm: .*(8 bits|with 8)"):
        read_picture(tmp_path / "deep.ppm")


def test_a_bomb_is_refused_by_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000, 8, 2, bytes(1000)))
    with pytest.raises(UserError, match=r"bomb.png: .*pixels"):
        read_picture(tmp_path / "bomb.png")


def test_every_truncation_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(GENERATOR.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(buffer, "PNG")
    whole, path = buffer.getvalue(), tmp_path / "cut.png"
    end = whole.index(b"IEND") - 4
    for size in [*range(0, 60), *range(60, end - 40, 97), end - 40]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.png"):
            read_picture(path)


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a" + bytes(20), b"%PDF-1.7"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=r"x.png: not a readable"):
        read_picture(tmp_path / "x.png")


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UserError, match="is no file"):
            read_picture(path)


@pytest.mark.parametrize("other", [(4, 5, 3), (5, 4, 3), (4, 4, 4), (4, 4, 1)])
def test_pictures_of_other_sizes_and_kinds_are_named(other):
    with pytest.raises(UserError, match=r"a: 4 x 4 RGB, and b: .*give two pictures of one size and kind"):
        require_alike(np.zeros((4, 4, 3), np.uint8), np.zeros(other, np.uint8), ("a", "b"))
