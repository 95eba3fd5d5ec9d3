"""How strongly each parameter's gradient depends on the private images: a client's sensitivity map."""

import numpy as np
import torch
from torch import Tensor, nn

from fedpriv.seeding import derive, generator
from fedpriv.tasks.base import Task
from fedpriv.training.data import ClientData
from fedpriv.types import FloatVector

EXAMPLES = 64
"""Examples that a map is computed from; each costs a backward pass through a backward pass."""


def sensitivity_map(
    task: Task,
    backbone: nn.Module,
    head: nn.Module | None,
    data: ClientData,
    seed: int,
    most_examples: int = EXAMPLES,
) -> FloatVector:
    r"""Estimate the sensitivity of every parameter of the backbone, scaled to [0, 1].

        S_m = mean_k |<v_k, d/dx_k (d loss(x_k, y_k) / d w_m)>|,    v_k ~ N(0, I),
        map = S / max S,

    over K examples with preprocessed images x_k. As |<v, J>| has mean sqrt(2 / pi) ||J||_2, S is an
    unbiased estimate of sqrt(2 / pi) mean_k ||J_m(x_k)||_2 with J_m(x_k) = d/dx_k (d loss / d w_m),
    of relative standard deviation 0.76 / sqrt(K) where the norms are alike; the constant drops out.

    FedML-HE (Jin et al. 2023, arXiv 2303.10837, section on the privacy map) takes mean_k |J_m(y_k)|,
    the derivative with respect to the LABEL y_k. We depart from it: labels of emotions and people are
    integers, and a robust regression loss has no second derivative in its label at large errors, so
    that every sensitivity would be 0 there. The image is what is to be protected, every task here has
    one, and every loss depends on it smoothly enough. (Sensitivity to the input: Novak et al. 2018,
    arXiv 1802.08760; as a measure of leakage by gradients: Mo et al. 2021, arXiv 2105.13929.)

    Guarantee:
        - Depends on ``seed``, the parameters and the data only. Parameters and their ``.grad`` stay.

    Edge cases:
        - Parameters that the loss does not reach, or that are frozen, get 0; so does everything where
          no gradient depends on the image.
        - Images are not augmented; layers are in training mode, as when gradients are taken.

    Args:
        task: gives preprocessing and loss.
        backbone: the federated part, as it is now.
        head: the client's own part, or None; it has no place in the map.
        data: the client's examples.
        seed: chooses examples and directions v_k.
        most_examples: upper bound on K; of more examples as many are drawn without replacement.

    Returns:
        (P,) float32 in [0, 1], in the order of ``backbone.parameters()``.

    Raises:
        ValueError: without examples, or when the model's derivatives are not finite.
    """
    count = min(len(data), most_examples)
    if count < 1:
        raise ValueError("sensitivity: need at least one example")
    chosen = np.sort(generator(seed, "examples").permutation(len(data))[:count])
    directions = torch.Generator().manual_seed(derive(seed, "directions") % 2**63)
    model = backbone if head is None else nn.Sequential(backbone, head)
    model.train()
    parameters = list(backbone.parameters())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for index in chosen:
        one = torch.tensor([int(index)])
        inputs = task.preprocess(data.batch(one))
        along = torch.randn(inputs.shape, generator=directions)
        slopes = gradient_slopes(task, model, parameters, inputs, data.targets[one], along)
        for place, slope in zip(total, slopes, strict=True):
            place += slope.abs()
    flat = torch.cat([each.flatten() for each in total])
    largest = float(flat.max())
    if not np.isfinite(largest):
        raise ValueError("sensitivity: the model's derivatives are not finite")
    return np.asarray((flat / largest if largest > 0 else flat).numpy(), dtype=np.float32)


def gradient_slopes(
    task: Task,
    model: nn.Module,
    parameters: list[nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
    along: Tensor,
) -> list[Tensor]:
    """Return d/dt of every parameter's gradient at inputs + t along, t = 0.

    The derivatives commute: <along, d loss / d inputs> is formed first and differentiated by all
    parameters at once (Pearlmutter 1994), which costs about two backward passes however many
    parameters there are.

    Args:
        task: gives the loss.
        model: maps inputs to what the loss takes.
        parameters: of the model, or some of them.
        inputs: (B, C, H, W) float32, preprocessed.
        targets: (B, ...).
        along: direction, shaped like ``inputs``.

    Returns:
        One tensor per parameter, shaped like it; zeros where the loss does not reach.
    """
    inputs = inputs.detach().requires_grad_()
    loss = task.loss(model(inputs), targets)
    (by_input,) = torch.autograd.grad(loss, inputs, create_graph=True)
    slope = (by_input * along).sum()
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    if not slope.requires_grad or not learned:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = iter(torch.autograd.grad(slope, learned, allow_unused=True, materialize_grads=True))
    return [
        next(found) if parameter.requires_grad else torch.zeros_like(parameter) for parameter in parameters
    ]
