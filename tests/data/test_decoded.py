"""Decoded once: read again only when a file or a parameter changed."""

import os
import tracemalloc

import numpy as np
import pytest

from fedpriv.data.cache import cached_images
from fedpriv.data.decoded import decoded_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))


def examples(source, value=7, size=3, count=4, calls=None):
    def decode():
        if calls is not None:
            calls.append(value)
        return (
            (np.full((1, size, size), value + index, np.uint8), 2**64 - value - index)
            for index in range(count)
        )

    return decoded_images("tiny", 1, {"size": size}, [source], (4, 1, size, size), decode)


def decode(*arguments, **settings):
    return examples(*arguments, **settings)[0]


def test_decodes_once_and_again_when_a_file_or_parameter_changes(tmp_path):
    source, calls = tmp_path / "a.bin", []
    source.write_bytes(b"x")
    first = decode(source, calls=calls)
    assert first[:, 0, 0, 0].tolist() == [7, 8, 9, 10]
    assert not first.flags.writeable
    assert decode(source, value=20, calls=calls)[0, 0, 0, 0] == 7
    decode(source, size=2, calls=calls)
    os.utime(source, ns=(1, 1))
    assert decode(source, value=30, calls=calls)[0, 0, 0, 0] == 30
    assert calls == [7, 7, 30]


def test_origins_are_kept_beside_their_images(tmp_path):
    source, calls = tmp_path / "a.bin", []
    source.write_bytes(b"x")
    for _ in range(2):
        images, origins = examples(source, calls=calls)
        assert images[:, 0, 0, 0].tolist() == [7, 8, 9, 10]
        assert origins.dtype == np.uint64
        assert [int(origin) for origin in origins] == [2**64 - 7 - index for index in range(4)]
        assert not origins.flags.writeable
    assert calls == [7]


def test_a_cache_whose_origins_are_damaged_or_defined_otherwise_is_made_anew(tmp_path, monkeypatch):
    source, calls = tmp_path / "a.bin", []
    source.write_bytes(b"x")
    examples(source, calls=calls)
    (kept,) = (tmp_path / "cache").glob("*/origins.npy")
    kept.write_bytes(kept.read_bytes()[:-8])
    assert len(examples(source, calls=calls)[1]) == 4
    monkeypatch.setattr("fedpriv.data.origins.VERSION", 2)
    examples(source, calls=calls)
    assert calls == [7, 7, 7]


@pytest.mark.parametrize(("count", "message"), [(3, "3 images, promised 4"), (5, "image 4 is")])
def test_another_number_of_images_than_promised_leaves_nothing(tmp_path, count, message):
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    with pytest.raises(ValueError, match=message):
        decode(source, count=count)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert len(decode(source)) == 4


def test_an_empty_set_is_an_empty_array():
    images, origins = cached_images("none", 1, {}, (0, 1, 2, 2), lambda images, origins: None)
    assert images.shape == (0, 1, 2, 2)
    assert (origins.shape, origins.dtype) == ((0,), np.uint64)


def test_images_never_pass_through_memory_as_a_whole():
    def fill(images, _):
        for index in range(len(images)):
            images[index] = index % 251

    tracemalloc.start()
    images, _ = cached_images("large", 1, {}, (2000, 1, 100, 100), fill)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images[1999, 0, 99, 99] == 1999 % 251
    assert peak < 2_000_000 < images.nbytes
