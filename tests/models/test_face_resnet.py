"""The residual face network: sizes, per-sample gradients against micro-batches, light taken away."""

import copy

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn
from torch.nn import functional

from fedpriv.models.face_resnet import FaceResNet, Residual


def images(count: int, shape: tuple[int, int, int] = (3, 28, 32)) -> torch.Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("shape", [(3, 56, 56), (3, 112, 112), (1, 56, 46), (3, 28, 28)])
def test_an_embedding_has_the_width_asked_for_whatever_the_size_of_the_image(shape) -> None:
    model = FaceResNet(shape, outputs=17, width=8)
    assert model.features == 17
    assert model(images(2, shape)).shape == (2, 17)


def test_the_parameters_are_as_many_at_56_and_at_112_pixels() -> None:
    small, large = (
        sum(parameter.numel() for parameter in FaceResNet((3, size, size)).parameters()) for size in (56, 112)
    )
    assert small == large
    assert 200_000 < small < 400_000


def test_there_are_no_buffers_and_opacus_accepts_every_layer() -> None:
    model = FaceResNet((3, 28, 32))
    assert list(model.buffers()) == []
    assert ModuleValidator.validate(model, strict=False) == []


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_per_sample_gradients_equal_those_of_single_images() -> None:
    torch.manual_seed(0)
    model, inputs, targets = FaceResNet((3, 28, 32), outputs=5, width=8), images(4), torch.arange(4)
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="mean")
    functional.cross_entropy(wrapped(inputs), targets).backward()
    for index in range(4):
        model.zero_grad()
        functional.cross_entropy(model(inputs[index : index + 1]), targets[index : index + 1]).backward()
        for per_sample, alone in zip(wrapped.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(per_sample.grad_sample[index], alone.grad, rtol=1e-3, atol=1e-5)


def test_a_block_whose_convolutions_give_nothing_passes_its_input_on() -> None:
    block = Residual(8, 8, 1)
    nn.init.zeros_(block.second[1].weight)
    nn.init.zeros_(block.second[1].bias)
    inputs = images(2, (8, 6, 6))
    torch.testing.assert_close(block(inputs), functional.silu(inputs))


@torch.no_grad()
def test_exposure_and_the_colour_of_the_light_hardly_matter() -> None:
    torch.manual_seed(0)
    model, plain = FaceResNet((3, 28, 32)), images(3)
    light = torch.tensor([0.9, 0.6, 0.7]).view(1, 3, 1, 1)
    changed = (model(light * plain - 0.2) - model(plain)).abs().max()
    assert float(changed) < 0.1 * float((model(plain)[0] - model(plain)[1]).abs().max())


def test_an_empty_batch_passes_forward_and_backward() -> None:
    output = FaceResNet((3, 28, 32))(images(0))
    assert output.shape == (0, 128)
    output.sum().backward()


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((3, 27, 56), {}),
        ((0, 56, 56), {}),
        ((3, 56, 56), {"outputs": 0}),
        ((3, 56, 56), {"width": 12}),
    ],
)
def test_sizes_without_a_network_are_refused(shape, sizes) -> None:
    with pytest.raises(ValueError, match="need positive sizes, width a multiple of 8 and images of at least"):
        FaceResNet(shape, **sizes)
