import io
import math

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.statistics import statistics_of, weighted_means
from fedpriv.he.tables.vectors import vectors_of
from tests.he.tables.tables import POOL, plain_sums, random_csv

TOLERANCE = 1e-9


@pytest.fixture
def source(tmp_path):
    return random_csv(tmp_path / "t.csv", 60, 3)


def sums_of(path, wishes):
    table = read_table(path)
    schema = draft(table, wishes)
    return plain_sums(vectors_of(table, schema, True), schema)


def agree(found, expected):
    np.testing.assert_allclose(
        np.asarray(found, float), np.asarray(expected, float), rtol=TOLERANCE, atol=1e-12
    )


def check_against_pandas(found, frame):
    frame = frame[list(found.names)]
    assert found.counts == tuple(frame.count())
    agree(found.means, frame.mean())
    agree(found.variances, frame.var())
    agree(found.deviations, frame.std())
    agree(found.covariances, frame.cov())
    agree(found.correlations, frame.corr())


def test_statistics_are_those_of_pandas_for_the_whole_and_each_group(source):
    sums, frame = sums_of(source, POOL), pandas.read_csv(source)
    check_against_pandas(statistics_of(sums.together(), 0), frame)
    for number, level in enumerate(sums.schema.levels):
        check_against_pandas(statistics_of(sums, number), frame[frame["sex"] == level])


def test_weighted_means_take_rows_with_both_values(source):
    sums, frame = sums_of(source, POOL), pandas.read_csv(source)
    found = weighted_means(sums.together(), 0, sums.schema.column("weight"))
    for name, mean in zip(("age", "weight", "score"), found, strict=True):
        both = frame[["weight"]].assign(x=frame[name]).dropna()
        agree(mean, np.average(both["x"], weights=both["weight"]))


def test_histograms_count_as_numpy_does(source):
    sums, frame = sums_of(source, POOL), pandas.read_csv(source)
    for name, edges in POOL.bins.items():
        expected, _ = np.histogram(frame[name].dropna(), [float(edge) for edge in edges])
        assert sums.bins[sums.schema.column(name)].tolist() == expected.tolist()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.one_of(st.none(), st.integers(-(10**6), 10**6)) for _ in range(3)]),
        min_size=1,
        max_size=12,
    )
)
def test_any_small_table_agrees_with_fractions(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    text = "a,b,c\n" + "\n".join(",".join("" if v is None else f"{v / 100:.2f}" for v in row) for row in rows)
    path.write_text(text + "\n")
    if all(value is None for row in rows for value in row):
        return
    found = statistics_of(sums_of(path, Wishes(columns=["a", "b", "c"])), 0)
    frame = pandas.read_csv(io.StringIO(text), skip_blank_lines=True, dtype=float)
    assert found.counts == tuple(frame.count())
    agree(found.means, frame.mean())
    for place, name in enumerate(frame):
        values = frame[name].dropna().to_numpy()
        expected = np.var(values, ddof=1) if len(values) > 1 else math.nan
        np.testing.assert_allclose(found.variances[place], expected, rtol=1e-6, atol=1e-6)
    correlations = found.correlations[~np.isnan(found.correlations)]
    assert (np.abs(correlations) <= 1).all()


def test_a_constant_column_has_no_correlation_and_one_value_no_variance(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n5,1,\n5,2,7\n5,4,\n")
    found = statistics_of(sums_of(path, Wishes()), 0)
    assert found.variances[0] == 0
    assert math.isnan(found.correlations[0, 0])
    assert math.isnan(found.correlations[0, 1])
    assert found.means[2] == 7
    assert math.isnan(found.variances[2])
    assert found.correlations[1, 1] == 1
