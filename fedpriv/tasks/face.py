"""Are two pictures of the same person? Open-set verification of people never trained on."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.metrics.identification import rank_one_rate
from fedpriv.metrics.verification import (
    best_threshold,
    cosine_scores,
    equal_error_rate,
    tar_at_far,
    ten_fold_accuracy,
    verification_pairs,
)
from fedpriv.models.margin_head import CosineHead, arcface, cosface
from fedpriv.pairs import VerificationPairs
from fedpriv.seeding import derive, generator
from fedpriv.tasks.augment import Draw, augmented
from fedpriv.tasks.base import MetricSpec, Task
from fedpriv.tasks.batches import BATCH, in_batches
from fedpriv.tasks.face_picture import draw_pairs
from fedpriv.types import Metrics

_FALSE_ACCEPTANCE_RATES = {"tar_at_far_1e-2": 100, "tar_at_far_1e-3": 1000}


class FaceTask(Task):
    """Embeddings of faces; unseen people; accuracy of verification over ten folds.

    The backbone's embedding is federated. During training a client classifies its own k people by a
    :class:`~fedpriv.models.margin_head.CosineHead` under the CosFace or the ArcFace loss. Neither the
    head nor the number of people leaves the client.

    Args:
        loss: ``cosface`` (Wang et al. 2018, arXiv 1801.09414, equation 4) or ``arcface`` (Deng et al.
            2019, arXiv 1801.07698, equation 3).
        scale: s of either loss.
        margin: m, of CosFace a difference of cosines, of ArcFace an angle in radians.
        codewords: size of the public codebook, see :meth:`build_head`.
        trainable_head: learn the class vectors; otherwise they stay the codewords they start from.
        augmentation: strength of the changes of training images, see
            :func:`~fedpriv.tasks.augment.augmented`; 0 mirrors only.
        max_pairs: upper bound on the pairs of the verification protocol.
        pair_seed: draws the pairs; the same for every round, model and baseline.

    Raises:
        UserError: when a setting is out of range.
    """

    metric = MetricSpec("verification_accuracy", "10-fold verification accuracy", lower_is_better=False)
    baseline_label = "raw-pixel distance"

    def __init__(
        self,
        loss: str = "cosface",
        scale: float = 16.0,
        margin: float = 0.2,
        codewords: int = 512,
        trainable_head: bool = False,
        augmentation: float = 1.0,
        max_pairs: int = 6000,
        pair_seed: int = 0,
    ) -> None:
        """Check and keep the settings."""
        widest, unit = (2.0, "2, a difference of cosines")
        if loss == "arcface":
            widest, unit = math.pi / 2, "pi/2 radians"
        for field, value, valid, mend in (
            ("loss", loss, loss in ("cosface", "arcface"), "cosface or arcface"),
            ("scale", scale, 0 < scale < float("inf"), "positive"),
            ("margin", margin, 0 <= margin < widest, f"from 0 to below {unit}"),
            ("codewords", codewords, codewords >= 2, "at least 2"),
            ("augmentation", augmentation, 0 <= augmentation <= 2, "from 0 to 2"),
            ("max_pairs", max_pairs, max_pairs >= 20, "at least 20, one pair of each kind per fold"),
        ):
            if not valid:
                raise UserError(f"task.{field}={value}: must be {mend}")
        self._widen = arcface if loss == "arcface" else cosface
        self.scale, self.margin = scale, margin
        self.codewords, self.trainable_head = codewords, trainable_head
        self.augmentation = augmentation
        self.max_pairs, self.pair_seed = max_pairs, pair_seed

    def augment(self, inputs: Tensor, draw: Draw) -> Tensor:
        """Mirror, move and light each image anew, see :func:`~fedpriv.tasks.augment.augmented`."""
        return augmented(inputs, draw, strength=self.augmentation)

    def client_targets(self, dataset: ImageDataset) -> Tensor:
        """Return (N,) int64: the client's k people renumbered 0 .. k-1 in ascending order."""
        return torch.from_numpy(np.unique(dataset.subjects, return_inverse=True)[1].astype(np.int64))

    def build_head(self, dataset: ImageDataset, features: int) -> CosineHead:
        """Return a cosine classifier over a public codebook, the client's people first.

        The codebook holds ``codewords`` random unit vectors, the same for every client and run. A
        person's codeword is SHA-256(name) modulo its size; within a client the next free one. Rows
        0 .. k-1 belong to the client's people in the order of :meth:`client_targets`, the others are
        codewords of nobody here. So clients that never speak of their people still push them apart,
        where heads of their own classes alone let embeddings of different clients collapse (Yu et
        al., Federated Learning with Only Positive Labels, ICML 2020, arXiv 2004.10342). Fixed class
        vectors: Hoffer et al. 2018, arXiv 1801.04540.

        Guarantee:
            - class vectors depend on names only, never on images: with ``trainable_head`` off the
              head spends no privacy budget and needs no memory between rounds.

        Edge cases:
            - a client with one person still has codewords of others to be told from.
            - two people of different clients may share a codeword; about people^2 / (2 codewords)
              pairs do.
            - a person's codeword depends on who else the client has, where two would have had the same: no
              epsilon of single images hides **which people** a client has. It is taken as public.

        Args:
            dataset: the client's images.
            features: width of the backbone's output.

        Raises:
            UserError: when the client has more people than there are codewords.
        """
        people = np.unique(dataset.subjects)
        if len(people) > self.codewords:
            raise UserError(
                f"task.codewords={self.codewords}: a client has {len(people)} people; use at least as many"
            )
        taken: dict[int, None] = {}
        for person in people:
            code = derive(0, "codeword", dataset.subject_names[person]) % self.codewords
            while code in taken:
                code = (code + 1) % self.codewords
            taken[code] = None
        own = np.fromiter(taken, dtype=np.int64, count=len(taken))
        order = np.concatenate([own, np.setdiff1d(np.arange(self.codewords), own)])
        codebook = generator(0, "codebook").standard_normal((self.codewords, features))
        codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
        return CosineHead(torch.from_numpy(codebook[order].astype(np.float32)), self.trainable_head)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -log softmax(s z)_y, z the cosines with the margin at the own class y.

        For CosFace that is

            -log( exp(s (cos_y - m)) / (exp(s (cos_y - m)) + sum_{k != y} exp(s cos_k)) ),

        for ArcFace the same with cos(theta_y + m) for cos_y - m; see
        :mod:`fedpriv.models.margin_head`. With a single class (K = 1) it is exactly 0 and so is its
        gradient; the heads of :meth:`build_head` have at least 2. An empty batch has loss 0.

        Args:
            outputs: (B, K) cosines.
            targets: (B,) int64 below K.
        """
        logits = self.scale * self._widen(outputs, targets, self.margin)
        return functional.cross_entropy(logits, targets, reduction="sum") / max(1, len(targets))

    def pairs(self, dataset: ImageDataset) -> VerificationPairs:
        """Return the published pairs, else ones drawn: always the same for the same identities.

        Raises:
            UserError: when there are too few images for ten folds.
        """
        if dataset.pairs is not None:
            return dataset.pairs
        try:
            return verification_pairs(
                dataset.subjects, generator(self.pair_seed, "verification_pairs"), self.max_pairs
            )
        except ValueError as error:
            raise UserError(f"evaluation.test_subjects: {error}; hold out more people or images") from error

    def embed(self, backbone: nn.Module, dataset: ImageDataset) -> NDArray[np.float32]:
        """Return (N, D) embeddings: that of each image plus that of its mirror image, not normalised.

        The mode of the backbone (training or evaluation) is left as found.
        """

        def both(images: Tensor) -> Tensor:
            inputs = self.preprocess(images)
            return backbone(inputs) + backbone(inputs.flip(3))  # type: ignore[no-any-return]

        return in_batches(backbone, dataset, both)

    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Measure cosine similarity of mirrored embeddings on the pairs of unseen people.

        The protocol is InsightFace's (``arcface_torch/eval/verification.py``): sum of the embeddings of
        an image and its mirror image, normalised; ten folds, the threshold of each from the nine
        others. It differs in that every threshold is tried, not squared distances 0, 0.01 ... 3.99.

        Returns:
            ``verification_accuracy``, ``verification_accuracy_std`` (over folds),
            ``equal_error_rate``, ``tar_at_far_1e-2`` and ``tar_at_far_1e-3`` (each only where there
            are as many impostor pairs as resolve it, 100 and 1,000) and, unless the data publish
            pairs, ``rank1_identification``: first images of all people as gallery, the others as
            probes. All in [0, 1].
        """
        pairs = self.pairs(dataset)
        embeddings = self.embed(backbone, dataset)
        measured = _measure(cosine_scores(embeddings, pairs), pairs)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return measured | _identify(dataset, embeddings / np.where(lengths > 0, lengths, 1.0))

    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Measure minus the Euclidean distance of pixels on the same pairs, mirror images added too.

        Each image is summed with its mirror image, as embeddings are: on ORL faces this is the
        stronger of the two plain distances.
        """
        del training
        pairs = self.pairs(test)
        pixels = np.asarray(test.images, dtype=np.float32)
        pixels = (pixels + pixels[..., ::-1]).reshape(len(test), -1)
        distances = [
            np.linalg.norm(pixels[pairs.left[part]] - pixels[pairs.right[part]], axis=1)
            for part in np.array_split(np.arange(len(pairs)), -(-len(pairs) // BATCH))
        ]
        return _measure(-np.concatenate(distances), pairs) | _identify(test, pixels)

    def draw(self, backbone: nn.Module, dataset: ImageDataset, count: int, seed: int) -> Image.Image:
        """Draw pairs, half of them of one person, each with its score and the verdict on it.

        A frame is green where the verdict at the most accurate threshold over all pairs of
        ``dataset`` is right, red where it is wrong.

        Args:
            backbone: gives the embeddings.
            dataset: images of unseen people.
            count: pairs to show; rounded up to an even number and bounded by the protocol.
            seed: chooses the pairs.

        Raises:
            ValueError: when ``count`` is not positive.
        """
        if count < 1:
            raise ValueError(f"count={count}: draw at least one pair")
        pairs = self.pairs(dataset)
        scores = cosine_scores(self.embed(backbone, dataset), pairs)
        random = generator(seed, "draw")
        kinds = [
            random.permutation(np.flatnonzero(pairs.same == kind))[: -(-count // 2)] for kind in (True, False)
        ]
        shown = [int(pair) for both in zip(*kinds, strict=True) for pair in both]
        return draw_pairs(dataset, pairs, shown, scores, best_threshold(scores, pairs.same))


def _measure(scores: NDArray[np.floating], pairs: VerificationPairs) -> Metrics:
    """Return every verification metric that these scores resolve."""
    accuracy, deviation = ten_fold_accuracy(scores, pairs.same)
    measured = {
        "verification_accuracy": accuracy,
        "verification_accuracy_std": deviation,
        "equal_error_rate": equal_error_rate(scores, pairs.same),
    }
    impostors = int(np.sum(~pairs.same))
    for name, needed in _FALSE_ACCEPTANCE_RATES.items():
        if impostors >= needed:
            measured[name] = tar_at_far(scores, pairs.same, 1 / needed)
    return measured


def _identify(dataset: ImageDataset, vectors: NDArray[np.floating]) -> Metrics:
    """Return rank-1 identification where it is known who everybody is."""
    if dataset.pairs is not None:
        return {}
    return {"rank1_identification": rank_one_rate(vectors, dataset.subjects)}
