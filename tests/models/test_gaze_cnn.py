import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator

from fedpriv.models.gaze_cnn import GazeCNN

SHAPE = (1, 36, 60)


def model(**arguments):
    torch.manual_seed(0)
    return GazeCNN(SHAPE, **arguments)


def images(count, seed=0):
    return torch.rand((count, *SHAPE), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("shape", [(1, 36, 60), (3, 36, 60), (1, 33, 57), (1, 64, 64)])
def test_any_image_shape_gives_one_row_of_outputs_per_image(shape):
    assert GazeCNN(shape, outputs=5)(torch.zeros(3, *shape)).shape == (3, 5)


def test_an_empty_batch_passes_forward_and_back():
    net = model()
    out = net(images(0))
    assert out.shape == (0, 2)
    out.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in net.parameters())


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("width", [8, 16])
def test_per_example_gradients_equal_those_of_batches_of_one(width):
    net = model(width=width)
    batch, targets = images(5), torch.linspace(-0.4, 0.4, 10).reshape(5, 2)
    expected = []
    for image, target in zip(batch, targets, strict=True):
        net.zero_grad()
        (net(image[None]) - target[None]).square().sum().backward()
        expected.append([parameter.grad.clone() for parameter in net.parameters()])

    wrapped = GradSampleModule(net, loss_reduction="sum")
    (wrapped(batch) - targets).square().sum().backward()
    for index, parameter in enumerate(wrapped.parameters()):
        for example in range(5):
            torch.testing.assert_close(
                parameter.grad_sample[example], expected[example][index], rtol=1e-4, atol=1e-5
            )


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_an_empty_batch_gives_per_example_gradients_of_no_example():
    wrapped = GradSampleModule(model(), loss_reduction="sum")
    wrapped(images(0)).sum().backward()
    assert all(len(parameter.grad_sample) == 0 for parameter in wrapped.parameters())


def test_opacus_finds_nothing_to_mend():
    assert ModuleValidator.validate(model(), strict=False) == []


def test_an_image_s_output_does_not_depend_on_the_rest_of_its_batch():
    net = model().train()
    batch = images(6)
    torch.testing.assert_close(net(batch)[2:3], net(batch[2:3]))


def test_the_parameters_are_the_whole_state():
    net = model()
    assert list(net.buffers()) == []
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize(
    ("width", "layers"),
    [
        (
            8,
            [25 * 8 + 8, 16, 9 * 8 * 16 + 16, 32, 9 * 16 * 16 + 16, 32, 16 * 5 * 8 * 32 + 32, 64, 32 * 2 + 2],
        ),
        (
            16,
            [
                25 * 16 + 16,
                32,
                9 * 16 * 32 + 32,
                64,
                9 * 32 * 32 + 32,
                64,
                32 * 5 * 8 * 64 + 64,
                128,
                64 * 2 + 2,
            ],
        ),
    ],
)
def test_the_parameters_are_as_many_as_counted_by_hand(width, layers):
    assert sum(parameter.numel() for parameter in model(width=width).parameters()) == sum(layers)


def test_the_reference_model_has_24418_parameters():
    assert sum(parameter.numel() for parameter in model().parameters()) == 24_418


def test_first_predictions_lie_near_straight_ahead():
    assert model()(images(64)).abs().max() < 0.35


def test_features_is_the_width_of_the_output():
    net = model(outputs=7)
    assert net.features == net(images(1)).shape[1] == 7


@pytest.mark.parametrize("arguments", [{"width": 12}, {"outputs": 0}, {"width": 0}, {"groups": 0}])
def test_sizes_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match="groups that divide width"):
        model(**arguments)
