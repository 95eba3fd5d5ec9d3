"""The benchmark of tracking: both ways run the same, and every second that MLflow takes is in one phase."""

import json

import pytest

from experiments.bench import main as bench
from experiments.bench import tracking
from tests.conftest import TINY


@pytest.mark.slow
def test_both_ways_are_measured_and_the_last_line_is_one_json_object(monkeypatch, capsys):
    monkeypatch.setattr(tracking, "OVERRIDES", tuple(each for each in TINY if "tracking" not in each))
    bench(["tracking", "--json", "--repeats", "1"])
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    for unit in ("_s", "_cpu_s"):
        for phase in tracking.PHASES:
            assert 0 < found[f"{phase}{unit}"] < found[f"on{unit if unit == '_cpu_s' else '_wall_s'}"]
    # making the database is what only the first run does
    assert found["first_start_cpu_s"] > found["start_cpu_s"]
    assert found["overhead"] == pytest.approx(found["on_wall_s"] / found["off_wall_s"] - 1, abs=1e-3)
    assert found["rounds"] == 2
    assert 0 < found["round_s"] < found["off_wall_s"] / 2
    # round 0 is written too
    assert found["per_round_ms"] == pytest.approx(1e3 * found["rounds_s"] / 3, abs=0.3)
    difference = found["on_wall_s"] - found["off_wall_s"]
    assert found["fixed_s"] + found["rounds_s"] == pytest.approx(difference, abs=5e-3)
    spent = sum(found[f"{phase}_cpu_s"] for phase in tracking.PHASES)
    assert found["within_calls_cpu"] == pytest.approx(spent / found["off_cpu_s"], abs=1e-3)


def test_longer_runs_are_computed_by_hand():
    # 20 rounds of 1 s in 30 s; 3 s and 10 ms per round: (3 + 1.01) / 110 and (3 + 10.01) / 1010
    found = tracking.longer(30.0, 20, 1.0, 3.0, 0.01)
    assert found["overhead_of_rounds"] == {"100": 0.0365, "1000": 0.0129}
    # 3.01 + 0.01 R <= 0.03 (10 + R) from R = 135.5 on
    assert found["below_bound_from_rounds"] == 136
    assert found["below_bound_from_s"] == 146.0


def test_where_rounds_alone_cost_too_much_no_run_is_long_enough():
    found = tracking.longer(30.0, 20, 1.0, 3.0, 0.03)
    assert found["below_bound_from_rounds"] is None
    assert found["below_bound_from_s"] is None
    assert tracking.longer(30.0, 20, 1.0, 0.0, 0.01)["below_bound_from_rounds"] == 1


@pytest.mark.slow
def test_a_run_that_fails_is_an_error_and_no_figure(monkeypatch):
    monkeypatch.setattr(tracking, "OVERRIDES", ("federation.rounds=0",))
    with pytest.raises(RuntimeError, match=r"(?s)tracking on failed:.*federation\.rounds=0"):
        tracking.measure(1)
