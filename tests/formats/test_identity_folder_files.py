"""Folders of identities: order, refusal of hostile files, and pixels checked by hand."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.formats import identity_folder
from fedpriv.formats.identity_folder import decode_image, list_identities


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read_image(path: Path, height: int, width: int, colour: bool = False) -> np.ndarray:
    return decode_image(path.read_bytes(), path, height, width, colour)


def grey(height: int = 8, width: int = 8, value: int = 100) -> np.ndarray:
    return np.full((height, width), value, dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and carries no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def test_names_and_files_come_in_natural_order(tmp_path: Path) -> None:
    for person in ("s10", "s2", "s1", "anna"):
        for image in ("10.png", "9.png", "1.png"):
            save(tmp_path / person / image, grey())
    listing = list_identities(tmp_path)
    assert listing.names == ("anna", "s1", "s2", "s10")
    assert [path.name for path in listing.files[3]] == ["1.png", "9.png", "10.png"]
    assert listing.ignored == 0


def test_everything_else_is_counted_as_ignored(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.PNG", grey())
    (tmp_path / "README").write_text("x")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / ".2.png").write_text("x")
    (tmp_path / "a" / "nested.png").mkdir()
    listing = list_identities(tmp_path)
    assert listing.names == ("a",)
    assert [path.name for path in listing.files[0]] == ["1.PNG"]
    assert listing.ignored == 5


def test_a_pipe_named_like_an_image_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "1.png")
    assert list_identities(tmp_path).files == ((),)


@pytest.mark.parametrize("level", ["folder", "file"])
def test_a_link_out_of_the_root_is_refused(tmp_path: Path, level: str) -> None:
    outside = save(tmp_path / "outside" / "1.png", grey())
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    link, target = (root / "b", outside.parent) if level == "folder" else (root / "a" / "1.png", outside)
    link.symlink_to(target)
    with pytest.raises(UserError, match="symbolic link that leaves"):
        list_identities(root)


def test_a_link_inside_the_root_is_followed(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", grey())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.png").symlink_to(tmp_path / "a" / "1.png")
    assert [len(files) for files in list_identities(tmp_path).files] == [1, 1]


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        list_identities(tmp_path / "nowhere")


def test_same_size_returns_the_pixels_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(9, 7), dtype=np.uint8)
    for suffix in ("pgm", "png", "bmp"):
        decoded = read_image(save(tmp_path / f"x.{suffix}", pixels), 9, 7)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, pixels[None])


def test_a_hand_written_binary_pgm_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pgm"
    path.write_bytes(b"P5\n# a comment\n3 2\n255\n" + bytes([0, 50, 100, 150, 200, 250]))
    np.testing.assert_array_equal(read_image(path, 2, 3), [[[0, 50, 100], [150, 200, 250]]])


def test_halving_is_antialiased(tmp_path: Path) -> None:
    """Stripes of one pixel become their mean, where picking pixels would leave black or white."""
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (32, 16))
    halved = read_image(save(tmp_path / "x.png", stripes), 16, 16)[0, 4:-4, 4:-4]
    assert np.abs(halved.astype(int) - 127).max() <= 16


@pytest.mark.parametrize("wide", [True, False])
def test_the_centre_is_cropped_to_the_aspect_asked_for(tmp_path: Path, wide: bool) -> None:
    pixels = np.zeros((10, 20), dtype=np.uint8)
    pixels[:, 5:15] = 200
    path = save(tmp_path / "x.png", pixels if wide else pixels.T.copy())
    np.testing.assert_array_equal(read_image(path, 10, 10), np.full((1, 10, 10), 200))


def test_colour_and_its_luma(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[...] = (200, 100, 50)
    path = save(tmp_path / "x.png", pixels)
    np.testing.assert_array_equal(read_image(path, 4, 4, colour=True)[:, 0, 0], [200, 100, 50])
    assert abs(int(read_image(path, 4, 4)[0, 0, 0]) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1
    assert read_image(save(tmp_path / "g.png", grey()), 4, 4, colour=True).shape == (3, 4, 4)


def test_the_orientation_in_the_exif_header_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", 8, 8)[0], pixels[::-1, ::-1])


def test_lossy_formats_are_read(tmp_path: Path) -> None:
    for suffix in ("jpg", "jpeg", "webp"):
        assert np.abs(read_image(save(tmp_path / f"x.{suffix}", grey()), 8, 8).astype(int) - 100).max() <= 3


@pytest.mark.parametrize("keep", [0, 1, 5, 20, 60, 100, 200])
@pytest.mark.parametrize("suffix", ["pgm", "png", "jpg", "bmp", "webp"])
def test_a_file_cut_short_is_refused_by_name(tmp_path: Path, suffix: str, keep: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(40, 40), dtype=np.uint8)
    path = save(tmp_path / f"cut.{suffix}", noise)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cut\.\w+: .*(save it again|save it smaller)"):
        read_image(path, 8, 8)


def test_flipped_bytes_never_raise_anything_but_user_error(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for suffix in ("pgm", "png", "jpg", "bmp", "webp"):
        whole = save(tmp_path / f"whole.{suffix}", grey(16, 16)).read_bytes()
        for _ in range(40):
            damaged = bytearray(whole)
            for place in random.integers(0, len(whole), size=3):
                damaged[place] = random.integers(0, 256)
            path = tmp_path / f"damaged.{suffix}"
            path.write_bytes(damaged)
            with contextlib.suppress(UserError):
                assert read_image(path, 8, 8).shape == (1, 8, 8)


@pytest.mark.parametrize("size", [(8000, 8000), (12000, 12000), (60000, 60000)])
def test_a_huge_size_in_the_header_is_refused_before_decoding(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(UserError, match=r"bomb\.png: .*pixels.*save it smaller"):
        read_image(path, 8, 8)


def test_an_image_too_long_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_folder, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(UserError, match=r"the limit is 10; save it smaller"):
        read_image(save(tmp_path / "x.png", grey()), 8, 8)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "ICO"])
def test_another_format_under_an_allowed_name_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disguised.png"
    Image.fromarray(grey(16, 16)).save(path, format=kind)
    with pytest.raises(UserError, match=r"disguised\.png: not a readable"):
        read_image(path, 8, 8)


def test_sixteen_bit_pixels_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    path = save(tmp_path / "deep.png", np.full((4, 4), 40_000, dtype=np.uint16))
    with pytest.raises(UserError, match="8 bits per channel"):
        read_image(path, 4, 4)


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, -1)])
def test_an_empty_size_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        decode_image(b"", "x.png", height, width)
