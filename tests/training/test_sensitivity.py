import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.models.emotion_cnn import EmotionCNN
from fedpriv.models.face_cnn import FaceCNN
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.tasks.face import FaceTask
from fedpriv.tasks.gaze import GazeTask
from fedpriv.training.data import ClientData, client_data
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.sensitivity import gradient_slopes, sensitivity_map
from tests.training.tiny import TinyTask, convolutional, examples, flat, inputs, linear


def gradient(task, model, images, targets):
    """Return d loss / d w, flat."""
    loss = task.loss(model(images), targets)
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(model.parameters()))])


def flattened(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def test_slopes_are_the_finite_differences_of_gradients():
    task, model, data = TinyTask(), convolutional().double(), examples(3)
    images, targets = inputs(data).double(), data.targets.double()
    along = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = flattened(gradient_slopes(task, model, list(model.parameters()), images, targets, along))
    h = 1e-5
    after = gradient(task, model, images + h * along, targets)
    before = gradient(task, model, images - h * along, targets)
    torch.testing.assert_close(slopes, (after - before) / (2 * h), rtol=1e-6, atol=1e-8)
    assert float(slopes.abs().min()) > 0


def test_the_map_tends_to_the_mean_norm_of_the_whole_jacobian():
    """Brute force: every entry of d/dx (d loss / d w) by finite differences, then its norm over x."""
    task, model, data = TinyTask(), linear(), examples(4)
    images, h = inputs(data).double(), 1e-5
    exact = torch.zeros(13, dtype=torch.float64)
    wide = linear().double()
    for image, target in zip(images, data.targets.double(), strict=True):
        columns = []
        for pixel in range(12):
            step = torch.zeros(12, dtype=torch.float64)
            step[pixel] = h
            pair = [
                gradient(task, wide, (image + sign * step.view(3, 2, 2))[None], target[None])
                for sign in (1, -1)
            ]
            columns.append((pair[0] - pair[1]) / (2 * h))
        exact += torch.stack(columns).norm(dim=0)
    estimates = np.zeros(13)
    # every call is one direction per example; 600 of them leave a standard error of 1.5 %
    for seed in range(600):
        one = sensitivity_unscaled(task, model, data, seed)
        estimates += one / 600
    expected = np.sqrt(2 / np.pi) * exact.numpy()
    np.testing.assert_allclose(estimates, expected, rtol=0.08)


def sensitivity_unscaled(task, model, data, seed):
    """Sum over examples of absolute slopes, as the map has it before it is scaled."""
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(13)
    for number, image in enumerate(inputs(data)):
        along = torch.randn(image[None].shape, generator=random)
        slopes = gradient_slopes(
            task, model, list(model.parameters()), image[None], data.targets[number : number + 1], along
        )
        total += flattened(slopes).abs()
    return total.numpy()


def test_the_map_is_the_scaled_sum_of_absolute_slopes():
    task, model, data = TinyTask(), linear(), examples(5)
    made = sensitivity_map(task, model, None, data, seed=3)
    from fedpriv.seeding import derive

    expected = sensitivity_unscaled(task, model, data, derive(3, "directions") % 2**63)
    np.testing.assert_allclose(made, expected / expected.max(), rtol=1e-5)
    assert made.dtype == np.float32
    assert made.max() == 1.0
    assert made.min() >= 0.0


def test_a_linear_model_has_the_closed_form():
    """For half (w x + b - y)^2: d/dx (d/db) = w exactly, so b's slope along v is <w, v>."""
    task, model, data = TinyTask(), linear(), examples(1)
    along = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    weight = model[1].weight.detach().flatten()
    image = inputs(data)
    slopes = gradient_slopes(task, model, list(model.parameters()), image, data.targets, along)
    along_w = weight @ along.flatten()
    error = weight @ image.flatten() + model[1].bias.detach() - data.targets
    torch.testing.assert_close(slopes[1], along_w[None])
    torch.testing.assert_close(slopes[0][0], along_w * image.flatten() + error * along.flatten())


def test_the_seed_decides_and_nothing_is_changed():
    task, model, data = TinyTask(), convolutional(), examples(30)
    before = flat(model)
    first = sensitivity_map(task, model, None, data, seed=1, most_examples=4)
    state = torch.random.get_rng_state()
    again = sensitivity_map(task, model, None, data, seed=1, most_examples=4)
    assert np.array_equal(first, again)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not np.array_equal(first, sensitivity_map(task, model, None, data, seed=2, most_examples=4))
    assert torch.equal(before, flat(model))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_more_examples_than_allowed_are_read_and_none_twice():
    task, data = TinyTask(), examples(30)
    sensitivity_map(task, linear(), None, data, seed=1, most_examples=7)
    seen = torch.cat(task.seen).tolist()
    assert len(seen) == 7
    assert len(set(seen)) == 7


def test_frozen_and_unreached_parameters_are_not_sensitive():
    task, data = TinyTask(), examples(3)
    model = linear()
    model.append(nn.Identity())
    model[2].spare = nn.Parameter(torch.ones(2))
    model[1].bias.requires_grad_(False)
    made = sensitivity_map(task, model, None, data, seed=0)
    assert made.shape == (15,)
    assert made[:12].min() > 0
    assert not made[12:].any()


def test_gradients_that_no_image_touches_give_a_map_of_zeros():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.ones(3))

        def forward(self, images):
            return self.level.sum().expand(len(images), 1) + 0.0 * images.flatten(1)[:, :1]

    assert not sensitivity_map(TinyTask(), Constant(), None, examples(2), seed=0).any()


def test_no_examples_and_broken_models_are_refused():
    empty = ClientData(torch.zeros(0, 3, 2, 2, dtype=torch.uint8), torch.zeros(0))
    with pytest.raises(ValueError, match="at least one example"):
        sensitivity_map(TinyTask(), linear(), None, empty, seed=0)
    model = linear()
    with torch.no_grad():
        model[1].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        sensitivity_map(TinyTask(), model, None, examples(2), seed=0)


def pictures(count, shape, targets, classes=()):
    random = np.random.default_rng(0)
    return ImageDataset(
        images=random.integers(0, 256, (count, *shape), dtype=np.uint8),
        targets=targets,
        subjects=np.arange(count) % 3,
        subject_names=("a", "b", "c"),
        class_names=classes,
        name="test",
    )


@pytest.mark.parametrize("kind", ["gaze", "gaze_far_off", "emotion", "cosface", "arcface", "trained_head"])
def test_every_task_has_a_map_of_its_backbone(kind):
    torch.manual_seed(0)
    random = np.random.default_rng(1)
    head = None
    if kind.startswith("gaze"):
        task, model = GazeTask(), GazeCNN((1, 36, 60))
        # far off, the robust loss is linear in its label: only the image still moves its gradients
        targets = random.normal(0, 0.2, (6, 2)) + (50 if kind == "gaze_far_off" else 0)
        dataset = pictures(6, (1, 36, 60), targets.astype(np.float32))
    elif kind == "emotion":
        task, model = EmotionTask(), EmotionCNN((1, 48, 48))
        names = tuple("abcdefg")
        dataset = pictures(6, (1, 48, 48), np.arange(6), names)
    else:
        loss = "arcface" if kind == "arcface" else "cosface"
        task = FaceTask(loss, codewords=16, trainable_head=kind == "trained_head")
        model = FaceCNN((1, 40, 40), outputs=32)
        dataset = pictures(6, (1, 40, 40), np.arange(6))
        head = task.build_head(dataset, model.features)
    layout = FlatParameters(model).layout
    made = sensitivity_map(task, model, head, client_data(task, dataset), seed=0, most_examples=4)
    assert made.shape == (layout.size,)
    assert np.isfinite(made).all()
    assert made.max() == 1.0
    assert np.count_nonzero(made) > 0.9 * layout.size
