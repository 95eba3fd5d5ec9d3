"""Rank-1 identification against a loop over all distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.metrics.identification import rank_one_rate


def by_loop(vectors: np.ndarray, labels: np.ndarray) -> float:
    gallery = {label: next(i for i in range(len(labels)) if labels[i] == label) for label in set(labels)}
    hits = []
    for probe in range(len(labels)):
        if probe in gallery.values():
            continue
        distance = {label: np.linalg.norm(vectors[probe] - vectors[i]) for label, i in gallery.items()}
        nearest = min(distance.values())
        hits.append([label for label in distance if distance[label] == nearest] == [labels[probe]])
    return float(np.mean(hits))


@given(seed=st.integers(0, 2**32 - 1), people=st.integers(1, 6), count=st.integers(8, 30))
@settings(max_examples=40, deadline=None)
def test_it_equals_a_loop_over_all_distances(seed: int, people: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, people, size=count) * 3
    vectors = random.normal(size=(count, 4)) + labels[:, None] / 6
    assert rank_one_rate(vectors, labels) == by_loop(vectors, labels)


def test_blocks_of_probes_are_counted_together() -> None:
    labels = np.arange(2000) % 2
    vectors = np.where(np.arange(2000) < 1500, labels, 1 - labels)[:, None].astype(np.float32)
    assert rank_one_rate(vectors, labels) == pytest.approx(1498 / 1998)


def test_a_probe_as_near_to_another_person_is_missed() -> None:
    assert rank_one_rate(np.ones((6, 3)), np.array([0, 0, 1, 1, 2, 2])) == 0.0


def test_people_with_one_image_are_in_the_gallery_alone() -> None:
    vectors = np.array([[0.0], [1.0], [0.9]])
    assert rank_one_rate(vectors, np.array([0, 1, 0])) == 0.0
    assert rank_one_rate(vectors, np.array([0, 1, 1])) == 1.0


def test_without_probes_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="nobody has two vectors"):
        rank_one_rate(np.zeros((3, 2)), np.arange(3))
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        rank_one_rate(np.zeros((3, 2)), np.arange(2))
