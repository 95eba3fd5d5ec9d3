"""Are two pictures of the same person? Open-set verification of people never trained on."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.metrics.verification import (
    best_threshold,
    cosine_scores,
    equal_error_rate,
    tar_at_far,
    ten_fold_accuracy,
    verification_pairs,
)
from fedpriv.models.face_cnn import CosineHead
from fedpriv.pairs import VerificationPairs
from fedpriv.seeding import derive, generator
from fedpriv.tasks.base import MetricSpec, Task
from fedpriv.types import Metrics

_BATCH = 256
_SHIFT, _ZOOM, _ROTATION_RAD, _LIGHT = 0.06, 0.1, 0.17, 0.2
_FACE_HEIGHT, _GAP, _CAPTION = 112, 6, 20
_BACKGROUND = (24, 26, 30)
_RIGHT, _WRONG = (60, 220, 90), (255, 70, 60)


class FaceTask(Task):
    """Embeddings of faces; unseen people; accuracy of verification over ten folds.

    The backbone's embedding is federated. During training a client classifies its own k people by a
    :class:`~fedpriv.models.face_cnn.CosineHead` under the CosFace loss (Wang et al. 2018, arXiv
    1801.09414, equation 4). Neither the head nor the number of people leaves the client.

    Args:
        scale: s of CosFace.
        margin: m of CosFace.
        codewords: size of the public codebook, see :meth:`build_head`.
        trainable_head: learn the class vectors; otherwise they stay the codewords they start from.
        max_pairs: upper bound on the pairs of the verification protocol.
        pair_seed: draws the pairs; the same for every round, model and baseline.

    Raises:
        UserError: when a setting is out of range.
    """

    metric = MetricSpec("verification_accuracy", "10-fold verification accuracy", lower_is_better=False)
    baseline_label = "raw-pixel distance"

    def __init__(
        self,
        scale: float = 16.0,
        margin: float = 0.2,
        codewords: int = 512,
        trainable_head: bool = False,
        max_pairs: int = 6000,
        pair_seed: int = 0,
    ) -> None:
        """Check and keep the settings."""
        for field, value, valid, mend in (
            ("scale", scale, 0 < scale < float("inf"), "positive"),
            ("margin", margin, 0 <= margin < 2, "from 0 to below 2, a difference of cosines"),
            ("codewords", codewords, codewords >= 2, "at least 2"),
            ("max_pairs", max_pairs, max_pairs >= 20, "at least 20, one pair of each kind per fold"),
        ):
            if not valid:
                raise UserError(f"task.{field}={value}: must be {mend}")
        self.scale, self.margin = scale, margin
        self.codewords, self.trainable_head = codewords, trainable_head
        self.max_pairs, self.pair_seed = max_pairs, pair_seed

    def augment(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Mirror, shift, zoom, rotate, brighten and stretch the contrast of each image by itself.

        Half the images are mirrored. Shifts are up to 6 % of the side, zooms 10 %, rotations 0.17 rad
        (about the centre, in pixels, whatever the aspect), brightness 0.2 and contrast 20 %, all
        uniform. What comes in from outside repeats the border.

        Args:
            inputs: (B, C, H, W) float, B may be 0.
            random: generator on the device of ``inputs``.
        """
        count, _, height, width = inputs.shape
        if not count:
            return inputs
        uniform = torch.rand((7, count), generator=random, device=inputs.device, dtype=inputs.dtype)
        mirror = torch.where(uniform[0] < 0.5, -1.0, 1.0)
        spread = 2 * uniform[1:] - 1
        angle, zoom = _ROTATION_RAD * spread[0], 1 + _ZOOM * spread[1]
        across, down = 2 * _SHIFT * spread[2], 2 * _SHIFT * spread[3]
        cosine, sine = zoom * angle.cos(), zoom * angle.sin()
        rows = [mirror * cosine, -sine * height / width, across, mirror * sine * width / height, cosine, down]
        grid = functional.affine_grid(
            torch.stack(rows, dim=1).view(count, 2, 3), list(inputs.shape), align_corners=False
        )
        moved = functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
        contrast, brightness = 1 + _LIGHT * spread[4], _LIGHT * spread[5]
        return moved * contrast.view(-1, 1, 1, 1) + brightness.view(-1, 1, 1, 1)

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
        """Return the mean CosFace loss.

            -log( exp(s (cos_y - m)) / (exp(s (cos_y - m)) + sum_{k != y} exp(s cos_k)) )

        With a single class (K = 1) it is exactly 0 and so is its gradient; the heads of
        :meth:`build_head` have at least 2. An empty batch has loss 0.

        Args:
            outputs: (B, K) cosines.
            targets: (B,) int64 below K.
        """
        own = functional.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        logits = self.scale * (outputs - self.margin * own)
        return functional.cross_entropy(logits, targets, reduction="sum") / max(1, len(targets))

    def pairs(self, dataset: ImageDataset) -> VerificationPairs:
        """Return the verification protocol on ``dataset``: always the same for the same identities.

        Raises:
            UserError: when there are too few images for ten folds.
        """
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
        parameter = next(backbone.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        training = backbone.training
        backbone.eval()
        parts = []
        try:
            with torch.inference_mode():
                for start in range(0, len(dataset), _BATCH):
                    images = torch.from_numpy(np.array(dataset.images[start : start + _BATCH])).to(device)
                    inputs = self.preprocess(images)
                    parts.append((backbone(inputs) + backbone(inputs.flip(3))).cpu().numpy())
        finally:
            backbone.train(training)
        return np.concatenate(parts)

    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Measure cosine similarity of mirrored embeddings on the pairs of unseen people.

        Returns:
            ``verification_accuracy``, ``verification_accuracy_std`` (over folds),
            ``equal_error_rate`` and ``tar_at_far_1e-2``, all in [0, 1].
        """
        pairs = self.pairs(dataset)
        return _measure(cosine_scores(self.embed(backbone, dataset), pairs), pairs)

    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Measure minus the Euclidean distance of pixels on the same pairs, mirror images added too.

        Each image is summed with its mirror image, as embeddings are: on ORL faces this is the
        stronger of the two plain distances.
        """
        del training
        pairs = self.pairs(test)
        pixels = np.asarray(test.images, dtype=np.float32)
        pixels = (pixels + pixels[..., ::-1]).reshape(len(test), -1)
        return _measure(-np.linalg.norm(pixels[pairs.left] - pixels[pairs.right], axis=1), pairs)

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
        threshold = best_threshold(scores, pairs.same)
        random = generator(seed, "draw")
        kinds = [
            random.permutation(np.flatnonzero(pairs.same == kind))[: -(-count // 2)] for kind in (True, False)
        ]
        shown = [int(pair) for both in zip(*kinds, strict=True) for pair in both]
        tiles = [_tile(dataset, pairs, pair, float(scores[pair]), threshold) for pair in shown]
        columns = 2 * max(1, round((len(tiles) / 3.2) ** 0.5))
        width, height = tiles[0].size
        rows = -(-len(tiles) // columns)
        sheet = Image.new("RGB", (columns * width, _CAPTION + rows * height), _BACKGROUND)
        text = f"score and truth; accepted from {threshold:.2f}   green: right   red: wrong"
        ImageDraw.Draw(sheet).text((_GAP, 3), text, fill="white", font=ImageFont.load_default(size=13))
        for index, tile in enumerate(tiles):
            sheet.paste(tile, (index % columns * width, _CAPTION + index // columns * height))
        return sheet


def _measure(scores: NDArray[np.floating], pairs: VerificationPairs) -> Metrics:
    """Return every verification metric of these scores."""
    accuracy, deviation = ten_fold_accuracy(scores, pairs.same)
    return {
        "verification_accuracy": accuracy,
        "verification_accuracy_std": deviation,
        "equal_error_rate": equal_error_rate(scores, pairs.same),
        "tar_at_far_1e-2": tar_at_far(scores, pairs.same, 0.01),
    }


def _tile(
    dataset: ImageDataset, pairs: VerificationPairs, pair: int, score: float, threshold: float
) -> Image.Image:
    """Return both faces of a pair side by side in a coloured frame, the score below."""
    _, height, width = dataset.image_shape
    size = (max(1, round(_FACE_HEIGHT * width / height)), _FACE_HEIGHT)
    same = bool(pairs.same[pair])
    colour = _RIGHT if (score >= threshold) == same else _WRONG
    tile = Image.new("RGB", (2 * size[0] + 4 * _GAP, size[1] + 3 * _GAP + _CAPTION), _BACKGROUND)
    pen = ImageDraw.Draw(tile)
    pen.rectangle((2, 2, tile.width - 3, tile.height - 3), outline=colour, width=2)
    for place, index in enumerate((pairs.left[pair], pairs.right[pair])):
        pixels = np.ascontiguousarray(dataset.images[index].transpose(1, 2, 0))
        face = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
        tile.paste(
            face.resize(size, Image.Resampling.BICUBIC), ((1 + place) * _GAP + place * size[0] + 3, _GAP)
        )
    kind = "same" if same else "different"
    pen.text(
        (_GAP + 3, size[1] + 2 * _GAP),
        f"{score:.2f}  {kind}",
        fill=colour,
        font=ImageFont.load_default(size=13),
    )
    return tile
