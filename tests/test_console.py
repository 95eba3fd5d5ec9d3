import io
import logging
import sys
import threading

import pytest
from rich.console import Console

from fedpriv.console import RunProgress, bytes_text, clock_text, round_line, seconds_text, summary_table
from fedpriv.results import RoundResult

METRIC, LABEL = "error_deg", "angular error (deg)"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def _terminal():
    return Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=80, _environ={})


def _shown(progress):
    console = Console(file=io.StringIO(), width=80, _environ={})
    console.print(progress._render())
    return console.file.getvalue()


def _progress(console=None):
    clock = Clock()
    console = console or Console(file=io.StringIO(), _environ={})
    return RunProgress(METRIC, LABEL, console, clock), clock


def test_without_a_terminal_nothing_is_printed_but_one_line_per_round_is_logged(caplog):
    caplog.set_level(logging.INFO, "fedpriv")
    console = Console(file=io.StringIO(), _environ={})
    with RunProgress(METRIC, LABEL, console) as progress:
        progress.start(2)
        for number in range(3):
            progress.client_done(1, 4)
            progress.round_done(RoundResult(number, {METRIC: 9.0 - number}))
    assert console.file.getvalue() == ""
    assert [record.message for record in caplog.records] == [
        "round 0/2 | angular error (deg) 9",
        "round 1/2 | angular error (deg) 8",
        "round 2/2 | angular error (deg) 7",
    ]


def test_on_a_terminal_lines_are_kept_from_info(caplog):
    caplog.set_level(logging.DEBUG, "fedpriv")
    with RunProgress(METRIC, LABEL, _terminal()) as progress:
        progress.start(1)
        progress.round_done(RoundResult(1, {METRIC: 9.0}))
    assert [record.levelno for record in caplog.records if record.name == "fedpriv"] == [logging.INFO]


def test_terminal_shows_round_clients_metric_epsilon_and_failures():
    progress, clock = _progress(_terminal())
    with progress:
        progress.start(10)
        progress.round_done(RoundResult(0, {METRIC: 17.0}))
        clock.now += 60
        progress.round_done(RoundResult(1, {METRIC: 9.125}, epsilon=1.25, failures={"no_reply": 2}))
        progress.client_done(3, 8)
        lines = _shown(progress).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("round 2 of 10")
    assert lines[0].rstrip().endswith("0:01:00, 0:09:00 left")
    assert lines[1] == "clients 3 of 8 | angular error (deg) 9.125 | epsilon 1.25 | 2 failed"


def test_live_display_reaches_the_terminal():
    console = _terminal()
    with RunProgress(METRIC, LABEL, console) as progress:
        progress.start(4)
    assert "round 1 of 4" in console.file.getvalue()


def test_time_left_is_mean_round_times_rounds_left_less_time_since():
    progress, clock = _progress()
    progress.start(5)
    assert progress.seconds_left() is None
    clock.now += 1000
    progress.round_done(RoundResult(0, {}))
    assert progress.seconds_left() is None
    clock.now += 10
    progress.round_done(RoundResult(1, {}))
    clock.now += 20
    progress.round_done(RoundResult(2, {}))
    assert progress.seconds_left() == pytest.approx(15.0 * 3)
    clock.now += 5
    assert progress.seconds_left() == pytest.approx(40.0)
    clock.now += 500
    assert progress.seconds_left() == 0.0


def test_time_left_of_a_resumed_run_counts_its_own_rounds_only():
    progress, clock = _progress()
    progress.start(10)
    clock.now += 30
    progress.round_done(RoundResult(8, {}))
    assert progress.seconds_left() == pytest.approx(60.0)


def test_every_method_may_be_called_from_worker_threads():
    progress, _ = _progress(_terminal())
    failures = []

    def work(number):
        try:
            for done in range(50):
                progress.client_done(done, 50)
                progress.round_done(RoundResult(number, {METRIC: 1.0}, failures={"x": 1}))
        except Exception as error:
            failures.append(error)

    with progress:
        progress.start(4)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        assert _shown(progress).rstrip().endswith("200 failed")
    assert failures == []


def test_close_restores_the_streams_and_counts_once():
    before = (sys.stdout, sys.stderr)
    progress, _ = _progress(_terminal())
    progress.start(1)
    progress.close()
    progress.close()
    assert (sys.stdout, sys.stderr) == before


def test_round_line_leaves_out_what_was_not_measured():
    full = RoundResult(
        3,
        {METRIC: 9.12345},
        train_loss=0.5,
        epsilon=2.0,
        bytes_up=1_500_000,
        seconds={"train": 4.0, "encrypt": 1.0, "evaluate": 0.5},
        asked=8,
        replied=6,
        failures={"no_reply": 1, "non_finite": 1},
    )
    assert round_line(full, 10, METRIC, LABEL) == (
        "round 3/10 | angular error (deg) 9.123 | epsilon 2 | train loss 0.5 | clients 6/8 | "
        "failed: 1 no_reply, 1 non_finite | up 1.5 MB | 4.50 s"
    )
    assert round_line(RoundResult(0, {}), 10, METRIC, LABEL) == "round 0/10"


def _summary(results, encoding="utf-8", **settings):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    summary_table(
        Console(file=stream, width=80, _environ={}), results, metric=METRIC, label=LABEL, **settings
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


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (812, "812 B"), (999, "999 B"), (31_400, "31.4 kB"), (999_950, "1 MB"), (2.5e9, "2.5 GB")],
)
def test_bytes_have_decimal_units(size, text):
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0421, "0.0421 s"), (12.345, "12.3 s"), (123.4, "123 s"), (599.9, "600 s"), (3723.0, "1:02:03")],
)
def test_seconds_have_three_digits_then_a_clock(seconds, text):
    assert seconds_text(seconds) == text


def test_clock_carries_to_hours():
    assert clock_text(59.9) == "0:00:59"
    assert clock_text(360_000) == "100:00:00"
