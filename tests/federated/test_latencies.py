"""Histograms of waiting times: they add up, and their percentiles are those of all times within a bin."""

import math

import numpy as np
import pytest

from fedpriv.federated.latencies import BINS, histogram, percentile_ms


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_percentile_is_at_most_a_bin_above_the_exact_one(share):
    seconds = np.random.default_rng(1).lognormal(-3, 1, 999)
    exact = 1000 * np.sort(seconds)[math.ceil(share * len(seconds)) - 1]
    parts = [histogram(part) for part in np.array_split(seconds, 7)]
    found = percentile_ms([sum(each) for each in zip(*parts, strict=True)], share)
    assert exact <= found <= exact * 2 ** (1 / 16)


def test_every_time_is_counted_however_short_or_long():
    counts = histogram([0.0, 1e-9, 1e-4, 1e9])
    assert (counts[0], counts[-1], sum(counts), len(counts)) == (3, 1, 4, BINS)
    assert percentile_ms(histogram([1e-4]), 0.5) == 0.1


def test_without_times_there_is_no_percentile():
    assert math.isnan(percentile_ms(histogram([]), 0.5))
