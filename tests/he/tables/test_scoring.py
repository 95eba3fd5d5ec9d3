import json

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import draft
from fedpriv.he.tables.models import TableModel, in_integers
from fedpriv.he.tables.scoring import is_scores, probabilities, read_scores, write_scores
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
    assert is_scores(tmp_path / "s", owner.public)
    kind, found = read_scores(tmp_path / "s", owner.public, owner.decrypt_integers)
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


def test_probabilities_do_not_overflow():
    assert probabilities(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]


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
    ):
        with pytest.raises(UserError, match=message):
            in_integers(loaded(tmp_path, {"coefficients": coefficients}), schema, 2**58)
