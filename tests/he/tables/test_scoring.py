import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.models import TableModel, in_integers
from fedpriv.he.tables.opening import kind_of
from fedpriv.he.tables.schema import Column, Schema
from fedpriv.he.tables.scoring import probabilities, read_scores, write_scores
from tests.he.tables.tables import POOL, encrypted, random_csv

MODEL = {
    "kind": "logistic",
    "intercept": -1.25,
    "coefficients": {"Age": 0.031, "score": -0.7, "weight": 1e-3},
    "impute": {"age": 49.5, "score": 0.25},
}


def loaded(folder, content):
    path = folder / "model.json"
    path.write_text(json.dumps(content))
    return TableModel.load(path)


def test_scores_are_those_in_the_clear_with_missing_values_imputed(tmp_path, owner):
    source = random_csv(tmp_path / "t.csv", 50, 11)
    table = encrypted(source, owner)
    model = loaded(tmp_path, MODEL)
    write_scores(tmp_path / "s", [table], owner.public, model)
    assert kind_of(tmp_path / "s", owner.public) == "scores"
    kind, (found,) = read_scores(tmp_path / "s", owner.public, owner.decrypt_integers)
    cells = read_table(source)
    middle = draft(cells, POOL).columns[1]
    expected = []
    for row in range(50):
        score = MODEL["intercept"]
        impute = {"age": 49.5, "score": 0.25, "weight": middle.offset / middle.unit}
        for name, weight in (("age", 0.031), ("score", -0.7), ("weight", 1e-3)):
            cell = cells.columns[cells.find(name)][row]
            score += weight * (impute[name] if cell is None else float(cell))
        expected.append(score)
    assert kind == "logistic"
    np.testing.assert_allclose(found[:50], expected, atol=1e-8)
    np.testing.assert_allclose(probabilities(found[:50]), 1 / (1 + np.exp(-np.array(expected))), atol=1e-8)


def test_scores_of_pooled_tables_are_those_of_each_from_its_first_row_on(tmp_path, owner):
    rows = {"a": 3, "b": 1030, "c": 2}
    files = [random_csv(tmp_path / f"{name}.csv", rows[name], rows[name]) for name in rows]
    schema = draft(read_table(files[1]), POOL)
    tables = [encrypted(each, owner, schema) for each in files]
    model = loaded(tmp_path, {"coefficients": {"age": 1}, "impute": {"age": -1}})
    write_scores(tmp_path / "s", tables, owner.public, model)
    _, found = read_scores(tmp_path / "s", owner.public, owner.decrypt_integers)
    assert [len(each) for each in found] == [1024, 2048, 1024]
    for name, scores in zip(rows, found, strict=True):
        cells = read_table(tmp_path / f"{name}.csv")
        ages = [-1 if cell is None else int(cell) for cell in cells.columns[cells.find("age")]]
        np.testing.assert_allclose(scores[: rows[name]], ages, atol=1e-6)


def test_what_is_no_result_is_named(tmp_path, owner):
    table = encrypted(random_csv(tmp_path / "t.csv", 5, 1), owner)
    with pytest.raises(UserError, match="is a table, not a result; have it computed"):
        kind_of(table, owner.public)
    with pytest.raises(UserError, match="no ciphertexts of fedpriv"):
        kind_of(tmp_path / "t.csv", owner.public)


def test_probabilities_do_not_overflow():
    assert probabilities(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]


def test_a_missing_value_is_never_the_middle_of_bounds_that_nobody_gave(tmp_path):
    drafted = draft(read_table(random_csv(tmp_path / "t.csv", 20, 1)), Wishes(["age"]))
    with pytest.raises(UserError, match=r"nothing for missing cells of column 'age'; give impute\.age, or"):
        in_integers(loaded(tmp_path, {"coefficients": {"age": 1}}), drafted, 2**58)
    assert in_integers(loaded(tmp_path, {"coefficients": {"age": 1}, "impute": {"AGE": 49}}), drafted, 2**58)


@settings(max_examples=300, deadline=None)
@given(
    numbers=st.lists(
        st.floats(-1e30, 1e30, allow_nan=False, exclude_min=True, exclude_max=True), min_size=5, max_size=5
    )
)
def test_any_model_is_refused_or_fits_and_is_the_one_meant_to_the_last_bit(numbers):
    schema = Schema((Column("x", 2, -500, 5000, given=True), Column("y", 0, 0, 1, given=True)))
    constant, *rest = map(Fraction, numbers)
    model = TableModel(
        "linear",
        constant,
        dict(zip("xy", rest[:2], strict=True)),
        dict(zip("xy", rest[2:], strict=True)),
    )
    plain = 2**58
    try:
        made = in_integers(model, schema, plain)
    except UserError:
        return
    assert any(made.values)
    assert 16 <= made.bits <= 48
    reach = sum(
        abs(v) * c.reach + abs(m) for v, m, c in zip(made.values, made.masks, schema.columns, strict=True)
    )
    assert abs(made.constant) + reach < plain // 2
    for place, (weight, column) in enumerate(zip(rest[:2], schema.columns, strict=True)):
        assert abs(Fraction(made.values[place], 2**made.bits) - weight / column.unit) <= Fraction(
            1, 2 ** (made.bits + 1)
        )


def test_integers_never_pass_the_plain_modulus(tmp_path):
    schema = draft(read_table(random_csv(tmp_path / "t.csv", 20, 1)), POOL)
    plain = 2**58
    for scale in (1e-9, 1.0, 1e9):
        model = loaded(tmp_path, {"coefficients": {"age": scale, "score": -scale}, "intercept": scale})
        made = in_integers(model, schema, plain)
        reach = sum(
            abs(v) * c.reach + abs(m) for v, m, c in zip(made.values, made.masks, schema.columns, strict=True)
        )
        assert abs(made.constant) + reach < plain // 2
    with pytest.raises(UserError, match="scale the coefficients down"):
        in_integers(loaded(tmp_path, {"coefficients": {"age": 1e20}}), schema, plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"coefficients": {}}, "coefficients: none"),
        ({"coefficients": {"age": "1"}}, "coefficients.age=1: is no finite number"),
        ({"coefficients": {"age": True}}, "coefficients.age=True: is no finite number"),
        ({"coefficients": [1]}, "coefficients: is no JSON object"),
        ({"kind": "tree", "coefficients": {"age": 1}}, "kind='tree': choose one of linear, logistic"),
        ({"coefficients": {"age": 1}, "bias": 1}, "bias: no such field"),
    ],
)
def test_a_model_that_is_none_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        loaded(tmp_path, content)


def test_a_model_of_another_table_is_refused(tmp_path):
    schema = draft(read_table(random_csv(tmp_path / "t.csv", 20, 1)), POOL)
    for coefficients, message in (
        ({"height": 1}, "'height': no such column"),
        ({"age": 1, "AGE": 2}, "'AGE' is there twice"),
        ({"age": 0}, "all are 0"),
        ({"age": 1e-300}, "all are too small"),
        ({"age": 1e-20, "score": -5e-324}, "all are too small"),
    ):
        with pytest.raises(UserError, match=message):
            in_integers(loaded(tmp_path, {"coefficients": coefficients}), schema, 2**58)
