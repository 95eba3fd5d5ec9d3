"""Training examples: the same batches from memory and from a file."""

import numpy as np
import pytest
import torch

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.rows import ImageRows
from fedpriv.training.data import ClientData, client_data
from tests.training.tiny import TinyTask


def dataset(images):
    count = len(images)
    return ImageDataset("d", images, np.arange(count), np.zeros(count, np.int64), ("p",))


@pytest.fixture
def mapped(tmp_path):
    made = np.random.default_rng(0).integers(0, 256, (10, 3, 2, 2), dtype=np.uint8)
    np.save(tmp_path / "images.npy", made)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", ["array", "memory map", "rows of a memory map"])
@pytest.mark.parametrize("most", [0, 1 << 20])
def test_batches_are_the_same_held_or_read(mapped, kind, most):
    images = {"array": np.array(mapped), "memory map": mapped}.get(kind)
    if images is None:
        images = ImageRows(mapped, np.arange(10))
    data = client_data(TinyTask(), dataset(images), most)
    chosen = torch.tensor([7, 0, 7, 3])
    batch = data.batch(chosen)
    np.testing.assert_array_equal(batch.numpy(), np.asarray(mapped)[chosen.numpy()])
    assert batch.dtype == torch.uint8
    batch.add_(1)  # a copy, whatever it came from
    np.testing.assert_array_equal(data.batch(chosen).numpy(), np.asarray(mapped)[chosen.numpy()])
    assert data.batch(torch.zeros(0, dtype=torch.int64)).shape == (0, 3, 2, 2)
    assert len(data) == 10


def test_images_beyond_the_bound_take_no_memory(mapped):
    rows = ImageRows(mapped, np.arange(10))
    targets = 10 * 8
    assert client_data(TinyTask(), dataset(rows), mapped.nbytes - 1).bytes_held == targets
    assert client_data(TinyTask(), dataset(rows), mapped.nbytes).bytes_held == targets + mapped.nbytes


def test_training_on_a_file_is_training_on_its_images(mapped):
    from fedpriv.training.local import LocalSettings, train_plain
    from tests.training.tiny import convolutional, flat

    trained = []
    for images in (torch.from_numpy(np.array(mapped)), ImageRows(mapped, np.arange(10))):
        model = convolutional()
        data = ClientData(images, torch.arange(10.0))
        train_plain(TinyTask(), model, None, data, LocalSettings(batch_size=4), seed=3)
        trained.append(flat(model))
    assert torch.equal(*trained)
