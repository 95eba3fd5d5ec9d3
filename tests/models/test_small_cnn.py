import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from fedpriv.models.small_cnn import SmallCNN


def test_the_parameter_count_is_the_sum_over_the_documented_layers():
    model = SmallCNN((3, 32, 32), 10)
    by_hand = (27 * 32 + 32) + (288 * 64 + 64) + (576 * 64 + 64) + (64 * 16 * 64 + 64) + (64 * 10 + 10)
    assert sum(p.numel() for p in model.parameters()) == by_hand == 122_570
    assert not list(model.buffers())


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 36, 60), (1, 18, 18), (3, 19, 23)])
def test_the_output_has_one_row_per_image_and_every_parameter_gets_a_gradient(shape):
    torch.manual_seed(0)
    model = SmallCNN(shape, 5, hidden=16)
    outputs = model(torch.randn(7, *shape))
    assert outputs.shape == (7, 5)
    assert model.features == 5
    outputs.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.parameters())


def test_the_forward_pass_is_the_documented_formula():
    torch.manual_seed(0)
    model, images = SmallCNN((3, 20, 20), 2, hidden=6), torch.randn(2, 3, 20, 20)
    x = max_pool2d(conv2d(images, model.conv1.weight, model.conv1.bias).clamp(min=0), 2)
    x = max_pool2d(conv2d(x, model.conv2.weight, model.conv2.bias).clamp(min=0), 2)
    x = conv2d(x, model.conv3.weight, model.conv3.bias).clamp(min=0)
    x = (x.reshape(2, -1) @ model.hidden.weight.T + model.hidden.bias).clamp(min=0)
    torch.testing.assert_close(model(images), x @ model.output.weight.T + model.output.bias)


def test_images_do_not_influence_each_other():
    torch.manual_seed(0)
    model, images = SmallCNN((1, 18, 18), 3), torch.randn(4, 1, 18, 18)
    torch.testing.assert_close(model(images)[2:3], model(images[2:3]))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 18"):
        SmallCNN((1, 17, 32), 2)


@pytest.mark.parametrize(("outputs", "hidden"), [(0, 4), (2, 0)])
def test_widths_below_one_are_refused(outputs, hidden):
    with pytest.raises(ValueError, match="at least 1"):
        SmallCNN((1, 18, 18), outputs, hidden=hidden)
