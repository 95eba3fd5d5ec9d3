"""Metrics round by round as a store has them, and files added to a run later."""

import math

import pytest

from fedpriv.errors import UserError
from fedpriv.results import RoundResult
from fedpriv.tracking.histories import add_files, curves_of
from fedpriv.tracking.queries import runs_of


def test_a_curve_has_every_round_and_the_last_word_on_one_that_was_written_twice(start, tracking_uri):
    logger = start()
    for number, value in ((1, 3.0), (2, 9.0), (2, 2.0)):
        logger.log_round(RoundResult(number, {"m": value}))
        logger.flush()  # a round is written twice by two processes, not in one call
    logger.finish()
    found = curves_of(tracking_uri, {logger.run_id: ["m", "never"]})
    assert found == {logger.run_id: {"m": {1: 3.0, 2: 2.0}, "never": {}}}


def test_what_is_infinite_or_no_number_is_so_again(client, tracking_uri, start):
    logger = start()
    for step, value in enumerate((math.inf, -math.inf, math.nan, 1.0)):
        client.log_metric(logger.run_id, "m", value, step=step)
    curve = curves_of(tracking_uri, {logger.run_id: ["m"]})[logger.run_id]["m"]
    assert [curve[0], curve[1], curve[3]] == [math.inf, -math.inf, 1.0]
    assert math.isnan(curve[2])


def test_files_are_added_to_a_run_that_has_ended_and_replaced(
    client, tracking_uri, start, artifact_text, tmp_path
):
    logger = start()
    logger.finish()
    for text in ("first", "second"):
        (tmp_path / "table.md").write_text(text)
        add_files(tracking_uri, logger.run_id, tmp_path, "comparison")
    assert artifact_text(logger.run_id, "comparison/table.md") == "second"
    assert client.get_run(logger.run_id).info.status == "FINISHED"


def test_a_run_that_is_not_there_takes_no_files(tracking_uri, tmp_path):
    with pytest.raises(UserError, match=r"Run '?0+'? not found|0{32}"):
        add_files(tracking_uri, "0" * 32, tmp_path, "comparison")


def test_a_filter_finds_runs_and_a_wrong_one_is_refused_in_one_line(start, tracking_uri):
    first = start({"privacy": {"epsilon": 3.0}}, tags={"found": "yes"})
    start({"privacy": {"epsilon": 8.0}}, tags={"found": "yes"})
    found = runs_of(tracking_uri, "tests", "params.privacy.epsilon = '3.0' and tags.found = 'yes'")
    assert [run.run_id for run in found] == [first.run_id]
    with pytest.raises(UserError, match=r"^filter wrong: Invalid clause.*; write e\.g\. params\.privacy"):
        runs_of(tracking_uri, "tests", "wrong")
