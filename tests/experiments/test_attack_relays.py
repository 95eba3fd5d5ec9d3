"""``fedpriv attack relays``: what it prints, what it refuses, and its exit status."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from experiments.attack import main as attack
from experiments.attack import relays as command
from experiments.attack import relays_by_name
from experiments.attack._relays_matrix import Matrix, show
from fedpriv.attacks.relays.learned import learned
from fedpriv.attacks.relays.matrix import Row
from fedpriv.attacks.relays.original_attacks import Outcome
from fedpriv.errors import UserError

ROW = Row("tamper_body", 100, 0, Counter(not_authentic=100), 120, 0, 3)
GOOD = Matrix([ROW], {"tamper_body": Outcome(100, 100, "nothing")}, {}, {}, 1.23)


def test_json_has_what_was_promised() -> None:
    found = json.loads(json.dumps(GOOD.as_json()))
    (row,) = found["attacks"]
    assert row.pop("accepted_means").startswith("the model server took")
    assert row == {
        "name": "tamper_body",
        "attempted": 100,
        "accepted": 0,
        "refused_as": {"not_authentic": 100},
        "honest_sent": 120,
        "honest_lost": 0,
        "honest_retries": 3,
        "original": {"attempted": 100, "accepted": 100, "why": "nothing"},
        "control": None,
    }
    control = replace(ROW, attempted=12, accepted=7)
    (row,) = replace(GOOD, controls={"tamper_body": control}).as_json()["attacks"]
    assert (row["control"]["attempted"], row["control"]["accepted"]) == (12, 7)
    assert row["control"]["without"]
    assert row["control"]["least"] == 12
    assert (found["accepted_total"], found["honest_lost_total"], found["learned"]) == (0, 0, {})


@pytest.mark.parametrize(
    ("rows", "controls", "held"),
    [
        ([ROW], {}, True),
        ([ROW, replace(ROW, accepted=1)], {}, False),
        ([replace(ROW, honest_lost=1)], {}, False),
        ([ROW], {"tamper_body": replace(ROW, attempted=12, accepted=12)}, True),
        ([ROW], {"tamper_body": replace(ROW, attempted=12, accepted=11)}, False),
        ([ROW], {"tamper_header": replace(ROW, attempted=12, accepted=2)}, True),
        ([ROW], {"tamper_header": replace(ROW, attempted=12, accepted=1)}, False),
        ([ROW], {"tamper_body": ROW}, False),
    ],
)
def test_exit_status_is_one_when_anything_was_accepted_or_lost_or_a_control_held(
    monkeypatch, capsys, rows, controls, held
) -> None:
    found = replace(GOOD, rows=rows, controls=controls)
    monkeypatch.setattr(command, "measure", lambda *_: found)
    if held:
        command.main(["tamper_body", "--json"])
    else:
        with pytest.raises(SystemExit) as left:
            command.main(["tamper_body", "--json"])
        assert left.value.code == 1
    assert len(json.loads(capsys.readouterr().out)["attacks"]) == len(rows)


def test_a_relay_that_learns_something_is_no_success() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 16), dtype=np.uint8)
    seen = learned("all", images, images[:, None])
    assert not replace(GOOD, learned={"sealed": seen}).held
    assert replace(GOOD, learned={"bands": seen}).held


def test_the_table_shows_counts_meaning_and_the_original(capsys) -> None:
    control = replace(ROW, attempted=12, accepted=7)
    show(replace(GOOD, controls={"tamper_body": control}))
    printed = capsys.readouterr().out
    for text in (
        "not_authentic 100",
        "120 / 0 / 3",
        "100 of 100",
        "7 of 12",
        "without their auth",
        "took the changed piece",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("run", "arguments", "text"),
    [
        (lambda given: attack(["relays", *given]), ["no_such"], "no such attack"),
        (lambda given: attack(["relays", *given]), ["--attempts", "0"], "choose 1 to"),
        (lambda given: attack(["relays", *given]), ["--attempts", "x"], "invalid int"),
        (relays_by_name, [], "NAME"),
    ],
)
def test_mistakes_are_one_line(run, arguments, text) -> None:
    with pytest.raises(UserError, match=text) as caught:
        run(arguments)
    assert "\n" not in str(caught.value)
