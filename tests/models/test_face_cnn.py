"""The face network: per-sample gradients against micro-batches, filters against their formula."""

import copy

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn
from torch.nn import functional

from fedpriv.models.face_cnn import FaceCNN, gabor_filters
from fedpriv.models.margin_head import CosineHead


def build(outputs: int = 5, width: int = 2, classes: int = 4, trainable: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        FaceCNN((1, 24, 20), outputs=outputs, width=width),
        CosineHead(torch.randn(classes, outputs), trainable),
    )


def images(count: int, channels: int = 1) -> torch.Tensor:
    return torch.rand((count, channels, 24, 20), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_embedding_has_the_width_asked_for_and_says_so() -> None:
    model = FaceCNN((3, 56, 46), outputs=17, width=4)
    assert model.features == 17
    assert model(torch.zeros(2, 3, 56, 46)).shape == (2, 17)


def test_parameter_count_is_as_documented_whatever_the_image_size() -> None:
    for size in ((1, 56, 46), (3, 112, 112)):
        model = FaceCNN(size, outputs=32, width=8)
        assert sum(parameter.numel() for parameter in model.parameters()) == 32 * (126 * 8 + 1)


def test_there_are_no_buffers_and_opacus_accepts_every_layer() -> None:
    model = build()
    assert list(model.buffers()) == []
    assert ModuleValidator.validate(model, strict=False) == []


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("trainable", [True, False])
def test_per_sample_gradients_equal_those_of_single_images(trainable: bool) -> None:
    model = build(trainable=trainable)
    inputs, targets = images(6), torch.tensor([0, 1, 2, 3, 0, 1])
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="mean")
    functional.cross_entropy(8 * wrapped(inputs), targets).backward()
    samples = [p.grad_sample for p in wrapped.parameters() if p.requires_grad]
    assert len(samples) == (3 if trainable else 2)
    for index in range(6):
        model.zero_grad()
        functional.cross_entropy(8 * model(inputs[index : index + 1]), targets[index : index + 1]).backward()
        alone = [p.grad for p in model.parameters() if p.requires_grad]
        for per_sample, gradient in zip(samples, alone, strict=True):
            torch.testing.assert_close(per_sample[index], gradient, rtol=1e-4, atol=1e-6)
            assert float(gradient.norm()) > 0


def test_an_empty_batch_passes_forward_and_backward() -> None:
    model = build()
    output = model(images(0))
    assert output.shape == (0, 4)
    output.sum().backward()


def test_an_image_is_embedded_alike_alone_and_in_a_batch() -> None:
    model, batch = build(), images(5)
    torch.testing.assert_close(model(batch)[3:4], model(batch[3:4]), rtol=1e-5, atol=1e-6)


def test_brightness_and_contrast_hardly_change_the_amplitudes() -> None:
    model = FaceCNN((1, 24, 20))
    plain = images(3)
    changed = model.amplitudes(0.6 * plain - 0.3)
    assert float((changed - model.amplitudes(plain)).abs().max()) < 0.05
    assert float((model.amplitudes(images(4)[3:]) - model.amplitudes(plain)[:1]).abs().max()) > 0.2


def test_a_flat_image_gives_finite_amplitudes_at_the_floor() -> None:
    """No energy: (1e-4)^(1/4) = 0.1."""
    amplitudes = FaceCNN((1, 24, 20)).amplitudes(torch.full((1, 1, 24, 20), 0.7))
    torch.testing.assert_close(amplitudes, torch.full_like(amplitudes, 0.1), rtol=1e-3, atol=1e-4)


def test_a_grating_excites_the_filter_of_its_own_orientation_most() -> None:
    model = FaceCNN((1, 48, 40), width=4)
    across = torch.cos(2 * torch.pi * torch.arange(40) / 4).expand(1, 1, 48, 40)
    finest = model.amplitudes(across)[0, :4].mean(dim=(1, 2))
    assert int(finest.argmax()) == 0
    upright = torch.cos(2 * torch.pi * torch.arange(48) / 4).view(1, 1, 48, 1).expand(1, 1, 48, 40)
    assert int(model.amplitudes(upright)[0, :4].mean(dim=(1, 2)).argmax()) == 2


def test_filters_sum_to_zero_and_have_unit_length_and_parity() -> None:
    filters = gabor_filters(8)
    assert filters.shape == (16, 1, 9, 9)
    torch.testing.assert_close(filters.sum(dim=(1, 2, 3)), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(filters.square().sum(dim=(1, 2, 3)), torch.ones(16))
    turned = filters.flip((2, 3))
    torch.testing.assert_close(turned[0::2], filters[0::2])
    torch.testing.assert_close(turned[1::2], -filters[1::2])


def test_copies_and_saved_states_give_the_same_embedding() -> None:
    model, batch = FaceCNN((1, 24, 20)), images(2)
    restored = FaceCNN((1, 24, 20))
    restored.load_state_dict(model.state_dict())
    torch.testing.assert_close(restored(batch), model(batch))
    torch.testing.assert_close(copy.deepcopy(model)(batch), model(batch))


@pytest.mark.parametrize(
    ("shape", "outputs", "width"),
    [((1, 15, 20), 4, 2), ((1, 24, 20), 0, 2), ((0, 24, 20), 4, 2), ((1, 24, 20), 4, 0)],
)
def test_sizes_without_a_network_are_refused(shape, outputs: int, width: int) -> None:
    with pytest.raises(ValueError, match="sizes must be positive and images at least 16 x 16"):
        FaceCNN(shape, outputs=outputs, width=width)


def test_more_orientations_than_degrees_are_refused_before_their_filters_are_made() -> None:
    assert FaceCNN((1, 24, 20), outputs=1, width=180).features == 1
    for width in (181, 10**12):
        with pytest.raises(ValueError, match="at most 180 orientations"):
            FaceCNN((1, 24, 20), outputs=1, width=width)
