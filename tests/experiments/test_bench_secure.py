"""The end-to-end benchmark: its arithmetic on planted runs, and real runs, logged, on the same data."""

import pytest

from experiments.bench import secure
from fedpriv.cli import main
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.used import encryption_figures
from tests.conftest import TINY

SETTINGS = [setting for setting in TINY if not setting.startswith("tracking")]


def planted(seconds, whole, cpu):
    return {
        "s": seconds,
        "whole_s": whole,
        "whole_cpu_s": cpu,
        "phases_s": {"train": seconds / 2},
        "parameters": 7,
        "update_bytes": 90,
        "metric": "error",
        "final": 4.0,
    }


def test_medians_and_ratios_are_those_of_runs_that_are_known(monkeypatch):
    seconds = {
        "none": [(10.0, 20.0, 30.0), (30.0, 40.0, 40.0), (20.0, 25.0, 20.0)],
        "ckks": [(11.0, 30.0, 90.0), (60.0, 90.0, 60.0), (25.0, 20.0, 30.0)],
    }
    order, left = [], {way: [planted(*each) for each in runs] for way, runs in seconds.items()}

    def run(way, settings):
        order.append(way)
        return left[way].pop(0)

    monkeypatch.setattr(secure, "_in_fresh_process", run)
    found = secure.compare(["federation.clients=8"], 3, ["ckks"])
    assert order == ["none", "ckks", "ckks", "none", "none", "ckks"]
    # medians by hand: of 10, 30, 20; of 20, 40, 25; of 30, 40, 20; and so on
    assert (found["none_s"], found["none_whole_s"], found["none_whole_cpu_s"]) == (20.0, 25.0, 30.0)
    assert (found["ckks_s"], found["ckks_whole_s"], found["ckks_whole_cpu_s"]) == (25.0, 30.0, 60.0)
    assert (found["ckks_ratio"], found["ckks_whole_ratio"], found["ckks_whole_cpu_ratio"]) == (1.25, 1.2, 2.0)
    assert found["ckks_paired_ratios"] == [1.1, 2.0, 1.25]
    assert found["overhead_ratio"] == 1.25
    assert (found["none_phases_s"], found["ckks_phases_s"]) == ({"train": 10.0}, {"train": 12.5})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["secure", "--schemes", "bfv,rsa"], "--schemes bfv,rsa: choose of bfv,bfv_committee,ckks"),
        (["engines"], "bench: argument name: invalid choice: 'engines'"),
        (["engine", "--repeats", "0"], "--repeats 0: give 1 or more; see `fedpriv bench --help`"),
        (["engine", "--schemes", "bfv"], "--schemes: the benchmark engine has none; leave it out"),
    ],
)
def test_schemes_that_there_are_not_are_refused(arguments, text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_real_runs_measure_what_they_say():
    found = secure.compare(SETTINGS, 1, ["bfv_committee"])
    for way in ("none", "bfv_committee"):
        # phases are parts of the rounds, and rounds of the whole; encrypt is within train
        phases = {**found[f"{way}_phases_s"]}
        encrypt = phases.pop("encrypt")
        assert 0 < encrypt < phases["train"]
        assert 0 < sum(phases.values()) < found[f"{way}_whole_s"]
        assert 0 < found[f"{way}_s"] < found[f"{way}_whole_s"]
        config = compose_run(*SETTINGS, f"secure={way}")
        assert found[f"{way}_update_bytes"] == encryption_figures(to_json(config))["update_bytes"]
        # quantisation moves the metric a little, another model would move it far
        assert found[f"{way}_final"] == pytest.approx(found["none_final"], abs=0.5)
    assert found["bfv_committee_phases_s"]["keys"] > 0
