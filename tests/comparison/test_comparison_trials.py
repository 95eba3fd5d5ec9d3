"""A run's state, figures and gaps."""

import json
import math

import pytest

from fedpriv.comparison.figures import to_csv, to_json
from fedpriv.comparison.judged import BEFORE_TAGS, Judged, judged_by, judged_in
from fedpriv.comparison.report import to_html
from fedpriv.comparison.tables import runs_table
from fedpriv.comparison.trials import trial_of, wanted_curves
from fedpriv.errors import UserError
from fedpriv.tasks.classification import ClassificationTask
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.tasks.face import FaceTask
from fedpriv.tasks.gaze import GazeTask
from tests.comparison.made import ERROR, compared, logged, trials


@pytest.mark.parametrize(
    ("status", "tags", "state"),
    [
        ("FINISHED", {}, "finished"),
        ("FAILED", {}, "failed"),
        ("KILLED", {}, "killed"),
        ("RUNNING", {}, "running"),
        ("SCHEDULED", {}, "scheduled"),
        ("KILLED", {"search_state": "pruned"}, "pruned"),
        ("FINISHED", {"search_state": "pruned"}, "finished"),
        ("FINISHED", {"search_state": "complete"}, "finished"),
    ],
)
def test_only_a_finished_run_has_values(status, tags, state):
    found = trial_of(logged({"seed": 0}, 3.0, status=status, tags=tags), [ERROR], {})
    assert found.state == state
    assert dict(found.values) == ({"error": 3.0} if state == "finished" else {})


@pytest.mark.parametrize(
    ("metrics", "curves", "why"),
    [
        ({}, {}, "was not measured"),
        ({"error": math.nan}, {}, "is nan"),
        ({"error": math.inf}, {}, "is inf"),
        ({"error": -1.7976931348623157e308}, {}, "is -inf"),  # as MLflow's databases keep it
        (
            {"error": 2.0},
            {"error": {0: 9.0, 3: 2.0}, "clients_failed": {3: 0.0, 5: 0.0}},
            "is of round 3 of 5",
        ),
    ],
)
def test_a_final_value_that_is_missing_infinite_or_of_an_earlier_round_does_not_count(metrics, curves, why):
    found = trial_of(logged({"seed": 0}, metrics), [ERROR], curves)
    assert dict(found.values) == {}
    assert found.reason.startswith(f"error {why}")


def test_a_value_of_the_last_round_counts():
    curves = {"error": {0: 9.0, 5: 2.0}, "clients_failed": {4: 0.0, 5: 0.0}}
    assert dict(trial_of(logged({"seed": 0}, 2.0), [ERROR], curves).values) == {"error": 2.0}


@pytest.mark.parametrize(
    ("tags", "metrics", "text"),
    [
        ({}, {}, "none"),
        ({"privacy_unit": "none"}, {}, "none"),
        ({"privacy_unit": "sample"}, {}, "not stated"),
        ({"privacy_unit": "sample"}, {"epsilon": 2.9841}, "2.99"),
        ({"epsilon": "2.98411"}, {"epsilon": 2.984101}, "2.99"),
        ({"epsilon": "inf"}, {"epsilon": 2.98}, "∞"),  # the metric keeps the last finite one
        ({"epsilon": "5"}, {"epsilon": 2.98}, "5"),
        ({"epsilon": "much"}, {}, "not stated"),
        ({"epsilon": "3", "epsilon_is": "of the last round that is written here; ..."}, {}, "3 so far"),
    ],
)
def test_epsilon_is_what_the_run_states_rounded_up_and_infinite_stays_infinite(tags, metrics, text):
    assert trial_of(logged({"seed": 0}, metrics, tags=tags), [ERROR], {}).epsilon_text == text


def test_the_tag_rounded_up_gives_way_to_the_metric_that_it_was_made_of():
    run = logged({"seed": 0}, {"epsilon": 0.9979840781147528}, tags={"epsilon": "0.997985"})
    assert trial_of(run, [ERROR], {}).epsilon == 0.9979840781147528


def test_a_failed_runs_epsilon_is_what_it_had_spent():
    run = logged({"seed": 0}, {}, status="FAILED", tags={"epsilon": "1.5", "epsilon_is": "of the whole run"})
    assert trial_of(run, [ERROR], {}).epsilon_text == "1.5 so far"


def test_bytes_and_seconds_are_of_all_rounds():
    metrics = {
        "error": 1.0,
        "bytes_up": 1.0,
        "clients_replied": 1.0,
        "seconds_train": 1.0,
        "seconds_encrypt": 1.0,
    }
    run = logged({"seed": 0}, {**metrics, "seconds_evaluate": 1.0})
    names = wanted_curves(run, [ERROR])
    assert "seconds_encrypt" not in names  # part of the clients' training
    curves = {
        "bytes_up": {1: 100.0, 2: 50.0},
        "clients_replied": {1: 2.0, 2: 1.0},
        "seconds_train": {1: 3.0, 2: 4.0},
        "seconds_evaluate": {0: 1.0, 2: 0.5},
    }
    assert set(curves) < set(names)
    found = trial_of(run, [ERROR], curves)
    assert (found.bytes_up, found.bytes_per_reply, found.seconds) == (150.0, 50.0, 8.5)
    assert found.round_seconds == 3.5
    bare = trial_of(logged({"seed": 0}, 1.0), [ERROR], {})
    assert (bare.bytes_up, bare.bytes_per_reply, bare.seconds) == (None, None, None)


def test_the_time_of_a_round_is_the_median_without_evaluation_and_what_a_process_does_first():
    run = logged(
        {"seed": 0}, {"error": 1.0, "seconds_train": 1.0, "seconds_keys": 9.0, "seconds_evaluate": 7.0}
    )
    curves = {
        "seconds_train": {1: 30.0, 2: 2.0, 3: 2.5, 4: 3.0, 5: 2.0},  # the first with imports and caches
        "seconds_keys": {1: 9.0},
        "seconds_evaluate": {0: 40.0, 2: 7.0, 4: 7.0},
    }
    found = trial_of(run, [ERROR], curves)
    assert found.round_seconds == 2.5
    assert found.seconds == 102.5  # all of it, for who asks


def test_a_finished_run_of_fewer_rounds_than_asked_for_says_so_wherever_it_is_shown():
    def run(seed, last, **more):
        made = logged(
            {"seed": seed, "federation.rounds": 10}, {"error": 1.0 + seed, "clients_failed": 0.0}, **more
        )
        return made, {made.run_id: {"clients_failed": dict.fromkeys(range(last + 1), 0.0)}}

    each = [run(0, 10), run(1, 6, name="short"), run(2, 6), run(3, 4, status="KILLED")]
    curves = {name: curve for _, one in each for name, curve in one.items()}
    found = compared([made for made, _ in each], curves=curves)
    assert found.groups[0].states_text == "3 of 4, 1 killed, 2 ended after round 6 of 10"
    (note,) = [note for note in found.notes if note.startswith("ENDED EARLY: 2 of 3 finished runs")]
    assert "short ended after round 6 of 10" in note
    assert [row[-1] for row in runs_table(found).rows] == [
        "", "ended after round 6 of 10", "ended after round 6 of 10", ""
    ]  # fmt: skip
    page = to_html(found, [])
    assert "<li class=incomplete>ENDED EARLY" in page
    assert "seed 1 finished: ended after round 6 of 10" in to_csv(found)
    (group,) = json.loads(to_json(found))["groups"]
    said = [(one["ended_early"], one["last_round"], one["rounds"]) for one in group["runs"]]
    assert said == [("", 10, 10), *[("ended after round 6 of 10", 6, 10)] * 2, ("", 4, 10)]


def test_means_leave_out_what_has_not_finished_and_the_group_says_so():
    runs = [
        logged({"seed": 0}, 1.0),
        logged({"seed": 1}, 100.0, status="FAILED", tags={"failure": "UserError: no memory"}),
        logged({"seed": 2}, 100.0, status="RUNNING"),
        logged({"seed": 3}, 100.0, status="KILLED"),
        logged({"seed": 4}, 100.0, status="KILLED", tags={"search_state": "pruned"}),
        logged({"seed": 5}, math.nan),
        logged({"seed": 6}, 3.0),
    ]
    found = compared(runs)
    group = found.groups[0]
    assert (group.summary("error").mean, group.summary("error").n) == (2.0, 2)
    assert group.states_text == "3 of 7, 1 failed: UserError: no memory, 1 killed, 1 pruned, 1 running"
    assert found.notes[0] == "INCOMPLETE: 4 of 7 runs have not finished; means are of those that have"
    assert "error is nan" in found.notes[1]


def test_a_run_that_died_before_it_said_its_settings_is_shown_and_makes_no_column():
    runs = [logged({"seed": 0, "a": 1}, 1.0), logged({"seed": 1, "a": 1}, 2.0)]
    dead = logged({}, status="FAILED", name="dead", tags={"failure": "UserError: a.b=1: no"})
    found = compared([*runs, dead])
    assert (found.columns, len(found.groups)) == ([], 1)
    assert [trial.run.name for trial in found.unplaced] == ["dead"]
    assert "1 runs ended before they said their settings: dead (failed: UserError: a.b=1: no)" in found.notes


def test_what_older_runs_are_judged_by_is_what_tasks_say():
    for task in (GazeTask, EmotionTask, FaceTask, ClassificationTask):
        assert BEFORE_TAGS[task.metric.name] == (task.metric.label, task.metric.lower_is_better)
    old = logged({"seed": 0}, {"accuracy": 0.5, "macro_f1": 0.4})
    old.tags.clear()
    assert judged_by(old) == Judged("macro_f1", "macro F1", False)


def test_runs_of_two_tasks_have_two_metrics_and_lack_none_of_the_others():
    other = {"metric": "f1", "metric_label": "F1", "metric_lower_is_better": "false"}
    runs = [
        logged({"seed": 0, "task._target_": "a.Gaze"}, 1.0),
        logged({"seed": 0, "task._target_": "a.Emotion"}, {"f1": 0.5}, tags=other),
    ]
    assert [metric.name for metric in judged_in(runs)] == ["error", "f1"]
    assert not any(trial.lacks for trial in trials(runs))


def test_a_named_metric_has_the_sense_of_the_one_it_is_part_of():
    run = logged(
        {"seed": 0}, {"error": 1.0, "personal_after_error": 1.0, "other": 1.0, "evaluate/lab/error": 2.0}
    )
    found = judged_in([run], ["personal_after_error", "evaluate/lab/error", "other", "error"])
    assert [metric.lower_is_better for metric in found] == [True, True, None, True]
    assert judged_in([run], ["other"], lower_is_better=False)[0].sense == "higher is better"
    with pytest.raises(
        UserError, match=r"^--metric wrong: none of the 1 runs has it; name one of error, evaluate"
    ):
        judged_in([run], ["wrong"])


def test_runs_that_say_no_metric_are_refused_with_those_they_have():
    run = logged({"seed": 0}, {"loss": 1.0})
    run.tags.clear()
    with pytest.raises(UserError, match=r"name it with --metric, one of loss$"):
        judged_in([run])
