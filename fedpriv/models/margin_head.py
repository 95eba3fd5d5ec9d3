"""The cosine classifier that sits on an embedding during training, and the margins it is trained with."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST_SINE_SQUARED = 1e-6


class CosineHead(nn.Module):
    """Cosine of the angle between an embedding and each class vector.

        output[b, k] = <x_b, w_k> / (|x_b| |w_k|)

    The layer with the parameters is a plain ``nn.Linear`` on normalised embeddings. Its rows' lengths
    divide the output as constants, without a gradient, so that Opacus' rule for linear layers gives
    exact per-sample gradients.

    Attributes:
        classes: ``nn.Linear(D, K, bias=False)`` whose rows are the class vectors.
    """

    def __init__(self, class_vectors: Tensor, trainable: bool) -> None:
        """Start from given class vectors.

        Args:
            class_vectors: (K, D) float32, no row zero; copied.
            trainable: whether they are learned, or stay what they are.
        """
        super().__init__()
        count, features = class_vectors.shape
        self.classes = nn.Linear(features, count, bias=False)
        with torch.no_grad():
            self.classes.weight.copy_(class_vectors)
        self.classes.weight.requires_grad_(trainable)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings (B, D) to cosines (B, K); a zero embedding has cosine 0 with everything."""
        lengths = self.classes.weight.detach().norm(dim=1)
        return self.classes(functional.normalize(embeddings, dim=1)) / lengths  # type: ignore[no-any-return]


def cosface(cosines: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Lower the cosine of each example's own class: cos_y - m.

    Wang et al., CosFace, CVPR 2018, arXiv 1801.09414, equation 4, before scaling.

    Args:
        cosines: (B, K).
        targets: (B,) int64 below K.
        margin: m, a difference of cosines.

    Returns:
        (B, K): ``cosines`` with the own class's entry lowered.
    """
    return cosines - margin * functional.one_hot(targets, cosines.shape[1]).to(cosines.dtype)


def arcface(cosines: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Widen the angle to each example's own class: cos(theta_y + m).

    Deng et al., ArcFace, CVPR 2019, arXiv 1801.07698, equation 3, before scaling. Beyond
    theta_y = pi - m, where the cosine would rise again, the value is cos_y - m sin(m), as in
    InsightFace: it falls with theta_y everywhere. The gradient stays finite at theta_y = 0 and pi:
    sin(theta_y) counts as at least 0.001.

    Args:
        cosines: (B, K); rounding beyond [-1, 1] does no harm.
        targets: (B,) int64 below K.
        margin: m in radians, from 0 to below pi / 2.

    Returns:
        (B, K): ``cosines`` with the own class's entry replaced.
    """
    own = cosines.gather(1, targets.unsqueeze(1))
    sine = (1.0 - own.square()).clamp_min(_LEAST_SINE_SQUARED).sqrt()
    widened = own * math.cos(margin) - sine * math.sin(margin)
    lowered = own - margin * math.sin(margin)
    own = torch.where(own > math.cos(math.pi - margin), widened, lowered)
    return cosines.scatter(1, targets.unsqueeze(1), own)
