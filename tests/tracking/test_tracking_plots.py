import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedpriv
from fedpriv.results import RoundResult
from fedpriv.tracking.plots import bytes_plot, epsilon_plot, metric_plot, seconds_plot

ROUNDS = [
    RoundResult(0, {"error_deg": 20.0}, seconds={"evaluate": 0.5}),
    RoundResult(
        1,
        {"error_deg": 12.0},
        epsilon=1.0,
        delta=1e-5,
        bytes_up=2_000_000,
        bytes_down=5_000_000,
        seconds={"train": 4.0, "encrypt": 1.0, "evaluate": 0.5},
    ),
    RoundResult(
        2,
        {"error_deg": 9.0},
        epsilon=1.5,
        delta=1e-5,
        bytes_up=1_000_000,
        bytes_down=5_000_000,
        seconds={"train": 1.0, "encrypt": 1.5, "custom": 2.0},
    ),
]


def _texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def _lines(figure):
    return [line.get_xydata().tolist() for line in figure.axes[0].lines]


def test_metric_plot_shows_values_baseline_and_last_value():
    figure = metric_plot(ROUNDS, "error_deg", "error (deg)", 15.0, "mean predictor")
    curve, baseline = _lines(figure)
    assert curve == [[0, 20], [1, 12], [2, 9]]
    assert {y for _, y in baseline} == {15.0}
    assert _texts(figure) == ["mean predictor 15", "9"]
    assert figure.axes[0].get_ylabel() == "error (deg)"
    assert figure.axes[0].get_xlabel() == "round"


def test_metric_plot_skips_rounds_that_did_not_measure():
    rounds = [ROUNDS[0], RoundResult(1, {}), RoundResult(2, {"error_deg": float("nan")}), ROUNDS[2]]
    assert _lines(metric_plot(rounds, "error_deg", "e")) == [[[0, 20], [2, 9]]]


def test_epsilon_plot_names_delta_and_starts_at_zero():
    figure = epsilon_plot(ROUNDS)
    assert _lines(figure) == [[[1, 1.0], [2, 1.5]]]
    assert figure.axes[0].get_ylabel() == "privacy loss ε at δ = 1e-05"
    assert figure.axes[0].get_ylim()[0] == 0


def test_epsilon_plot_without_privacy_says_so():
    figure = epsilon_plot(ROUNDS[:1])
    assert _lines(figure) == []
    assert _texts(figure) == ["no differential privacy"]


def test_epsilon_plot_of_a_private_run_that_released_nothing_says_so():
    assert _texts(epsilon_plot(ROUNDS[:1], private=True)) == ["ε = 0 (nothing was released)"]


def test_epsilon_plot_ends_with_infinity_where_epsilon_does():
    endless = [RoundResult(number, {}, epsilon=np.inf, delta=1e-5) for number in (3, 4)]
    figure = epsilon_plot([*ROUNDS, *endless])
    top = figure.axes[0].get_ylim()[1]
    assert _lines(figure) == [[[1, 1.0], [2, 1.5]], [[3, top], [4, top]]]
    assert _texts(figure) == ["ε = ∞"]
    assert _texts(epsilon_plot(endless)) == ["ε = ∞"]


def test_bytes_plot_adds_up_in_megabytes():
    figure = bytes_plot(ROUNDS)
    down, up = _lines(figure)
    assert down == [[0, 0], [1, 5], [2, 10]]
    assert up == [[0, 0], [1, 2], [2, 3]]
    assert sorted(_texts(figure)) == ["down 10 MB", "up 3 MB"]


def test_seconds_plot_counts_encryption_inside_training_once():
    figure = seconds_plot(ROUNDS)
    tops = np.zeros(3)
    for bars in figure.axes[0].containers:
        tops = np.maximum(tops, [bar.get_y() + bar.get_height() for bar in bars])
    np.testing.assert_allclose(tops, [0.5, 4.0 + 0.5, 1.0 + 2.0])
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"train, wait", "encrypt", "evaluate", "custom"}


@pytest.mark.parametrize(
    "plot", [lambda r: metric_plot(r, "error_deg", "e", 1.0), epsilon_plot, bytes_plot, seconds_plot]
)
@pytest.mark.parametrize("rounds", [[], ROUNDS[:1], ROUNDS, ROUNDS[1:2] * 60])
def test_every_plot_draws_whatever_there_is(plot, rounds):
    file = io.BytesIO()
    plot(rounds).savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(b"\x89PNG")


def test_no_global_pyplot_state_is_used(tmp_path):
    code = (
        "import sys; from fedpriv.results import RoundResult; from fedpriv.tracking.plots import bytes_plot;"
        "bytes_plot([RoundResult(1, {})]).savefig(sys.argv[1]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(fedpriv.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], check=True, env=environment)
