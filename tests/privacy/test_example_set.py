import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.data.rows import ImageRows
from fedpriv.privacy import example_set
from fedpriv.privacy.example_set import ExampleSet, from_text, of_digests, of_images, said_of_copies


def images(count, seed=0, shape=(1, 4, 5)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_a_digest_is_the_head_of_sha256_over_shape_and_pixels():
    (image,) = images(1)
    header = b"fedpriv example 1\0" + bytes([1, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0])
    expected = hashlib.sha256(header + image.tobytes()).digest()[:8]
    found = of_images(image[None])
    assert found.digests.tolist() == [int.from_bytes(expected, "little")]
    assert found.identity == hashlib.sha256(b"fedpriv share 1\0" + expected).hexdigest()


def test_guarantee_order_and_storage_do_not_enter_the_identity(tmp_path, monkeypatch):
    monkeypatch.setattr(example_set, "_CHUNK_BYTES", 60)  # three images at a time
    pixels = images(20)
    order = np.random.default_rng(1).permutation(20)
    np.save(tmp_path / "a.npy", pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    identity = of_images(pixels).identity
    for other in (pixels[order], mapped, ImageRows(mapped, order), np.asfortranarray(pixels), pixels[::-1]):
        assert of_images(other).identity == identity


def test_guarantee_an_example_of_two_shares_has_one_digest_in_both():
    pixels = images(20)
    common = np.intersect1d(of_images(pixels[:12]).digests, of_images(pixels[8:]).digests)
    assert common.tolist() == of_images(pixels[8:12]).digests.tolist()


def test_a_changed_pixel_an_added_example_and_another_shape_are_other_data():
    pixels = images(5)
    changed = pixels.copy()
    changed[2, 0, 1, 1] ^= 1
    found = [of_images(each) for each in (pixels, changed, pixels[:4], pixels.reshape(5, 1, 5, 4))]
    assert len({each.identity for each in found}) == 4
    assert len(np.intersect1d(found[0].digests, found[1].digests)) == 4
    assert len(np.intersect1d(found[0].digests, found[3].digests)) == 0


def test_edge_copies_are_kept_and_make_another_identity():
    pixels = images(3)
    twice = of_images(np.concatenate([pixels, pixels[:1]]))
    assert (len(twice), len(twice.distinct)) == (4, 3)
    assert twice.identity != of_images(pixels).identity


def test_edge_equal_digests_are_one_example():
    assert len(of_digests(np.array([5, 5, 1], np.uint64)).distinct) == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_text_keeps_the_set(digests):
    share = of_digests(np.array(digests, np.uint64))
    again = from_text(share.to_text())
    assert again.digests.tolist() == sorted(digests)
    assert again.identity == share.identity


@pytest.mark.parametrize(
    ("text", "match"), [("AAAA", "whole number"), ("!", "base64"), ("AQAAAAAAAAAAAAAAAAAAAA==", "not sorted")]
)
def test_damaged_text_is_refused(text, match):
    with pytest.raises(ValueError, match=match):
        from_text(text)


def test_wrong_arrays_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="uint64"):
        ExampleSet(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="not sorted"):
        ExampleSet(np.array([2, 1], np.uint64))
    with pytest.raises(ValueError, match="uint8"):
        of_images(np.zeros((2, 1, 3, 3), np.float32))
    monkeypatch.setattr(example_set, "MOST_EXAMPLES", 2)
    with pytest.raises(ValueError, match="at most 2"):
        of_digests(np.zeros(3, np.uint64))


def test_the_digests_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        of_images(images(2)).digests[0] = 0


@pytest.mark.parametrize(
    ("shares", "begins"),
    [
        ([[1, 2, 3], [1, 2]], None),
        ([], None),
        (
            [[4, 4, 4], [1, 2]],
            "1 image of 1 client stands more than once in a share: epsilon protects each copy",
        ),
        ([[4, 4, 4, 5, 5], [1], [4, 4]], "3 images of 2 clients stand more than once in a share: epsilon"),
    ],
)
def test_examples_that_stand_several_times_in_a_share_are_said_in_one_line(shares, begins):
    sets = [of_digests(np.array(share, np.uint64)) for share in shares]
    said = said_of_copies(sets)
    assert said is None if begins is None else said.startswith(begins)
    assert "\n" not in (said or "")
    assert [each.repeated for each in sets] == [
        len({x for x in share if share.count(x) > 1}) for share in shares
    ]
