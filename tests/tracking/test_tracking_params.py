import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param
from mlflow.utils.validation import _validate_metric_name, _validate_param

from fedpriv.tracking.params import NAME_LENGTH, VALUE_LENGTH, batches, clean_name, config_hash, flatten


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_every_text_becomes_a_name_that_mlflow_accepts(text):
    name = clean_name(text)
    _validate_metric_name(name)
    _validate_param(name, "")
    assert Metric(name, 1.0, 0, 0).key == Param(name, "").key == name
    assert len(name) <= NAME_LENGTH


@pytest.mark.parametrize(
    ("odd", "clean"),
    [
        ("val|acc@1", "val_acc_1"),
        ("data.name", "data.name"),
        ("a/b c-d", "a/b c-d"),
        ("/a", "_a"),
        ("a//b", "a__b"),
        ("..", "__"),
        ("", "_"),
        ("TAR@FAR=1e-3", "TAR_FAR_1e-3"),
    ],
)
def test_names_are_cleaned_as_documented(odd, clean):
    assert clean_name(odd) == clean


def test_long_names_that_differ_at_the_end_stay_apart():
    first, second = clean_name("n" * 300 + "a"), clean_name("n" * 300 + "b")
    assert first != second
    assert len(first) == len(second) == NAME_LENGTH


def test_groups_flatten_to_dotted_names():
    config = {"a": {"b": 1, "c": {"d": None}}, "l": [1, 2.5, "x"], "steps": [{"n": 1}, {"n": 2}], "e": {}}
    assert flatten(config) == {
        "a.b": "1",
        "a.c.d": "null",
        "l": '[1, 2.5, "x"]',
        "steps.0.n": "1",
        "steps.1.n": "2",
        "e": "{}",
    }
    assert flatten({}) == {}


def test_names_that_clean_to_the_same_are_numbered():
    assert flatten({"a|b": 1, "a@b": 2, "a_b": 3}) == {"a_b": "1", "a_b_2": "2", "a_b_3": "3"}


def test_long_values_are_cut_visibly():
    text = flatten({"x": "y" * 10_000})["x"]
    assert len(text) == VALUE_LENGTH
    assert text.endswith("[cut]")
    assert flatten({"x": "y" * VALUE_LENGTH})["x"] == "y" * VALUE_LENGTH


def test_hash_ignores_order_and_where_results_go_but_not_settings():
    config = {"task": {"name": "gaze", "lr": 0.1}, "tracking": {"uri": "a"}}
    assert config_hash(config) == config_hash({"tracking": {"uri": "b"}, "task": {"lr": 0.1, "name": "gaze"}})
    assert config_hash(config) != config_hash({"task": {"name": "gaze", "lr": 0.2}})
    assert config_hash({}) == "44136fa355b3678a"


@given(st.lists(st.integers(), max_size=25), st.integers(1, 7))
def test_batches_keep_order_and_limit(items, length):
    got = list(batches(items, length))
    assert [item for batch in got for item in batch] == items
    assert all(len(batch) == length for batch in got[:-1])
    assert all(0 < len(batch) <= length for batch in got)
