import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.dirichlet import dirichlet
from fedpriv.data.partition.iid import iid
from fedpriv.data.partition.people import by_identity, by_subject
from fedpriv.data.partition.quantity import quantity_skew
from fedpriv.errors import UserError


def people(counts, classes=None, **more):
    """A data set with ``counts[k]`` images of person k, in mixed order; classes at random, or identities."""
    random = np.random.default_rng(0)
    subjects = random.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    targets = subjects.copy() if classes is None else random.integers(0, classes, len(subjects))
    images = np.zeros((len(subjects), 1, 1, 1), dtype=np.uint8)
    return ImageDataset("test", images, targets, subjects, tuple(map(str, range(len(counts)))), **more)


def gaze(count=40):
    images = np.zeros((count, 1, 1, 1), dtype=np.uint8)
    return ImageDataset(
        "eyes", images, np.zeros((count, 2), np.float32), np.arange(count) % 4, tuple(map(str, range(4)))
    )


def drawn(dataset, clients, seed, **more):
    return dirichlet(dataset, clients, seed, sizes="drawn", **more)


def by_person(dataset, clients, seed):
    return dirichlet(dataset, clients, seed, over="subject")


COUNTS = st.lists(st.integers(1, 12), min_size=2, max_size=12)
EVERY = [by_subject, by_identity, iid, dirichlet, drawn, by_person, quantity_skew]


@settings(max_examples=200, deadline=None)
@given(COUNTS, st.integers(1, 6), st.integers(0, 2**32), st.sampled_from(EVERY))
def test_every_image_belongs_to_exactly_one_client(counts, clients, seed, partition):
    dataset = people(counts, classes=3)
    if partition is by_identity:
        clients = len(counts)
    try:
        shares = partition(dataset, clients, seed)
    except UserError:
        assert (
            partition is drawn
            or (partition is by_subject and clients > len(counts))
            or clients * (2 if partition in (dirichlet, by_person, quantity_skew) else 1) > len(dataset)
        )
        return
    assert len(shares) == clients
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(len(dataset)))
    for share in shares:
        assert share.dtype == np.int64
        assert len(share) > 0
        assert np.array_equal(share, np.sort(share))


@settings(max_examples=50, deadline=None)
@given(
    COUNTS,
    st.integers(1, 6),
    st.integers(0, 100),
    st.floats(1e-3, 1e6),
    st.sampled_from(["label", "subject"]),
    st.integers(1, 3),
)
def test_dirichlet_clients_of_equal_sizes_differ_by_at_most_one_image(
    counts, clients, seed, alpha, over, classes
):
    dataset = people([count + clients * 2 for count in counts], classes=classes)
    sizes = [len(share) for share in dirichlet(dataset, clients, seed, alpha=alpha, over=over)]
    assert sum(sizes) == len(dataset)
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(1, 12), st.integers(0, 100))
def test_by_subject_keeps_people_whole_and_clients_within_one_person(counts, clients, seed):
    clients = min(clients, len(counts))
    dataset = people(counts)
    groups = [set(dataset.subjects[share]) for share in by_subject(dataset, clients, seed)]
    sizes = [len(group) for group in groups]
    assert sum(sizes) == len(set().union(*groups)) == len(counts)
    assert max(sizes) - min(sizes) <= 1


def test_by_identity_gives_client_k_all_images_of_person_k_and_nobody_elses():
    # people 1 and 3 are held out, as after a split: the others keep their numbers
    dataset = people([3, 1, 4, 1, 5]).of_subjects(np.array([0, 2, 4]))
    shares = by_identity(dataset, 3, seed=9)
    assert [set(dataset.subjects[share]) for share in shares] == [{0}, {2}, {4}]
    assert [len(share) for share in shares] == [3, 4, 5]


def test_iid_shares_differ_by_at_most_one_image_and_mix_people():
    shares = iid(people([30, 30, 30, 13]), 4, 0)
    assert sorted(len(share) for share in shares) == [25, 26, 26, 26]
    subjects = people([30, 30, 30, 13]).subjects
    for share in shares:
        assert len(set(subjects[share])) == 4


def largest_label(dataset, shares, labels=None):
    """Mean over clients of the share of the most frequent label among a client's images."""
    labels = dataset.targets if labels is None else labels
    return float(np.mean([np.bincount(labels[share]).max() / len(share) for share in shares]))


def different_labels(dataset, shares):
    return float(np.mean([len(set(dataset.targets[share])) for share in shares]))


@pytest.mark.parametrize("partition", [dirichlet, drawn])
def test_a_small_alpha_gives_clients_few_labels_and_a_large_one_all_of_them(partition):
    dataset = people([1] * 10_000, classes=10)
    skewed, usual, even = (partition(dataset, 20, 1, alpha=alpha) for alpha in (0.05, 1.0, 1e6))
    # 10 labels at random would be 0.1 each; Dirichlet(1) leaves the largest of 10 about 0.29
    assert different_labels(dataset, skewed) < 4
    assert largest_label(dataset, skewed) > 0.75
    assert 0.2 < largest_label(dataset, usual) < 0.8
    assert different_labels(dataset, even) == 10
    assert largest_label(dataset, even) < 0.14


def test_equal_sizes_the_first_clients_mixture_follows_dirichlet_of_alpha_times_frequencies():
    # Frequencies p = (0.75, 0.25): the first client's share of label 0 is Beta(0.75 a, 0.25 a)
    targets = np.repeat([0, 1], [3000, 1000])
    dataset = ImageDataset("two", np.zeros((4000, 1, 1, 1), np.uint8), targets, np.zeros(4000, int), ("0",))
    alpha = 2.0
    first = [np.mean(targets[dirichlet(dataset, 40, seed, alpha=alpha)[0]] == 0) for seed in range(400)]
    variance = (
        0.75 * 0.25 / (alpha + 1) + 0.75 * 0.25 * alpha / (alpha + 1) / 100
    )  # beta-binomial, 100 images
    assert np.mean(first) == pytest.approx(0.75, abs=4 * (variance / 400) ** 0.5)
    assert np.var(first) == pytest.approx(variance, rel=0.25)


def test_drawn_sizes_each_labels_shares_follow_dirichlet_of_alpha():
    dataset = people([1000] * 200)
    shares = drawn(dataset, 4, seed=0, alpha=1.5, min_images=1)
    held = np.array([np.bincount(dataset.subjects[share], minlength=200) / 1000 for share in shares])
    # of K = 4 clients: mean 1 / K, variance (1 / K)(1 - 1 / K) / (K alpha + 1)
    assert np.mean(held) == pytest.approx(0.25)
    assert np.var(held) == pytest.approx(0.25 * 0.75 / 7, rel=0.2)


def test_the_smallest_and_largest_alpha_still_deal_every_image():
    for alpha in (5e-324, 1e-9, 1e6):
        shares = dirichlet(people([10] * 6, classes=3), 5, 0, alpha=alpha)
        assert sum(map(len, shares)) == 60


def test_dirichlet_over_subjects_skews_people_and_not_labels():
    dataset = people([300] * 20, classes=3)
    shares = dirichlet(dataset, 10, 0, alpha=0.05, over="subject")
    assert largest_label(dataset, shares, dataset.subjects) > 0.25
    assert largest_label(dataset, shares) < 0.4
    assert np.mean([len(set(dataset.subjects[share])) for share in shares]) < 8


def test_dirichlet_over_subjects_takes_continuous_targets():
    assert sum(map(len, dirichlet(gaze(), 4, 0, over="subject"))) == 40


def test_quantity_skew_changes_sizes_and_nothing_else():
    dataset = people([1] * 20_000, classes=4)
    skewed, even = (quantity_skew(dataset, 10, 0, alpha=alpha) for alpha in (0.3, 1e6))
    sizes = np.array([len(share) for share in skewed])
    assert sizes.max() > 5 * sizes.min()
    assert np.ptp([len(share) for share in even]) < 40
    for share in skewed:
        if len(share) >= 400:
            assert np.abs(np.bincount(dataset.targets[share]) / len(share) - 0.25).max() < 0.1


def test_quantity_skew_sizes_follow_dirichlet_of_alpha():
    dataset = people([1] * 1000)
    sizes = [
        [len(s) / 1000 for s in quantity_skew(dataset, 4, seed, alpha=2.0, min_images=1)]
        for seed in range(300)
    ]
    # 4 clients: mean 1 / 4, variance (1 / 4)(3 / 4) / (4 * 2 + 1) of the 996 that are cut
    assert np.mean(sizes) == pytest.approx(0.25)
    assert np.var(sizes) == pytest.approx(0.996**2 * 0.25 * 0.75 / 9, rel=0.15)


def test_drawn_sizes_are_drawn_again_until_each_client_has_enough():
    dataset = people([10] * 6)
    least = {
        images: [min(map(len, drawn(dataset, 4, seed, alpha=0.5, min_images=images))) for seed in range(20)]
        for images in (1, 8)
    }
    assert min(least[8]) >= 8
    assert min(least[1]) < 8


def test_quantity_skew_leaves_every_client_the_least_however_many_there_are():
    sizes = [len(s) for s in quantity_skew(people([1] * 10_000), 1000, 0, alpha=0.01, min_images=3)]
    assert min(sizes) == 3
    assert max(sizes) > 500


@pytest.mark.parametrize("partition", [by_subject, iid, dirichlet, drawn, by_person, quantity_skew])
def test_the_same_seed_gives_the_same_shares_and_another_does_not(partition):
    dataset = people([20] * 10, classes=4)
    first, again, other = (partition(dataset, 4, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(len(a) == len(b) and np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d: by_subject(d, 4, 0),
            r"federation\.clients=4: only 3 people to train on; lower it to 3 or fewer",
        ),
        (
            lambda d: by_subject(d.subset(np.flatnonzero(d.subjects == 0)), 4, 0),
            r"federation\.clients=4: only 1 person to train on; lower it to 1 or fewer",
        ),
        (
            lambda d: by_identity(d, 2, 0),
            r"federation\.clients=2: one person per client needs .*; give federation\.clients=3, or",
        ),
        (lambda d: iid(d, 13, 0), r"federation\.clients=13: .* the data has 12; lower it to 12 or fewer"),
        (
            lambda d: dirichlet(d, 7, 0),
            r"federation\.clients=7: 2 images each need 14, the data has 12; lower it to 6",
        ),
        (lambda d: quantity_skew(d, 7, 0), r"federation\.clients=7: 2 images each need 14, the data has 12"),
        (lambda d: dirichlet(d, 2, 0, alpha=0.0), r"partition\.alpha=0\.0: must be positive"),
        (lambda d: dirichlet(d, 2, 0, alpha=float("nan")), r"partition\.alpha=nan: must be positive"),
        (lambda d: dirichlet(d, 2, 0, alpha=1e300), r"partition\.alpha=1e\+300: .* at most 1000000"),
        (lambda d: quantity_skew(d, 2, 0, alpha=-1.0), r"partition\.alpha=-1\.0: must be positive"),
        (lambda d: dirichlet(d, 2, 0, min_images=0), r"partition\.min_images=0: must be at least 1"),
        (lambda d: dirichlet(d, 2, 0, over="labels"), r"partition\.over=labels: choose label or subject"),
        (lambda d: dirichlet(d, 2, 0, sizes="even"), r"partition\.sizes=even: choose equal or drawn"),
        (
            lambda _: dirichlet(gaze(), 2, 0),
            r"partition\.over=label: data=eyes has no classes, its targets are float32 \(2,\); choose data "
            r"that have classes, or partition\.over=subject",
        ),
        (lambda d: drawn(d, 6, 0, alpha=1e-9), r"partition\.alpha=1e-09: some of 6 clients .*; raise"),
        (lambda d: quantity_skew(d, 2, 0, min_images=0), r"partition\.min_images=0: must be at least 1"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_in_one_line_with_a_mend(call, message):
    with pytest.raises(UserError, match=f"^{message}") as caught:
        call(people([4, 4, 4]))
    assert "\n" not in str(caught.value)
