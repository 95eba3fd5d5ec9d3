import json

import numpy as np
import pytest

from fedpriv.arrays import read_npz
from fedpriv.errors import UserError
from fedpriv.serving.export import halved
from fedpriv.serving.weights import read_weights, save_weights
from tests.serving.conftest import noise, served


@pytest.fixture(params=["gaze", "emotion"])
def model(request):
    return served(request.param)


@pytest.fixture
def file(model, tmp_path):
    save_weights(model, tmp_path / "model.npz", {"seed": 3})
    return tmp_path / "model.npz"


def test_a_model_comes_back_as_it_was(model, file):
    found = read_weights(file)
    assert (found.kind, found.in_shape, found.digest) == (model.kind, model.in_shape, model.digest)
    assert (found.settings, found.origin.data) == (model.settings, "noise")
    assert found.origin.notes == {"seed": 3}
    images = noise(6, *model.in_shape[1:])
    assert found.predict(images) == model.predict(images)


def test_the_file_is_numbers_only(file):
    with np.load(file, allow_pickle=False) as found:
        assert {found[name].dtype.kind for name in found.files} <= {"f", "u"}


def test_a_halved_model_is_another_model_in_half_the_bytes(model, file, tmp_path):
    half = halved(model)
    assert half.digest != model.digest
    save_weights(half, tmp_path / "half.npz")
    assert read_weights(tmp_path / "half.npz").digest == half.digest
    sizes = [
        sum(value.nbytes for name, value in read_npz(path).items() if name != "facts")
        for path in (file, tmp_path / "half.npz")
    ]
    # biases and norms are 0 or 1 here and float16 anyway
    assert sizes[0] * 0.5 <= sizes[1] < sizes[0] * 0.51
    images = noise(4, *model.in_shape[1:])
    np.testing.assert_allclose(half.outputs(images), model.outputs(images), atol=0.02)


@pytest.mark.parametrize(
    "facts",
    [
        {"format": 2},
        {"more": 1},
        {"kind": "face"},
        {"kind": ["gaze"]},
        {"in_shape": [1, 40, 64]},
        {"in_shape": [1, 10**9, 10**9]},
        {"in_shape": "1"},
        {"in_shape": 7},
        {"settings": {"_target_": "fedpriv.models.small_cnn.SmallCNN"}},
        {"settings": {"_target_": "subprocess.run"}},
        {"settings": 3},
        {"digest": "0" * 64},
        {"statement": 4},
    ],
)
def test_files_that_lie_are_one_line(file, altered, facts):
    with pytest.raises(UserError) as caught:
        read_weights(altered(file, facts))
    assert "altered.npz" in str(caught.value) or "model" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"weights__more": np.zeros(3, np.float32)},
        {"facts": np.zeros(3, np.uint8)},
        {"facts": np.frombuffer(b"[" * 10**5, np.uint8)},
        {"weights__more": np.zeros(3, np.int64)},
    ],
)
def test_files_with_other_arrays_are_one_line(file, tmp_path, arrays):
    found = read_npz(file) | {name.replace("__", "/"): value for name, value in arrays.items()}
    with (tmp_path / "other.npz").open("wb") as target:
        np.savez(target, **found)
    with pytest.raises(UserError, match=r"other\.npz: "):
        read_weights(tmp_path / "other.npz")


def test_every_flipped_byte_is_noticed_or_changes_nothing(file, tmp_path):
    model, content = read_weights(file), file.read_bytes()
    copy = tmp_path / "copy.npz"
    for place in np.random.default_rng(0).integers(0, len(content), 60):
        changed = bytearray(content)
        changed[place] ^= 0x10
        copy.write_bytes(changed)
        try:
            found = read_weights(copy)
        except UserError:
            continue
        assert found.digest == model.digest


def test_cut_and_foreign_files_are_one_line(file, tmp_path):
    content = file.read_bytes()
    for index, text in enumerate((b"", b"hello", content[:100], content[:-1], json.dumps({}).encode())):
        path = tmp_path / f"{index}.npz"
        path.write_bytes(text)
        with pytest.raises(UserError, match=rf"{index}\.npz: is damaged"):
            read_weights(path)
