import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.training.parameters import FlatParameters


def model(width=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))


def test_flattening_keeps_values_and_order():
    module = model()
    before = torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).numpy()
    flat = FlatParameters(module)
    assert flat.layout.size == 2 * 3 + 3 + 3 + 1
    assert flat.layout.names == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert flat.layout.shapes == ((3, 2), (3,), (1, 3), (1,))
    assert np.array_equal(flat.read(), before)


def test_parameters_and_vector_share_memory_both_ways():
    module = model()
    flat = FlatParameters(module)
    flat.load(np.arange(13, dtype=np.float32))
    assert module[0].weight.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert module[2].bias.tolist() == [12]
    with torch.no_grad():
        module[0].bias[1] = 99
    assert flat.read()[7] == 99


def test_an_optimiser_steps_the_vector():
    module = model()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    flat = FlatParameters(module)
    start = flat.read()
    module(torch.ones(1, 2)).sum().backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).numpy()
    optimizer.step()
    np.testing.assert_allclose(flat.change_since(start), -gradient, rtol=1e-5)


def test_what_is_read_is_a_copy():
    flat = FlatParameters(model())
    first = flat.read()
    flat.load(first + 1)
    assert np.array_equal(flat.read(), first + 1)
    assert not np.array_equal(first, flat.read())


def test_the_loaded_vector_is_not_kept():
    flat = FlatParameters(model())
    given = np.zeros(13, dtype=np.float32)
    flat.load(given)
    given += 1
    assert not flat.read().any()


@pytest.mark.parametrize("shape", [(12,), (14,), (13, 1), (1, 13), ()])
def test_a_vector_of_another_shape_is_refused_and_changes_nothing(shape):
    flat = FlatParameters(model())
    before = flat.read()
    with pytest.raises(ValueError, match=r"the model has \(13,\)"):
        flat.load(np.zeros(shape, dtype=np.float32))
    assert np.array_equal(flat.read(), before)


def test_float64_parameters_are_refused_by_name():
    with pytest.raises(ValueError, match=r"0\.weight is torch\.float64"):
        FlatParameters(model().double())


def test_running_statistics_are_refused_by_name():
    with pytest.raises(ValueError, match=r"1\.running_mean"):
        FlatParameters(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_a_parameter_used_twice_is_counted_once():
    module = model()
    module.append(module[0])
    assert FlatParameters(module).layout.size == 13


def test_the_digest_tells_names_and_shapes_apart_but_not_values():
    digest = FlatParameters(model()).layout.digest
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other_values = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    assert FlatParameters(other_values).layout.digest == digest
    other_names = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    # same number of parameters, weight transposed
    other_shapes = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    other_shapes[0].weight = nn.Parameter(other_shapes[0].weight.detach().T.contiguous())
    for other in (other_names, other_shapes, model(4)):
        assert FlatParameters(other).layout.digest != digest
    assert len(digest) == 32
