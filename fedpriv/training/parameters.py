"""All parameters of a module as one contiguous vector."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import nn

from fedpriv.types import AnyArray, FloatVector


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of a module's parameters, in the order of the vector."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def size(self) -> int:
        """Number of parameters P."""
        return sum(prod(shape) for shape in self.shapes)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of names and shapes: what both ends must agree on."""
        text = "\n".join(
            f"{name} {'x'.join(map(str, shape))}" for name, shape in zip(self.names, self.shapes, strict=True)
        )
        return hashlib.sha256(text.encode()).digest()


class FlatParameters:
    """Turns a module's parameters into views of one float32 vector of shape (P,).

    Loading a global model is then one copy, and an update one subtraction.

    Raises:
        ValueError: for parameters that are not float32, or buffers that training would change
            and a federation of parameters would miss.
    """

    def __init__(self, module: nn.Module) -> None:
        """Move the parameters of ``module`` into one vector; their values stay."""
        floating = [name for name, buffer in module.named_buffers() if buffer.is_floating_point()]
        if floating:
            raise ValueError(
                f"model: buffer {floating[0]} is not a parameter; use layers without running statistics"
            )
        named = list(module.named_parameters())
        for name, parameter in named:
            if parameter.dtype != torch.float32:
                raise ValueError(f"model: parameter {name} is {parameter.dtype}; only float32 is federated")
        self.layout = ParameterLayout(
            names=tuple(name for name, _ in named),
            shapes=tuple(tuple(parameter.shape) for _, parameter in named),
        )
        self.tensor = torch.empty(self.layout.size)
        start = 0
        for _, parameter in named:
            view = self.tensor[start : start + parameter.numel()].view(parameter.shape)
            view.copy_(parameter.data)
            parameter.data = view
            start += parameter.numel()

    def load(self, vector: AnyArray) -> None:
        """Set all parameters.

        Raises:
            ValueError: when ``vector`` has another length.
        """
        if vector.shape != (self.layout.size,):
            raise ValueError(f"parameters: got shape {vector.shape}, the model has ({self.layout.size},)")
        np.copyto(self.tensor.numpy(), vector)

    def read(self) -> FloatVector:
        """Return a copy of all parameters, shape (P,)."""
        return np.array(self.tensor.numpy(), dtype=np.float32)

    def change_since(self, start: FloatVector) -> FloatVector:
        """Return parameters minus ``start``, shape (P,)."""
        return np.asarray(self.tensor.numpy() - start, dtype=np.float32)
