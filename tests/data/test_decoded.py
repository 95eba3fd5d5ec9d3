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


def decode(source, value=7, size=3, count=4, calls=None):
    def images():
        if calls is not None:
            calls.append(value)
        return (np.full((1, size, size), value + index, np.uint8) for index in range(count))

    return decoded_images("tiny", 1, {"size": size}, [source], (4, 1, size, size), images)


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


@pytest.mark.parametrize(("count", "message"), [(3, "3 images, promised 4"), (5, "image 4 is")])
def test_another_number_of_images_than_promised_leaves_nothing(tmp_path, count, message):
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    with pytest.raises(ValueError, match=message):
        decode(source, count=count)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert len(decode(source)) == 4


def test_an_empty_set_is_an_empty_array():
    assert cached_images("none", 1, {}, (0, 1, 2, 2), lambda images: None).shape == (0, 1, 2, 2)


def test_images_never_pass_through_memory_as_a_whole():
    def fill(images):
        for index in range(len(images)):
            images[index] = index % 251

    tracemalloc.start()
    images = cached_images("large", 1, {}, (2000, 1, 100, 100), fill)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images[1999, 0, 99, 99] == 1999 % 251
    assert peak < 2_000_000 < images.nbytes
