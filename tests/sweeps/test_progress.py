import io

from rich.console import Console

from fedpriv.sweeps import table
from fedpriv.sweeps.progress import SweepProgress
from fedpriv.sweeps.reports import Report, ReportFile

SETTINGS = {0: ("seed=0",), 1: ("seed=1",), 2: ("seed=[2]",)}


def progress(folder, lines, bar=None, total=3):
    shown = Console(file=bar or io.StringIO(), force_terminal=bar is not None, width=100)
    return SweepProgress(
        ReportFile(folder), total, 2, SETTINGS, shown, Console(file=lines, width=200), clock=lambda: 0.0
    )


def test_without_a_terminal_there_is_a_line_for_each_job_that_ends(tmp_path):
    lines, file = io.StringIO(), ReportFile(tmp_path)
    with progress(tmp_path, lines) as shown:
        file.append(Report(0, "running"))
        file.append(Report(2, "reused"))
        file.append(Report(0, "finished", "accuracy", 0.8125, seconds=2.0))
        file.append(Report(1, "failed", reason="seed=1: is [red]bad[/red]", seconds=1.0))
    assert lines.getvalue().splitlines() == [
        "2/3 | seed=0 | accuracy 0.8125 | 2.00 s",
        "3/3 | seed=1 | failed: seed=1: is [red]bad[/red] | 1.00 s",
    ]
    assert {number: report.state for number, report in shown.latest.items()} == {
        0: "finished",
        1: "failed",
        2: "reused",
    }


def test_a_line_says_once_that_a_trial_was_pruned_and_has_no_more_digits_than_are_read(tmp_path):
    lines, file = io.StringIO(), ReportFile(tmp_path)
    settings = {
        0: ("training.learning_rate=0.0012345678901234", "data=eyes", "privacy.epsilon=8.0", "+a=b=c")
    }
    shown = SweepProgress(file, 1, 1, settings, Console(file=io.StringIO()), Console(file=lines, width=200))
    with shown:
        file.append(Report(0, "pruned", reason="Pruned: error 20 at round 2 of 5 (median)", seconds=1.0))
    assert lines.getvalue() == (
        "1/1 | training.learning_rate=0.001235 data=eyes privacy.epsilon=8.0 +a=b=c | "
        "pruned: error 20 at round 2 of 5 (median) | 1.00 s\n"
    )


def test_a_terminal_shows_how_many_are_in_each_state_and_the_time_left(tmp_path):
    lines, bar, file = io.StringIO(), io.StringIO(), ReportFile(tmp_path)
    file.append(Report(0, "finished", seconds=30.0))
    file.append(Report(1, "running"))
    with progress(tmp_path, lines, bar) as shown:
        shown.take()
        assert shown.seconds_left() == 2 * 30 / 2
        assert shown.counts() == {"finished": 1, "running": 1}
        Console(file=bar, width=100).print(shown._render())
    assert not lines.getvalue()
    assert "job 1 of 3" in bar.getvalue()
    assert "1 finished | 1 running" in bar.getvalue()
    assert "0:30 left" in bar.getvalue()


def test_the_time_left_is_unknown_before_a_job_has_ended_and_in_an_open_search(tmp_path):
    ReportFile(tmp_path).append(Report(0, "reused"))
    with progress(tmp_path, io.StringIO()) as shown:
        shown.take()
        assert shown.seconds_left() is None
    ReportFile(tmp_path).append(Report(1, "finished", seconds=1.0))
    with progress(tmp_path, io.StringIO(), total=None) as shown:
        shown.take()
        assert shown.seconds_left() is None


def test_the_table_has_every_job_with_its_state_settings_and_figures():
    reports = {
        0: Report(0, "reused", "accuracy", 0.1 + 0.2, "8", "abc"),
        1: Report(1, "failed", reason="a|b <c>, d", run_id="def"),
        3: Report(3, "running"),
    }
    settings = {0: ("seed=0", "data=a,b"), 1: ("seed=1", "data=c"), 2: ("seed=2", "data=c"), 3: ("seed=3",)}
    rows = table.rows(settings, reports)
    assert [row["state"] for row in rows] == ["finished", "failed", "missing", "killed"]
    assert table.as_csv(rows) == (
        "job,state,seed,data,accuracy,epsilon,run,reason\n"
        '0,finished,0,"a,b",0.30000000000000004,8,abc,\n'
        '1,failed,1,c,,,def,"a|b <c>, d"\n'
        "2,missing,2,c,,,,\n"
        "3,killed,3,,,,,\n"
    )
    assert table.as_markdown(rows).splitlines()[:4] == [
        "| job | state | seed | data | accuracy | epsilon | run | reason |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 0 | finished | 0 | a,b | 0.3 | 8 | abc |  |",
        r"| 1 | failed | 1 | c |  |  | def | a\|b &lt;c>, d |",
    ]
    text = io.StringIO()
    table.show(Console(file=text, width=100), rows, most=2)
    assert "and 2 more" in text.getvalue()
    assert "def" not in text.getvalue()
