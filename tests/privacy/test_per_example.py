import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedpriv.privacy.layer_gradients import has_rules
from fedpriv.privacy.per_example import WAYS, per_example_gradients


class Twice(nn.Module):
    """Uses one layer two times, and has a frozen one and one that nothing reaches."""

    def __init__(self):
        super().__init__()
        self.shared, self.frozen, self.last, self.idle = (nn.Linear(6, 6) for _ in range(4))
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.last(self.frozen(self.shared(torch.tanh(self.shared(x)))))


def convolutions(**options):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, **options), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 3, (2, 1), bias=False)
    )


MODELS = {
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False), nn.Linear(5, 3)), (3, 4)),
    "linear over positions": (lambda: nn.Sequential(nn.Linear(4, 5), nn.SiLU(), nn.Linear(5, 2)), (3, 4)),
    "linear over a grid": (lambda: nn.Linear(4, 2), (2, 3, 4)),
    "convolution": (convolutions, (2, 7, 6)),
    "strides": (lambda: convolutions(stride=(2, 1), padding=(0, 2)), (2, 7, 6)),
    "dilation": (lambda: convolutions(dilation=(1, 2), padding=1), (2, 7, 6)),
    "group norm of vectors": (lambda: nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(3, 6)), (4,)),
    "group norm over positions": (
        lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(12, 1)),
        (3, 4),
    ),
    "a layer used twice": (Twice, (6,)),
}


def made(name, batch, seed=0):
    torch.manual_seed(seed)
    build, shape = MODELS[name]
    model = build()
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    return model, torch.randn(batch, *shape)


def loss_of(outputs):
    return outputs.flatten(1).pow(3).sum(1).mean()


def one_by_one(model, x):
    """Brute force: a backward pass for every example; zeros where nothing is reached."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = []
    for example in x:
        gradients = torch.autograd.grad(loss_of(model(example[None])), trained, allow_unused=True)
        found.append(
            [torch.zeros_like(p) if g is None else g for p, g in zip(trained, gradients, strict=True)]
        )
    return found


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_norms_and_scaled_sums_are_those_of_a_backward_pass_for_every_example(way, name, batch):
    model, x = made(name, batch)
    expected = one_by_one(model, x)
    factors = torch.rand(batch)
    with per_example_gradients(model, way) as examples:
        loss_of(examples.model(x)).backward()
        norms = examples.norms()
        sums = [torch.ones_like(p) for p in model.parameters() if p.requires_grad]
        with torch.no_grad():
            examples.add_scaled(factors, sums)
    flat = torch.stack([torch.cat([g.flatten() for g in gradients]) for gradients in expected])
    torch.testing.assert_close(norms.detach(), flat.norm(dim=1), rtol=2e-5, atol=1e-5)
    scale = float(flat.abs().max())
    total = torch.cat([each.flatten() - 1 for each in sums])
    torch.testing.assert_close(total / scale, factors @ flat / scale, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 3),
    outputs=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    batch=st.integers(1, 4),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
def test_a_convolution_of_any_geometry_has_the_gradients_of_single_examples(
    channels, outputs, kernel, stride, dilation, padding, batch, size
):
    torch.manual_seed(1)
    model = nn.Conv2d(channels, outputs, kernel, stride, padding, dilation)
    x = torch.randn(batch, channels, *size)
    expected = one_by_one(model, x)
    with per_example_gradients(model) as examples:
        loss_of(examples.model(x)).backward()
        for index in range(batch):
            sums = [torch.zeros_like(p) for p in model.parameters()]
            with torch.no_grad():
                examples.add_scaled(torch.eye(batch)[index], sums)
            for found, true in zip(sums, expected[index], strict=True):
                torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-4 * float(true.abs().max() + 1))


@pytest.mark.parametrize("together", [1, 3, 1 << 22])
def test_windows_taken_a_few_examples_at_a_time_change_nothing(monkeypatch, together):
    monkeypatch.setattr("fedpriv.privacy.layer_rules._WINDOW_BYTES", together)
    test_norms_and_scaled_sums_are_those_of_a_backward_pass_for_every_example("auto", "strides", 5)


def test_a_batch_in_another_order_of_memory_has_the_same_gradients():
    model, x = made("convolution", 5)
    orders = [
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
    ]
    assert len({each.stride() for each in orders}) == 3
    found = []
    for batch in orders:
        with per_example_gradients(model) as examples:
            loss_of(examples.model(batch)).backward()
            found.append(examples.norms())
    for norms in found[1:]:
        torch.testing.assert_close(norms, found[0])


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (4, 3)])
def test_group_norm_keeps_examples_apart_however_they_lie_in_memory(channels, size):
    """With one channel a batch is contiguous in both orders at once."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.GroupNorm(1, channels), nn.Conv2d(channels, 3, 1))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(6, channels, *size).to(memory_format=torch.channels_last)
    expected = torch.stack([torch.cat([g.flatten() for g in each]) for each in one_by_one(model, x)])
    inner = x.clone(memory_format=torch.preserve_format).requires_grad_()
    loss_of(model(inner)).backward()
    back = inner.grad.clone()
    inner.grad = None
    with per_example_gradients(model) as examples:
        loss_of(examples.model(inner)).backward()
        torch.testing.assert_close(examples.norms(), expected.norm(dim=1), rtol=1e-4, atol=1e-4)
        for index, row in enumerate(expected):
            sums = [torch.zeros_like(parameter) for parameter in model.parameters()]
            with torch.no_grad():
                examples.add_scaled(torch.eye(6)[index], sums)
            torch.testing.assert_close(torch.cat([s.flatten() for s in sums]), row, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(inner.grad, back, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("large", [-19.2, -15.0, 15.0, 19.2])
@pytest.mark.parametrize("norm", [0.02, 0.5])
def test_a_norm_is_that_of_the_gradient_though_one_factor_squares_to_zero(way, large, norm):
    """A server that chooses the model can make one factor of a linear layer's gradient small as it likes."""
    layer, x = nn.Linear(400, 300, bias=False), torch.zeros(4, 400)
    x[0] = 10**large / 20
    slope = norm / 10**large / 300**0.5
    with per_example_gradients(layer, way) as examples:
        (examples.model(x) * slope).sum(1).mean().backward()
        norms = examples.norms()
        sums = [torch.zeros_like(layer.weight)]
        with torch.no_grad():
            examples.add_scaled((0.01 / (norms + 1e-6)).clamp(max=1.0), sums)
    assert norms.tolist() == pytest.approx([norm, 0.0, 0.0, 0.0], rel=1e-2)
    assert float(sums[0].double().norm()) == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize("way", ["auto", "opacus"])
def test_many_small_numbers_beside_a_large_one_count_in_the_norm(way):
    # sums of squares in float32 lanes would lose the small ones: 0.4 % of the norm at this size
    model = nn.Conv2d(512, 4608, 1, bias=False)
    inputs, weights = torch.full((1, 512, 1, 1), 2e-4**0.5), torch.full((4608,), 2e-4**0.5)
    inputs[:, :16], weights[:1] = 1.0, 1.0
    with per_example_gradients(model, way) as examples:
        (examples.model(inputs).flatten(1) * weights).sum(1).mean().backward()
        norm = float(examples.norms()[0])
    assert norm == pytest.approx(float(inputs.double().norm() * weights.double().norm()), rel=1e-5)


@pytest.mark.parametrize(("large", "small"), [(19.5, -20.0), (-20.0, 20.0), (30.0, -30.0)])
def test_a_factor_whose_square_overflows_has_no_finite_norm(large, small):
    layer, x = nn.Linear(1, 1, bias=False), torch.tensor([[10**large], [1.0]])
    nn.init.zeros_(layer.weight)
    with per_example_gradients(layer) as examples:
        (examples.model(x) * torch.tensor([[10**small], [1.0]])).sum(1).mean().backward()
        assert examples.norms().isfinite().tolist() == [False, True]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv2d(1, 2, 3), (0, 1, 5, 5)),
        (nn.Linear(3, 2), (0, 3)),
        (nn.Linear(3, 2), (0, 4, 3)),
        (nn.GroupNorm(1, 2), (0, 2, 3, 3)),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Conv2d(2, 1, 1)), (0, 1, 5, 5)),
    ],
)
def test_a_batch_of_none_has_no_norms_and_adds_nothing(model, shape):
    with per_example_gradients(model) as examples:
        examples.model(torch.zeros(shape)).sum().backward()
        norms = examples.norms()
        sums = [torch.zeros_like(parameter) for parameter in model.parameters()]
        with torch.no_grad():
            examples.add_scaled(norms, sums)
    assert norms.shape == (0,)
    assert not any(each.any() for each in sums)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "a layer used twice"])
@pytest.mark.parametrize("way", WAYS)
def test_an_example_with_factor_zero_counts_as_zeros_even_when_it_is_not_finite(way, name):
    model, x = made(name, 4)
    x[2] = float("nan")
    clean = torch.stack(
        [torch.cat([g.flatten() for g in gradients]) for gradients in one_by_one(model, x[[0, 1, 3]])]
    )
    with per_example_gradients(model, way) as examples:
        loss_of(examples.model(x)).backward()
        assert examples.norms().isfinite().tolist() == [True, True, False, True]
        sums = [torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
        with torch.no_grad():
            examples.add_scaled(torch.tensor([1.0, 1.0, 0.0, 1.0]), sums)
    scale = float(clean.abs().max())
    total = torch.cat([each.flatten() for each in sums])
    torch.testing.assert_close(total / scale, clean.sum(0) / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_guarantee_afterwards_the_module_holds_no_hook_and_nothing_of_any_example(way):
    model, x = made("convolution", 3)
    before = [set(vars(layer)) for layer in model.modules()]
    expected = model(x)

    def fail():
        with per_example_gradients(model, way) as examples:
            loss_of(examples.model(x)).backward()
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert [set(vars(layer)) for layer in model.modules()] == before
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())
    for parameter in model.parameters():
        assert parameter.grad is None
        assert not {"grad_sample", "summed_grad", "_forward_counter"} & set(vars(parameter))
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(1, 2, 3),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.LayerNorm(4),
        nn.Embedding(3, 4),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    ],
)
def test_layers_without_a_rule_are_left_to_opacus(layer):
    assert not has_rules(nn.Sequential(nn.Linear(3, 3), layer))


def test_tied_weights_are_left_to_opacus():
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert not has_rules(tied)


def test_a_frozen_layer_needs_no_rule():
    assert has_rules(nn.Sequential(nn.LayerNorm(3).requires_grad_(False), nn.Linear(3, 3)))


def test_an_unknown_way_is_refused():
    with (
        pytest.raises(ValueError, match="gradients='ghost': choose one of auto, opacus"),
        per_example_gradients(nn.Linear(2, 2), "ghost"),
    ):
        pytest.fail("not refused")
