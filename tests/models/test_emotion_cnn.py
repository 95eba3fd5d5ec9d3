"""The expression network: sizes, per-sample gradients against micro-batches, exposure taken away."""

import copy

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator
from torch.nn import functional

from fedpriv.models.emotion_cnn import EmotionCNN


def images(count: int, shape: tuple[int, int, int] = (1, 20, 28)) -> torch.Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("shape", [(1, 48, 48), (1, 36, 60), (3, 48, 48), (1, 8, 9)])
def test_there_is_a_logit_for_every_class_whatever_the_size(shape) -> None:
    model = EmotionCNN(shape, outputs=7)
    assert model(images(2, shape)).shape == (2, 7)
    assert model.features == 7


@pytest.mark.parametrize("shape", [(1, 48, 48), (1, 36, 60)])
def test_the_network_is_as_small_as_documented(shape) -> None:
    count = sum(parameter.numel() for parameter in EmotionCNN(shape).parameters())
    assert 115_000 < count < 135_000


def test_there_are_no_buffers_and_opacus_accepts_every_layer() -> None:
    model = EmotionCNN((1, 20, 28))
    assert list(model.buffers()) == []
    assert ModuleValidator.validate(model, strict=False) == []


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_per_sample_gradients_equal_those_of_single_images() -> None:
    torch.manual_seed(0)
    model, inputs, targets = EmotionCNN((1, 20, 28), width=8, hidden=16), images(4), torch.arange(4)
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="mean")
    functional.cross_entropy(wrapped(inputs), targets).backward()
    for index in range(4):
        model.zero_grad()
        functional.cross_entropy(model(inputs[index : index + 1]), targets[index : index + 1]).backward()
        for per_sample, alone in zip(wrapped.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(per_sample.grad_sample[index], alone.grad, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_exposure_hardly_matters() -> None:
    torch.manual_seed(0)
    model, plain = EmotionCNN((1, 20, 28)), images(3)
    changed = (model(0.6 * plain - 0.3) - model(plain)).abs().max()
    assert float(changed) < 0.1 * float((model(plain)[0] - model(plain)[1]).abs().max())


def test_an_empty_batch_passes_forward_and_backward() -> None:
    output = EmotionCNN((1, 20, 28))(images(0))
    assert output.shape == (0, 7)
    output.sum().backward()


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 7, 60), {}),
        ((0, 48, 48), {}),
        ((1, 48, 48), {"outputs": 0}),
        ((1, 48, 48), {"width": 12}),
        ((1, 48, 48), {"hidden": 0}),
    ],
)
def test_sizes_without_a_network_are_refused(shape, sizes) -> None:
    with pytest.raises(ValueError, match="need positive sizes, width a multiple of 8 and images of at least"):
        EmotionCNN(shape, **sizes)
