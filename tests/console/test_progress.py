import io
import logging
import sys
import threading

import pytest
from rich.console import Console

from fedpriv.console.progress import RunProgress
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
