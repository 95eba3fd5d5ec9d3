"""What tables are made of: every run of an experiment, as the store has it."""

import pytest

from fedpriv.errors import UserError
from fedpriv.results import RoundResult
from fedpriv.tracking import queries
from fedpriv.tracking.mlflow_logger import RunLogger
from fedpriv.tracking.queries import runs_of


def test_all_runs_are_returned_the_oldest_first_over_several_pages(tracking_uri, monkeypatch):
    monkeypatch.setattr(queries, "_PAGE", 2)
    started = []
    for number in range(5):
        config = {"training": {"rate": 0.5, "epsilon": float("inf")}, "number": number}
        logger = RunLogger.start(
            tracking_uri, "pages", f"run {number}", None, config, number, tags={"a": "b"}
        )
        logger.log_round(RoundResult(1, {"m": 1.0}))
        logger.log_round(RoundResult(2, {"m": 10.0 + number}))
        started.append(logger)
    for logger in started[:3]:
        logger.finish()
    started[3].fail(ValueError("no"))
    found = runs_of(tracking_uri, "pages")
    assert {run.run_id for run in found} == {logger.run_id for logger in started}
    by_id = {run.run_id: run for run in found}
    ordered = [by_id[logger.run_id] for logger in started]
    assert [run.status for run in ordered] == ["FINISHED"] * 3 + ["FAILED", "RUNNING"]
    assert [run.name for run in ordered] == [f"run {number}" for number in range(5)]
    assert [run.metrics["m"] for run in ordered] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert ordered[1].params == {"training.rate": "0.5", "training.epsilon": "inf", "number": "1"}
    assert ordered[1].tags["a"] == "b"
    assert ordered[1].tags["seed"] == "1"


def test_the_oldest_comes_first(tracking_uri, client):
    experiment = client.create_experiment("ordered")
    runs = [client.create_run(experiment, start_time=time) for time in (3000, 1000, 2000)]
    assert [run.run_id for run in runs_of(tracking_uri, "ordered")] == [
        runs[place].info.run_id for place in (1, 2, 0)
    ]


def test_a_run_that_was_deleted_is_left_out(tracking_uri, client):
    kept, deleted = (RunLogger.start(tracking_uri, "left", None, None, {}, 0) for _ in range(2))
    client.delete_run(deleted.run_id)
    assert [run.run_id for run in runs_of(tracking_uri, "left")] == [kept.run_id]


def test_what_is_not_there_is_refused_and_not_made(tracking_uri, tmp_path):
    with pytest.raises(UserError, match=r"no such database; name the one"):
        runs_of(f"sqlite:///{tmp_path}/none.db", "tests")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"tracking\.experiment=nowhere: is not in sqlite:"):
        runs_of(tracking_uri, "nowhere")


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(range(256)) * 40])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path, content):
    file = tmp_path / "other.db"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"^tracking\.uri=sqlite:.*other\.db: "):
        runs_of(f"sqlite:///{file}", "tests")
    assert file.read_bytes() == content
