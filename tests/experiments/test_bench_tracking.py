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
    for way in ("off", "on"):
        parts = sum(found[f"{way}_{part}_s"] for part in tracking.PARTS)
        assert parts == pytest.approx(found[f"{way}_wall_s"], abs=2e-3)
    assert 0 < found["round_s"] < found["off_wall_s"] / 2
    assert found["pairs"] == [found["overhead"]]
    # round 0 is written too
    assert found["per_round_ms"] == pytest.approx(1e3 * found["writing_s"] / 3, abs=0.3)


@pytest.mark.slow
def test_a_run_that_fails_is_an_error_and_no_figure(monkeypatch):
    monkeypatch.setattr(tracking, "OVERRIDES", ("federation.rounds=0",))
    with pytest.raises(RuntimeError, match=r"(?s)tracking on failed:.*federation\.rounds=0"):
        tracking.measure(1)
