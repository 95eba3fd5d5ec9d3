import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from fedpriv.models.small_cnn import SmallCNN


def test_the_parameter_count_is_the_sum_over_the_documented_layers():
    model = SmallCNN((3, 32, 32), 10)
    by_hand = (3 * 25 * 12 + 12) + (12 * 25 * 24 + 24) + (24 * 5 * 5 * 180 + 180) + (180 * 10 + 10)
    assert sum(p.numel() for p in model.parameters()) == by_hand == 118_126
    assert not list(model.buffers())


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 36, 60), (1, 16, 16), (3, 17, 23)])
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
    model, images = SmallCNN((3, 16, 16), 2, hidden=6), torch.randn(2, 3, 16, 16)
    x = max_pool2d(conv2d(images, model.conv1.weight, model.conv1.bias).clamp(min=0), 2)
    x = max_pool2d(conv2d(x, model.conv2.weight, model.conv2.bias).clamp(min=0), 2)
    x = (x.reshape(2, -1) @ model.hidden.weight.T + model.hidden.bias).clamp(min=0)
    torch.testing.assert_close(model(images), x @ model.output.weight.T + model.output.bias)


def test_images_do_not_influence_each_other():
    torch.manual_seed(0)
    model, images = SmallCNN((1, 16, 16), 3), torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(model(images)[2:3], model(images[2:3]))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        SmallCNN((1, 15, 32), 2)
