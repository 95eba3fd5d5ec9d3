"""Synthetic faces: pixels and principal components fail on unseen people whom a small CNN tells apart."""

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.data.synthetic_faces import render_portraits
from fedpriv.metrics.verification import cosine_scores, ten_fold_accuracy, verification_pairs
from fedpriv.seeding import generator
from tests.data.synthetic.small_cnn import cosine_margin, network, outputs, standardised, train

PEOPLE, UNSEEN, IMAGES, SIZE = 220, 40, 15, 56
MIDDLE, INNER = slice(8, 48), 40
"""What the network sees of rows and columns: aligned faces fill it. Pixels and components are of all."""


def portraits(first, people):
    images = np.concatenate([render_portraits(0, first + person, IMAGES, SIZE) for person in range(people)])
    return images, np.repeat(np.arange(people, dtype=np.int64), IMAGES)


def principal_components(known, asked, count=64):
    """Project ``asked`` (M, D) on the largest principal components of ``known`` (N, D), N < D.

    Returns:
        The projections (M, count) and the singular values (count,), by the Gram matrix (N, N).
    """
    mean = known.mean(axis=0)
    centred = known - mean
    squares, left = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    spread = np.sqrt(squares[::-1][:count])
    directions = centred.T @ (left[:, ::-1][:, :count] / spread)
    return (asked - mean) @ directions, spread


@pytest.mark.slow
def test_unseen_people_are_told_apart_by_a_small_cnn_but_not_by_pixels_or_principal_components():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, people = portraits(0, PEOPLE)
    unseen, whom = portraits(10_000, UNSEEN)
    pairs = verification_pairs(whom, generator(0, "pairs"), 6000)

    def accuracy(scores):
        return ten_fold_accuracy(scores, pairs.same)[0]

    flat, known = (array.reshape(len(array), -1).astype(np.float32) for array in (unseen, images[::2]))
    pixels = accuracy(-np.linalg.norm(flat[pairs.left] - flat[pairs.right], axis=1))
    components, spread = principal_components(known, flat)
    plain = accuracy(cosine_scores(components, pairs))
    whitened = accuracy(cosine_scores(components / spread, pairs))

    model = network((3, INNER, INNER), (16, 32, 48, 48, 64), (2, 2, 1, 2, 1), (64,))
    weights = nn.Parameter(0.1 * torch.randn(PEOPLE, 64))
    inner = standardised(images[..., MIDDLE, MIDDLE])
    train(model, inner, people, 10, 5e-3, cosine_margin(weights), [weights], batch=48)
    tested = standardised(unseen[..., MIDDLE, MIDDLE])
    embeddings = outputs(model, tested) + outputs(model, np.ascontiguousarray(tested[..., ::-1]))
    learned = accuracy(cosine_scores(embeddings, pairs))
    torch.set_num_threads(threads)

    figures = f"pixels {pixels:.3f} PCA {plain:.3f} whitened {whitened:.3f} CNN {learned:.3f}"
    assert 0.52 < pixels < 0.70, figures
    assert 0.52 < plain < 0.70, figures
    assert whitened < 0.72, figures
    assert learned > 0.89, figures
