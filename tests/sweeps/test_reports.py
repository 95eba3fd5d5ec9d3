import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from fedpriv.errors import UserError
from fedpriv.sweeps.processes import Process
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.reports import Report, ReportFile


def write_many(folder, writer):
    file = ReportFile(Path(folder))
    for number in range(100):
        file.append(Report(1000 * writer + number, "failed", reason="x" * (37 * number % 1500)))


def test_what_many_processes_append_at_once_is_all_there_and_whole(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_many, [str(tmp_path)] * 4, range(4)))
    found = {report.number: len(report.reason) for report in ReportFile(tmp_path).new()}
    assert found == {1000 * w + n: min(37 * n % 1500, 1000) for w in range(4) for n in range(100)}


def test_each_report_is_read_once_and_half_a_line_when_it_is_whole(tmp_path):
    file = ReportFile(tmp_path)
    assert file.new() == []
    report = Report(3, "finished", "accuracy", 0.5, "8", "run", seconds=1.5, process=Process.own())
    file.append(report)
    assert file.new() == [report]
    assert file.new() == []
    line = json.dumps({"number": 4, "state": "running", "process": None}) + "\n"
    with (tmp_path / "jobs.jsonl").open("a") as opened:
        opened.write(line[:10])
        opened.flush()
        assert file.new() == []
        opened.write(line[10:])
    assert file.new() == [Report(4, "running")]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "7", '{"number": 1}', '{"number": "1", "state": "running", "process": null}',
     '{"number": 1, "state": "lost", "process": null}', '{"number": 1, "state": "running", "process": 3}',
     '{"number": 1, "state": "running", "process": null, "more": 1}', "[" * 100000],
)  # fmt: skip
def test_damaged_lines_are_passed_over(tmp_path, line):
    (tmp_path / "jobs.jsonl").write_text(line + "\n")
    file = ReportFile(tmp_path)
    file.append(Report(1, "running"))
    assert file.new() == [Report(1, "running")]


def test_reports_are_their_owners_alone(tmp_path):
    ReportFile(tmp_path).append(Report(1, "running"))
    assert (tmp_path / "jobs.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = SweepRecord(
        "p", "sqlite:////a.db", "e", 2, Process.own(), {"0": {"number": 0, "state": "reused"}}
    )
    for each in (record, SweepRecord(None, None, "e", 1, None, {})):
        each.write(tmp_path / "new")
        assert SweepRecord.read(tmp_path / "new") == each
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sweep.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"launcher": 3}', '{"launcher": null, "parent": 1}'])
def test_a_damaged_record_is_one_line_that_names_the_file(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match=r"sweep\.json: is damaged; start the sweep again"):
        SweepRecord.read(tmp_path)
    (tmp_path / "sweep.json").unlink()
    with pytest.raises(UserError, match=r"sweep\.json: No such file"):
        SweepRecord.read(tmp_path)
