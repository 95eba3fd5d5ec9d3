import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from fedpriv.console.summary import summary_table
from fedpriv.results import RoundResult

METRIC, LABEL = "error_deg", "angular error (deg)"


def _summary(results, encoding="utf-8", width=80, **settings):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    summary_table(
        Console(file=stream, width=width, _environ={}), results, metric=METRIC, label=LABEL, **settings
    )
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def _cells(text):
    rows = (line.strip("│|").replace("|", "│").split("│") for line in text.splitlines() if line[:1] in "│|")
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


RESULTS = [
    RoundResult(0, {METRIC: 17.25}, seconds={"evaluate": 1.0}),
    *(
        RoundResult(
            number,
            {METRIC: 10.0 - number},
            epsilon=1.5 * number,
            epsilon_reported=1.5 * number,
            delta=1e-5,
            bytes_up=2_000_000,
            bytes_down=4_000_000,
            bytes_keyholders=500_000,
            update_bytes=30_000 + number,
            seconds={"train": 10.0, "encrypt": 2.0, "aggregate": 0.25, "decrypt": 0.5, "evaluate": 1.0},
            asked=8,
            replied=7,
            failures={"no_reply": 1} | ({"non_finite": 2} if number == 2 else {}),
        )
        for number in (1, 2, 3)
    ),
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_summary_states_results_and_costs_in_80_columns(encoding):
    text = _summary(
        RESULTS,
        encoding,
        baseline=15.125,
        baseline_label="mean predictor",
        parameters=15_001,
        experiment="gaze",
        run_id="0" * 32,
    )
    assert all(len(line) <= 80 for line in text.splitlines())
    cells = _cells(text)
    assert cells["measured"] == "angular error (deg), on unseen people"
    assert cells["baseline (mean predictor)"] == "15.12"
    assert cells["before training"] == "17.25"
    assert cells["after training"] == "7 (round 3)"
    assert cells["epsilon"] == "4.5 at delta 1e-05 (largest reported)"
    assert cells["one update"] == "30 kB (0.50 x plain float32, 60 kB)"
    assert cells["all traffic"] == "6 MB up, 12 MB down"
    assert cells["with key holders"] == "1.5 MB, both ways"
    assert cells["time: clients train"] == "30.0 s"
    assert cells["of it: encrypt (client mean)"] == "6.00 s"
    assert cells["time: all phases"] == "36.2 s"
    assert cells["clients failed"] == "3 no_reply, 2 non_finite"
    assert cells["MLflow run"] == "0" * 32


def test_summary_without_privacy_or_results_says_so():
    cells = _cells(_summary([]))
    assert cells["epsilon"] == "none (no differential privacy)"
    assert cells["after training"] == "not measured"
    assert "clients failed" not in cells
    assert "one update" not in cells


def test_an_epsilon_that_is_the_looser_bound_says_so():
    def row(**changes):
        return _cells(_summary([RoundResult(1, {}, epsilon=2.5, delta=1e-5, **changes)]))["epsilon"]

    assert row(accountant="prv") == "2.5 at delta 1e-05"
    assert row(accountant="rdp") == "2.5 at delta 1e-05 (RDP bound)"
    assert row(accountant="rdp", asked=4, epsilon_reported=2.5) == (
        "2.5 at delta 1e-05 (largest reported; RDP bound)"
    )


def row_of(result, **settings):
    return _cells(_summary([result], width=200, **settings))["epsilon"]


def test_an_epsilon_says_whose_word_it_is():
    heard = RoundResult(1, {}, epsilon=2.5, delta=1e-5, accountant="prv", asked=4)
    assert row_of(replace(heard, epsilon_reported=2.5)) == "2.5 at delta 1e-05 (largest reported)"
    assert row_of(replace(heard, epsilon_reported=1.0)) == (
        "2.5 at delta 1e-05 (largest reported 1; more by clients that did not answer)"
    )
    assert row_of(heard) == "2.5 at delta 1e-05 (by the plan of clients, of which none reported any)"
    assert row_of(replace(heard, asked=0)) == "2.5 at delta 1e-05"


def test_an_infinite_epsilon_says_that_nothing_bounds_it():
    endless = RoundResult(1, {}, epsilon=math.inf, delta=1e-5, accountant="none")
    assert row_of(endless) == "inf at delta 1e-05 (no accountant bounds it)"
    assert row_of(endless, epsilon_unit="client level") == (
        "inf at delta 1e-05 (client level, no accountant bounds it)"
    )
    bounded = replace(endless, epsilon=2.5, accountant="zcdp")
    assert row_of(bounded, epsilon_unit="client level") == "2.5 at delta 1e-05 (client level, zcdp)"


def test_a_private_run_that_released_nothing_is_not_one_without_privacy():
    refused = RoundResult(1, {}, asked=4, failures={"budget_spent": 4})
    assert row_of(refused) == "none (no differential privacy)"
    assert row_of(refused, relation="one image added or removed") == "0 (nothing was released)"
    assert row_of(replace(refused, replied=4), relation="one image added or removed") == "0"


def test_a_clipping_norm_is_stated_where_it_adapts():
    adapted = [
        RoundResult(number, {}, clipping_norm=norm) for number, norm in enumerate([None, 1.0, 0.25, 0.125])
    ]
    assert _cells(_summary(adapted))["clipping norm (adaptive)"] == "1 in round 1, 0.125 in round 3"
    assert "clipping norm (adaptive)" not in _cells(_summary(RESULTS))


def test_command_to_look_is_one_unbroken_line_that_a_shell_can_read():
    uri = "sqlite:////a folder/" + "x" * 100 + "/mlflow.db"
    assert f"look: mlflow ui --backend-store-uri '{uri}'" in _summary(RESULTS, tracking_uri=uri).splitlines()
    assert "look: open http://host:5000" in _summary(RESULTS, tracking_uri="http://host:5000").splitlines()


def test_labels_in_brackets_are_not_taken_for_markup():
    stream = io.StringIO()
    summary_table(
        Console(file=stream, _environ={}), RESULTS, metric=METRIC, label="error [deg]", experiment="[red]"
    )
    assert "error [deg]" in stream.getvalue()
