"""Verification files as a data set: pairs, folds, and pickles that are not run."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.verification_bin import load
from fedpriv.errors import UserError
from fedpriv.formats.pair_records import read_pair_records, write_pair_records
from fedpriv.formats.verification_bin import write_verification_bin

SAME = [True, False] * 10


def png(value: int) -> bytes:
    saved = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(saved, "PNG")
    return saved.getvalue()


IMAGES = [png(5 * number) for number in range(40)]


@pytest.mark.parametrize("kind", ["bin", "rec"])
def test_pair_k_is_images_2k_and_2k_plus_1(tmp_path, kind):
    path = tmp_path / f"lfw.{kind}"
    (write_verification_bin if kind == "bin" else write_pair_records)(path, IMAGES, SAME)
    dataset = load(str(path), 8, 8)
    assert dataset.images.shape == (40, 3, 8, 8)
    assert np.asarray(dataset.images)[:, 0, 4, 4].tolist() == [5 * number for number in range(40)]
    assert dataset.pairs is not None
    assert dataset.pairs.left.tolist() == list(range(0, 40, 2))
    assert dataset.pairs.right.tolist() == list(range(1, 40, 2))
    assert dataset.pairs.same.tolist() == SAME
    assert len(set(dataset.subjects.tolist())) == 40


def test_a_folder_with_one_file_is_enough_and_with_two_is_not(tmp_path):
    write_verification_bin(tmp_path / "lfw.bin", IMAGES, SAME)
    assert len(load(str(tmp_path), 8, 8)) == 40
    write_verification_bin(tmp_path / "cfp_fp.bin", IMAGES, SAME)
    with pytest.raises(UserError, match=r"data\.root=.*: holds cfp_fp\.bin, lfw\.bin; name one"):
        load(str(tmp_path), 8, 8)


def test_numpy_payloads_need_a_yes(tmp_path):
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    (tmp_path / "a.bin").write_bytes(pickle.dumps((arrays, SAME)))
    with pytest.raises(UserError, match="allow_numpy"):
        load(str(tmp_path), 8, 8)
    assert np.asarray(load(str(tmp_path), 8, 8, allow_numpy=True).images)[7, 0, 0, 0] == 35


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(UserError, match=r"a\.bin"):
        load(str(tmp_path), 8, 8)
    assert not (tmp_path / "ran").exists()


def test_pairs_that_make_no_ten_folds_are_refused(tmp_path):
    write_verification_bin(tmp_path / "a.bin", IMAGES[:22], SAME[:11])
    with pytest.raises(UserError, match="11 pairs do not divide into 10 folds"):
        load(str(tmp_path), 8, 8)
    write_verification_bin(tmp_path / "a.bin", IMAGES, sorted(SAME))
    with pytest.raises(UserError, match="a fold without pairs of one kind"):
        load(str(tmp_path), 8, 8)


def test_a_damaged_image_is_named_by_its_place(tmp_path):
    write_verification_bin(tmp_path / "a.bin", [*IMAGES[:-1], b"\xff\xd8\xff cut"], SAME)
    with pytest.raises(UserError, match=r"a\.bin: image 39: not a readable"):
        load(str(tmp_path), 8, 8)


def test_pair_records_come_back_as_they_were(tmp_path):
    write_pair_records(tmp_path / "a.rec", IMAGES, SAME)
    assert read_pair_records(tmp_path / "a.rec") == (IMAGES, SAME)
    with pytest.raises(ValueError, match="need 2 for each"):
        write_pair_records(tmp_path / "b.rec", IMAGES, SAME[:-1])
    assert not (tmp_path / "b.rec").exists()


@pytest.mark.parametrize(("field", "value"), [("height", 7), ("width", 0)])
def test_settings_out_of_range_are_named(tmp_path, field, value):
    with pytest.raises(UserError, match=rf"data\.{field}={value}: must be"):
        load(str(tmp_path), **{field: value})
