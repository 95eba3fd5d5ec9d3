import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition import by_subject, dirichlet, iid
from fedpriv.errors import UserError


def people(counts):
    """A data set with ``counts[k]`` images of person k, in mixed order."""
    subjects = (
        np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    )
    images = np.zeros((len(subjects), 1, 1, 1), dtype=np.uint8)
    return ImageDataset("test", images, subjects.copy(), subjects, tuple(map(str, range(len(counts)))))


COUNTS = st.lists(st.integers(1, 12), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(1, 6), st.integers(0, 2**32), st.sampled_from([by_subject, iid, dirichlet]))
def test_every_image_belongs_to_exactly_one_client(counts, clients, seed, partition):
    dataset = people(counts)
    try:
        shares = partition(dataset, clients, seed)
    except UserError:
        assert partition is dirichlet or clients > (len(counts) if partition is by_subject else len(dataset))
        return
    assert len(shares) == clients
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(len(dataset)))
    for share in shares:
        assert share.dtype == np.int64
        assert len(share) > 0
        assert np.array_equal(share, np.sort(share))


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 12), st.integers(0, 100))
def test_by_subject_keeps_people_whole_and_clients_within_one_person(counts, clients, seed):
    clients = min(clients, len(counts))
    dataset = people(counts)
    groups = [set(dataset.subjects[share]) for share in by_subject(dataset, clients, seed)]
    sizes = [len(group) for group in groups]
    assert sum(sizes) == len(set().union(*groups)) == len(counts)
    assert max(sizes) - min(sizes) <= 1


def test_iid_shares_differ_by_at_most_one_image_and_mix_people():
    shares = iid(people([30, 30, 30, 13]), 4, 0)
    assert sorted(len(share) for share in shares) == [25, 26, 26, 26]
    subjects = people([30, 30, 30, 13]).subjects
    for share in shares:
        assert len(set(subjects[share])) == 4


def concentration(alpha):
    """Mean over people of the largest share of their images that one client holds."""
    dataset = people([100] * 30)
    shares = dirichlet(dataset, 5, seed=1, alpha=alpha, min_images=1)
    counts = np.array([np.bincount(dataset.subjects[share], minlength=30) for share in shares])
    return float(np.mean(counts.max(axis=0) / counts.sum(axis=0)))


def test_a_small_alpha_gives_each_person_to_one_client_and_a_large_one_spreads_evenly():
    assert concentration(0.001) > 0.98
    assert concentration(1e6) < 0.22
    assert 0.3 < concentration(1.0) < 0.7


def test_dirichlet_draws_again_until_each_client_has_enough():
    dataset = people([10] * 6)
    for seed in range(10):
        assert min(map(len, dirichlet(dataset, 4, seed, alpha=0.3, min_images=8))) >= 8


@pytest.mark.parametrize("partition", [by_subject, iid, dirichlet])
def test_the_same_seed_gives_the_same_shares_and_another_does_not(partition):
    dataset = people([20] * 10)
    first, again, other = (partition(dataset, 4, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d: by_subject(d, 4, 0),
            r"federation\.clients=4: only 3 people to train on; lower it to 3 or fewer",
        ),
        (lambda d: iid(d, 13, 0), r"federation\.clients=13: .* the data has 12; lower it to 12 or fewer"),
        (
            lambda d: dirichlet(d, 7, 0),
            r"federation\.clients=7: 2 images each need 14, the data has 12; lower it to 6",
        ),
        (lambda d: dirichlet(d, 2, 0, alpha=0.0), r"partition\.alpha=0\.0: must be positive"),
        (lambda d: dirichlet(d, 2, 0, alpha=float("nan")), r"partition\.alpha=nan: must be positive"),
        (lambda d: dirichlet(d, 2, 0, alpha=1e300), r"partition\.alpha=1e\+300: .* at most 1000000"),
        (lambda d: dirichlet(d, 2, 0, min_images=0), r"partition\.min_images=0: must be at least 1"),
        (lambda d: dirichlet(d, 6, 0, alpha=1e-9), r"partition\.alpha=1e-09: some of 6 clients .*; raise"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_with_a_mend(call, message):
    with pytest.raises(UserError, match=message):
        call(people([4, 4, 4]))
