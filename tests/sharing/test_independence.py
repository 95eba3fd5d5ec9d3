"""Shares tell nothing of the image: chi-square and mutual information, with seeds, so that nothing flakes."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fedpriv.sharing.randomness import secure_bytes
from fedpriv.sharing.scheme import Scheme

SIZE = 3 * 65536
BLACK = bytes(SIZE)
# a structured picture: smooth rows, so that every byte value and strong correlations occur
RAMP = (np.add.outer(np.arange(384), np.arange(512)) // 3 % 256).astype(np.uint8).tobytes()
SCHEMES = [Scheme("additive", 2, 2), Scheme("additive", 4, 4), Scheme("shamir", 4, 2), Scheme("shamir", 4, 3)]
IDS = [f"{scheme.kind}-{scheme.t}-of-{scheme.n}" for scheme in SCHEMES]
# Of some 100 tests below, none may fall under this by chance; a leak of the picture gives below 1e-100.
RARE = 1e-5


def known_bytes(scheme, content, seed):
    """What each relay holds, as one row of numbers from 0 to 255 per share."""
    shares = scheme.split(content, np.random.default_rng([seed, scheme.n, scheme.t]).bytes)
    if scheme.kind == "additive":
        return [np.frombuffer(share, np.uint8) for share in shares]
    # elements are uniform on [0, 2^31 - 1): their 8 high bits are uniform but for 1 in 2^31
    return [(np.frombuffer(share, "<u4") >> 23).astype(np.uint8) for share in shares]


@pytest.mark.parametrize("scheme", SCHEMES, ids=IDS)
@pytest.mark.parametrize("content", [BLACK, RAMP], ids=["black", "ramp"])
def test_the_bytes_of_every_share_are_uniform(scheme, content):
    for share in known_bytes(scheme, content, 1):
        assert stats.chisquare(np.bincount(share, minlength=256)).pvalue > RARE


@pytest.mark.parametrize("scheme", SCHEMES, ids=IDS)
def test_what_t_minus_1_relays_hold_of_two_different_images_is_distributed_alike(scheme):
    black, ramp = known_bytes(scheme, BLACK, 2), known_bytes(scheme, RAMP, 3)
    bits = {1: 8, 2: 4, 3: 2}[scheme.t - 1]
    for subset in itertools.combinations(range(scheme.n), scheme.t - 1):
        table = []
        for shares in (black, ramp):
            cell = np.zeros(len(shares[0]), np.int64)
            for which in subset:
                cell = cell << bits | shares[which] >> (8 - bits)
            table.append(np.bincount(cell, minlength=1 << bits * len(subset)))
        assert stats.chi2_contingency(np.array(table)).pvalue > RARE, subset


@pytest.mark.parametrize("scheme", SCHEMES, ids=IDS)
def test_mutual_information_of_image_and_share_is_that_of_chance(scheme):
    step = 1 if scheme.kind == "additive" else 3
    image = np.frombuffer(RAMP, np.uint8)[step - 1 :: step]
    for share in known_bytes(scheme, RAMP, 4):
        joint = np.histogram2d(image >> 4, share >> 4, bins=16, range=[[0, 16], [0, 16]])[0]
        expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True) / joint.sum()
        nats = float(np.sum(joint * np.log(np.maximum(joint, 1) / expected)) / joint.sum())
        # 2 N I is chi-square with (16 - 1)^2 degrees of freedom when image and share are independent
        assert stats.chi2.sf(2 * joint.sum() * nats, 15 * 15) > RARE
        assert nats < 0.005


@pytest.mark.parametrize("scheme", SCHEMES, ids=IDS)
def test_the_tests_above_would_see_a_share_that_is_not_masked(scheme):
    shares = scheme.split(RAMP, bytes)  # "random" zeros: the last share is the image
    last = shares[-1]
    if scheme.kind == "additive":
        assert last == RAMP
    assert stats.chisquare(np.bincount(np.frombuffer(last, np.uint8), minlength=256)).pvalue < 1e-100


@pytest.mark.parametrize("scheme", SCHEMES, ids=IDS)
def test_t_minus_1_shares_reconstruct_noise_or_nothing(scheme):
    shares = dict(enumerate(scheme.split(RAMP)))
    forgotten = dict(list(shares.items())[: scheme.t - 1])
    with pytest.raises(ValueError, match="need"):
        scheme.combine(forgotten, SIZE)
    if scheme.kind == "additive":
        guess = np.zeros(SIZE, np.uint8)
        for share in forgotten.values():
            guess += np.frombuffer(share, np.uint8)
        correlation = np.corrcoef(guess, np.frombuffer(RAMP, np.uint8))[0, 1]
        assert abs(correlation) < 6 / np.sqrt(SIZE)


def test_the_operating_systems_bytes_are_uniform():
    counts = np.bincount(np.frombuffer(secure_bytes(1 << 20), np.uint8), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-9  # unseeded: one failure in a thousand million
