"""Margins against the published formulas evaluated angle by angle, and their gradients by differences."""

import math

import numpy as np
import pytest
import torch

from fedpriv.models.margin_head import CosineHead, arcface, cosface


def test_head_returns_cosines_whatever_the_lengths() -> None:
    vectors, inputs = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    head = CosineHead(torch.from_numpy(3 * vectors), trainable=True)
    expected = inputs @ vectors.T / np.outer(np.linalg.norm(inputs, axis=1), np.linalg.norm(vectors, axis=1))
    np.testing.assert_allclose(head(torch.from_numpy(10 * inputs)).detach().numpy(), expected, atol=1e-6)


def test_a_zero_embedding_has_cosine_zero_and_a_finite_gradient() -> None:
    head = CosineHead(torch.eye(3), trainable=True)
    embedding = torch.zeros(1, 3, requires_grad=True)
    cosines = head(embedding)
    assert cosines.tolist() == [[0.0, 0.0, 0.0]]
    cosines.sum().backward()
    assert embedding.grad is not None
    assert bool(embedding.grad.isfinite().all())


def test_fixed_class_vectors_are_copied_and_never_learned() -> None:
    vectors = torch.eye(3)
    head = CosineHead(vectors, trainable=False)
    vectors.zero_()
    torch.testing.assert_close(head.classes.weight, torch.eye(3))
    assert not any(parameter.requires_grad for parameter in head.parameters())


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5, 1.5])
def test_arcface_widens_the_angle_of_the_own_class_alone(margin: float) -> None:
    """cos(theta + m) by acos and cos, up to where theta + m reaches pi; cos(theta) - m sin(m) beyond."""
    angles = np.linspace(0.01, math.pi - 0.01, 400)
    others = np.random.default_rng(0).uniform(-1, 1, size=(400, 3))
    cosines, targets = others.copy(), np.arange(400) % 3
    cosines[np.arange(400), targets] = np.cos(angles)
    expected = cosines.copy()
    for row, angle in enumerate(angles):
        inside = angle + margin < math.pi
        expected[row, targets[row]] = (
            math.cos(angle + margin) if inside else math.cos(angle) - margin * math.sin(margin)
        )
    found = arcface(torch.from_numpy(cosines), torch.from_numpy(targets), margin)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.5])
def test_arcface_falls_as_the_angle_grows_from_0_to_pi(margin: float) -> None:
    cosines = torch.cos(torch.linspace(0, math.pi, 5000, dtype=torch.float64)).unsqueeze(1)
    values = arcface(cosines, torch.zeros(5000, dtype=torch.int64), margin)[:, 0]
    # below an angle of 0.001 the sine is held, which may cost the order 1e-6 there
    assert float(values.diff().max()) < 1e-5
    assert bool((values[2:].diff() < 0).all())


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.0, 3.0])
def test_the_gradient_of_arcface_equals_differences_of_the_formula(angle: float) -> None:
    margin, step = 0.5, 1e-6

    def formula(cosine: float) -> float:
        theta = math.acos(cosine)
        return math.cos(theta + margin) if theta < math.pi - margin else cosine - margin * math.sin(margin)

    cosine = math.cos(angle)
    cosines = torch.tensor([[cosine, 0.1]], dtype=torch.float64, requires_grad=True)
    arcface(cosines, torch.tensor([0]), margin).sum().backward()
    assert cosines.grad is not None
    difference = (formula(cosine + step) - formula(cosine - step)) / (2 * step)
    assert cosines.grad[0].tolist() == pytest.approx([difference, 1.0], rel=1e-5)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000001, -1.0000001])
def test_the_gradient_of_arcface_is_finite_where_the_angle_is_0_or_pi(cosine: float) -> None:
    cosines = torch.tensor([[cosine, 0.0]], requires_grad=True)
    values = arcface(cosines, torch.tensor([0]), 0.5)
    values.sum().backward()
    assert cosines.grad is not None
    assert bool(values.isfinite().all())
    assert bool(cosines.grad.isfinite().all())


@pytest.mark.parametrize("margin", [arcface, cosface])
def test_a_margin_leaves_its_input_alone_and_takes_an_empty_batch(margin) -> None:
    cosines = torch.tensor([[0.4, 0.2]])
    margin(cosines, torch.tensor([1]), 0.3)
    assert cosines.tolist() == torch.tensor([[0.4, 0.2]]).tolist()
    assert margin(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), 0.3).shape == (0, 5)


def test_cosface_lowers_the_own_cosine_alone() -> None:
    found = cosface(torch.tensor([[0.5, -0.2], [0.1, 0.9]]), torch.tensor([0, 1]), 0.25)
    torch.testing.assert_close(found, torch.tensor([[0.25, -0.2], [0.1, 0.65]]))
