"""Open-set verification: are two images of the same person? Pairs, folds and error rates.

Two images are accepted as one person when their score is at or above a threshold. With G genuine
and I impostor pairs, at threshold t

    FAR(t) = #{impostor scores >= t} / I        (false acceptance rate)
    TAR(t) = #{genuine scores >= t} / G         (true acceptance rate), FRR(t) = 1 - TAR(t).

Protocol: Huang, Ramesh, Berg, Learned-Miller, Labeled Faces in the Wild (2007), View 2, as carried
out by InsightFace (``recognition/arcface_torch/eval/verification.py``).
"""

import numpy as np
from numpy.typing import NDArray

from fedpriv.pairs import FOLDS, VerificationPairs

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def verification_pairs(
    labels: NDArray[np.int64], random: np.random.Generator, max_pairs: int = 6000
) -> VerificationPairs:
    """Draw a balanced verification protocol from labelled images.

    Every genuine pair is used, or a uniform draw without replacement where there are more than
    ``max_pairs / 2``; as many impostor pairs are drawn uniformly without replacement. Pairs are
    shuffled over the folds, so an identity may occur in several of them (unlike LFW). Memory is
    O(N + max_pairs): pairs are drawn by rank and never enumerated.

    Args:
        labels: (N,) identity of every image.
        random: source of the draw.
        max_pairs: upper bound on P.

    Returns:
        The pairs; each fold lists its genuine pairs first, as LFW's ``pairs.txt`` does.

    Raises:
        ValueError: when there are fewer than ten pairs of either kind.
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    position = np.arange(len(ordered), dtype=np.int64)
    group_end = np.searchsorted(ordered, ordered, side="right").astype(np.int64)
    genuine_per_image, impostors_per_image = group_end - position - 1, len(ordered) - group_end
    available = int(genuine_per_image.sum()), int(impostors_per_image.sum())
    per_fold = min(*available, max_pairs // 2) // FOLDS
    if per_fold < 1:
        raise ValueError(
            f"labels: {available[0]} genuine and {available[1]} impostor pairs, max_pairs={max_pairs}; "
            f"{FOLDS} folds need at least {FOLDS} pairs of each kind"
        )

    def draw(partners: NDArray[np.int64], first_partner: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (2, FOLDS, per_fold) image indices of distinct pairs, drawn uniformly."""
        last = np.cumsum(partners)
        rank = random.choice(int(last[-1]), size=per_fold * FOLDS, replace=False)
        left = np.searchsorted(last, rank, side="right")
        right = first_partner[left] + rank - (last[left] - partners[left])
        return np.stack([order[left], order[right]]).reshape(2, FOLDS, per_fold)

    genuine = draw(genuine_per_image, position + 1)
    impostor = draw(impostors_per_image, group_end)
    left, right = np.concatenate([genuine, impostor], axis=2).reshape(2, -1)
    same = np.tile(np.repeat([True, False], per_fold), FOLDS)
    return VerificationPairs(left=left, right=right, same=same)


def cosine_scores(embeddings: FloatArray, pairs: VerificationPairs) -> NDArray[np.float64]:
    """Score each pair by <a, b> / (|a| |b|).

    Args:
        embeddings: (N, D) of any float type; a zero vector scores 0 with everything.
        pairs: P pairs of indices below N.

    Returns:
        (P,) float64 in [-1, 1].
    """
    vectors = embeddings.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1.0)
    scores = np.einsum("pd,pd->p", vectors[pairs.left], vectors[pairs.right])
    return np.asarray(np.clip(scores, -1.0, 1.0), dtype=np.float64)


def best_threshold(scores: FloatArray, same: BoolArray) -> float:
    """Return a threshold of maximal accuracy: the middle one of all equally good.

    Candidates lie half-way between neighbouring distinct scores and outside all of them, so the
    maximum over every real threshold is reached.

    Raises:
        ValueError: when ``scores`` and ``same`` differ in length, are empty or not finite.
    """
    _check(scores, same)
    values, inverse = np.unique(scores.astype(np.float64), return_inverse=True)
    genuine = np.bincount(inverse[same], minlength=len(values))
    impostors = np.bincount(inverse[~same], minlength=len(values))
    rejected_impostors = np.concatenate([[0], np.cumsum(impostors)])
    accepted_genuine = genuine.sum() - np.concatenate([[0], np.cumsum(genuine)])
    correct = rejected_impostors + accepted_genuine
    best = np.flatnonzero(correct == correct.max())
    chosen = int(best[len(best) // 2])
    padded = np.concatenate([[values[0] - 1.0], values, [values[-1] + 1.0]])
    # Rounding may put the half-way point on the lower neighbour, which would then be accepted.
    middle = (padded[chosen] + padded[chosen + 1]) / 2
    return float(middle if middle > padded[chosen] else padded[chosen + 1])


def ten_fold_accuracy(scores: FloatArray, same: BoolArray) -> tuple[float, float]:
    """Return mean and standard deviation of the accuracy over ten contiguous folds.

    For each fold the threshold is :func:`best_threshold` of the nine others. The deviation is the
    population one (divisor 10), as InsightFace prints it; the standard error of LFW is
    ``std / sqrt(10)``.

    Args:
        scores: (P,) higher means more alike.
        same: (P,) bool.

    Raises:
        ValueError: when P is not a positive multiple of ten, or as :func:`best_threshold` raises.
    """
    _check(scores, same)
    if len(scores) % FOLDS:
        raise ValueError(f"scores: {len(scores)} pairs do not fall into {FOLDS} equal folds")
    fold = np.arange(len(scores)) // (len(scores) // FOLDS)
    accuracies = []
    for held_out in range(FOLDS):
        test = fold == held_out
        threshold = best_threshold(scores[~test], same[~test])
        accuracies.append(np.mean((scores[test] >= threshold) == same[test]))
    return float(np.mean(accuracies)), float(np.std(accuracies))


def equal_error_rate(scores: FloatArray, same: BoolArray) -> float:
    """Return the error rate where FAR = FRR, by linear interpolation between ROC vertices.

    The curve is the empirical ROC itself, not its convex hull. It depends on the order of the
    scores only: any strictly increasing transform leaves the result unchanged.

    Raises:
        ValueError: as :func:`tar_at_far`.
    """
    far, tar = _roc(scores, same)
    gap = far - (1.0 - tar)
    after = int(np.searchsorted(gap, 0.0))
    step = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(far[after - 1] + step * (far[after] - far[after - 1]))


def tar_at_far(scores: FloatArray, same: BoolArray, far: float) -> float:
    """Return TAR at a given FAR, by linear interpolation between ROC vertices.

    Where the ROC is vertical at ``far`` its upper end counts. A ``far`` below 1 / I is not resolved
    by I impostor pairs: the value is then interpolated towards the TAR of zero false acceptances.

    Args:
        scores: (P,) higher means more alike.
        same: (P,) bool.
        far: false acceptance rate in [0, 1].

    Raises:
        ValueError: when lengths differ, a score is not finite, one of the two kinds of pair is
            missing, or ``far`` is outside [0, 1].
    """
    if not 0.0 <= far <= 1.0:
        raise ValueError(f"far={far}: a false acceptance rate lies between 0 and 1")
    curve_far, curve_tar = _roc(scores, same)
    below = int(np.searchsorted(curve_far, far, side="right")) - 1
    above = min(below + 1, len(curve_far) - 1)
    width = curve_far[above] - curve_far[below]
    share = (far - curve_far[below]) / width if width > 0 else 0.0
    return float(curve_tar[below] + share * (curve_tar[above] - curve_tar[below]))


def _roc(scores: FloatArray, same: BoolArray) -> Curve:
    """Return FAR and TAR at every distinct threshold, from (0, 0) to (1, 1)."""
    _check(scores, same)
    genuine_total, impostor_total = int(same.sum()), int((~same).sum())
    if not genuine_total or not impostor_total:
        raise ValueError(
            f"same: {genuine_total} genuine and {impostor_total} impostor pairs; need both kinds"
        )
    values, inverse = np.unique(scores, return_inverse=True)
    genuine = np.bincount(inverse[same], minlength=len(values))[::-1]
    impostors = np.bincount(inverse[~same], minlength=len(values))[::-1]
    far = np.concatenate([[0.0], np.cumsum(impostors) / impostor_total])
    tar = np.concatenate([[0.0], np.cumsum(genuine) / genuine_total])
    return far, tar


def _check(scores: FloatArray, same: BoolArray) -> None:
    """Refuse scores that no threshold can be drawn through."""
    if scores.ndim != 1 or scores.shape != same.shape or same.dtype != np.bool_ or not len(scores):
        raise ValueError(
            f"scores, same: need two equally long vectors, the second bool; "
            f"got {scores.shape}, {same.shape} {same.dtype}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores: not all are finite")
