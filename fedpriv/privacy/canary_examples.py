"""Canaries among the examples of DP-SGD: their gradients are known, and need no model to compute them.

Behind the :class:`~fedpriv.privacy.per_example.PerExample` protocol canaries are examples like any other:
their norms follow those of the real examples, and who clips and adds gradients clips and adds theirs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fedpriv.privacy.canaries import LOUDNESS, Canaries
from fedpriv.privacy.per_example import PerExample


class CanaryExamples:
    """Per-example gradients of a model's real examples and, after them, of m canaries.

    Canary i is an example whose gradient is -LOUDNESS x C x direction i, so that a step downhill moves the
    model along the direction. One that its coin leaves out has a gradient of zero, which in a sum over a
    Poisson sample is the same as its absence.

    Guarantee:
        - Real examples have the norms and the sums that they have without canaries.

    Edge cases:
        - A batch without a real example, or without a canary, is a batch like any other.
        - Parameters of ``backbone`` that are not trained have no part in a canary's gradient; nor has a
          private head.

    Attributes:
        model: call it for the forward pass of real examples.
        count: m.
    """

    def __init__(
        self, examples: PerExample, backbone: nn.Module, canaries: Canaries, clipping_norm: float
    ) -> None:
        """Put canaries behind ``examples``.

        Args:
            examples: of ``backbone``, or of it and what follows it: its parameters come first.
            backbone: the federated part.
            canaries: of as many parameters as the backbone has.
            clipping_norm: C.
        """
        self.model, self.count = examples.model, len(canaries.included)
        self._examples = examples
        self._parameters = list(backbone.parameters())
        trained = np.concatenate(
            [np.full(each.numel(), each.requires_grad, np.bool_) for each in self._parameters]
        )
        loudness = np.where(canaries.included, LOUDNESS * clipping_norm, 0.0)
        planted = [canaries.directions.sparse(i, float(norm)) for i, norm in enumerate(loudness)]
        self._places = torch.from_numpy(np.stack([each.places for each in planted]))
        gradients = np.stack([np.where(trained[each.places], -each.values, 0.0) for each in planted])
        self._gradients = torch.from_numpy(gradients.astype(np.float32))
        self._norms = self._gradients.norm(dim=1)
        self._real, self._rows = 0, torch.zeros(0, dtype=torch.int64)

    @property
    def bytes_per_example(self) -> int:
        """See :class:`PerExample`; canaries take less."""
        return self._examples.bytes_per_example

    def take(self, rows: Tensor, real: int) -> Tensor:
        """Take a part of a sample, and return the rows of it that need a backward pass.

        Args:
            rows: (B,) numbers of examples, each once; those from ``real`` on are canaries.
            real: how many real examples there are.
        """
        ours = rows >= real
        self._rows, own = rows[ours] - real, rows[~ours]
        self._real = len(own)
        return own

    def norms(self) -> Tensor:
        """Return the norms of real examples and canaries, (B,)."""
        canaries = self._norms[self._rows]
        return torch.cat([self._examples.norms(), canaries]) if self._real else canaries

    def add_scaled(self, factors: Tensor, sums: Sequence[Tensor]) -> None:
        """See :class:`PerExample`; ``factors`` in the order of :meth:`norms`."""
        own = factors.split([len(factors) - len(self._rows), len(self._rows)])
        if self._real:
            self._examples.add_scaled(own[0], sums)
        if not len(self._rows):
            return
        # supports are disjoint, so that setting is adding
        added = torch.zeros(sum(parameter.numel() for parameter in self._parameters))
        added[self._places[self._rows]] = own[1][:, None] * self._gradients[self._rows]
        parts = added.split([parameter.numel() for parameter in self._parameters])
        trained = [
            part for part, parameter in zip(parts, self._parameters, strict=True) if parameter.requires_grad
        ]
        for total, part in zip(sums, trained, strict=False):  # what follows the backbone has no canaries
            total.add_(part.view_as(total))

    def forget(self) -> None:
        """Drop everything about single examples."""
        self._examples.forget()
        self._real, self._rows = 0, self._rows[:0]
