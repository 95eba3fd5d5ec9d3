"""Studies: what is gone on with, what is found, and who may work at one."""

import math
import multiprocessing
import sqlite3

import numpy as np
import optuna
import pytest

from fedpriv.errors import UserError
from fedpriv.sweeps.reports import Report
from fedpriv.sweeps.search.objectives import Objective
from fedpriv.sweeps.search.storage import alone, connect, place, prepare_storage
from fedpriv.tracking.store import locate
from tests.sweeps.search.conftest import ERROR, PLAIN, SPACE

COST = Objective("gain", "gain", lower_is_better=False)
TWO = (ERROR, COST)


def error_of(params):
    return (params["x"] - 1) ** 2 + math.log10(params["scale"]) ** 2 + (params["kind"] == "a")


def finished(trial):
    return Report(trial.number, "finished", run_id=f"run{trial.number}")


def go_on(study, total, size=1, most=math.inf):
    """Run trials until the study has ``total``, or ``most`` batches are done."""
    batches = 0
    while batches < most and (batch := study.batch(size, total)):
        for trial in batch:
            study.tell(trial, finished(trial), [error_of(trial.params)])
        batches += 1
    return [(each.number, each.params, each.values) for each in study.ended]


@pytest.mark.parametrize(("sampler", "size"), [("tpe", 1), ("random", 1), ("tpe", 3)])
def test_a_search_that_is_cut_off_tries_what_the_undisturbed_one_does(study, sampler, size):
    settings = {"sampler": {"name": sampler, "seed": 3, "startup_trials": 4}}
    with study(study_name="undisturbed", **settings) as whole:
        undisturbed = go_on(whole, 20, size)
    with study(**settings) as first:
        assert go_on(first, 10, size) == undisturbed[:10]
        name = first.name
        assert first.batch(size, 10) == []
    with study(**settings) as second:
        assert second.name == name
        left = second.batch(size, 20)  # asked for, and the process is killed
    with study(**settings) as third:
        again = third.batch(size, 20)
        assert [(each.number, each.params) for each in again] == [(each.number, each.params) for each in left]
        for each in again:
            third.tell(each, finished(each), [error_of(each.params)])
        assert go_on(third, 20, size) == undisturbed
        assert third.batch(size, 20) == []
    assert len({str(params) for _, params, _ in undisturbed}) == 20  # no seed is used twice


def test_tpe_follows_what_was_found(study):
    with study() as tpe:
        found = go_on(tpe, 40)
    early, late = (np.median([values[0] for *_, values in part]) for part in (found[:10], found[-15:]))
    assert late < early / 2


def test_a_trial_that_was_killed_while_it_got_its_settings_gets_the_rest(study):
    with study(study_name="whole") as whole:
        (undisturbed,) = whole.batch(1, 20)
    with study() as cut:
        cut.optuna.sampler = cut._sampler(0, 1)
        cut.optuna.ask().suggest_float("x", -3, 3)
    with study() as again:
        (trial,) = again.batch(1, 20)
        assert (trial.number, trial.params) == (0, undisturbed.params)


def test_batches_end_at_the_same_trials_wherever_a_command_was_cut_off(study):
    with study() as first:
        a, b, c = first.batch(3, 20)
        first.tell(a, finished(a), [1.0])
        first.tell(c, finished(c), [1.0])
    with study() as second:
        (left,) = second.batch(3, 20)
        assert (left.number, left.params) == (1, b.params)
        second.tell(left, finished(left), [1.0])
        assert [each.number for each in second.batch(3, 20)] == [3, 4, 5]
    with study() as third:
        assert [each.number for each in third.batch(2, 20)] == [3, 4, 5]


def test_the_last_batch_is_as_long_as_there_are_trials(study):
    with study() as short:
        assert [each.number for each in short.batch(8, 5)] == [0, 1, 2, 3, 4]


def test_two_objectives_give_the_pareto_front_of_brute_force(study):
    random = np.random.default_rng(0)
    with study(objectives=TWO) as search:
        points = {}
        for _ in range(40):
            (trial,) = search.batch(1, 40)
            # few values, so that there are ties, and infinite ones
            error, more = (float(each) for each in random.integers(0, 8, 2))
            points[trial.number] = (error if error < 7 else math.inf, error + more / 2)
            search.tell(trial, finished(trial), points[trial.number])

        def beats(one, other):
            return one[0] <= other[0] and one[1] >= other[1] and one != other

        front = {
            number
            for number, point in points.items()
            if not any(beats(other, point) for other in points.values())
        }
        assert {each.number for each in search.best} == front
        assert 3 < len(front) < 40
        assert {each.number: each.values for each in search.best} == {n: points[n] for n in front}


def test_the_best_of_one_objective_is_in_its_sense(study):
    with study(objectives=(COST,)) as search:
        for value in (1.0, 5.0, 3.0):
            (trial,) = search.batch(1, 20)
            search.tell(trial, finished(trial), [value])
        assert [each.values for each in search.best] == [(5.0,)]


def test_failed_and_pruned_trials_are_kept_with_their_reason_and_count(study):
    with study() as search:
        (failed,) = search.batch(1, 3)
        search.tell(failed, Report(0, "failed", reason="sqlite://me:word@host is not there"))
        (pruned,) = search.batch(1, 3)
        pruned.handle.report(9.0, 1)
        search.tell(pruned, Report(1, "pruned", reason="Pruned: error 9 at round 1"), None)
        assert search.best == []
        assert [each.number for each in search.batch(1, 3)] == [2]
    with study() as again:
        one, two = again.ended
        assert (one.state, one.report.reason) == ("failed", "sqlite://<hidden>@host is not there")
        assert (two.state, two.by_round, two.values) == ("pruned", {1: 9.0}, ())
        assert two.report.reason == "Pruned: error 9 at round 1"


def test_settings_that_were_tried_are_found_unless_they_failed(study):
    with study(
        space={"kind": "choice(a,b)", "n": "range(2)"}, sampler={**PLAIN["sampler"], "name": "random"}
    ) as s:
        seen = []
        for _ in range(12):
            (trial,) = s.batch(1, 12)
            twin = s.twin(trial)
            known = [number for number, params in seen if params == trial.params]
            assert (None if twin is None else twin.number) == (known[0] if known else None)
            if trial.number % 3 == 2:
                s.tell(trial, Report(trial.number, "failed", reason="no"))
            else:
                s.tell(trial, finished(trial), [1.0])
                seen.append((trial.number, trial.params))
        assert len({str(params) for _, params in seen}) < len(seen)


@pytest.mark.parametrize(
    "other",
    [
        {"base": "cd" * 16},
        {"space": {**SPACE, "x": "interval(-3, 4)"}},
        {"space": {"x": SPACE["x"]}},
        {"objectives": (COST,)},
        {"objectives": TWO},
    ],
)
def test_a_named_study_of_something_else_is_refused(study, other):
    with study(study_name="mine") as mine:
        go_on(mine, 1)
    with (
        pytest.raises(UserError, match=r"study_name=mine: .*choose another name"),
        study(study_name="mine", **other),
    ):
        pass
    with study(study_name="mine", sampler={**PLAIN["sampler"], "seed": 9}) as mine:
        assert len(mine.ended) == 1


def test_a_study_that_was_made_by_something_else_is_left_alone(study, location):
    made = optuna.create_study(study_name="other", storage=location.uri)
    made.tell(made.ask(), 1.0)
    with pytest.raises(UserError, match="something else"), study(study_name="other"):
        pass


def test_without_a_name_another_search_is_another_study(study):
    names = set()
    for other in (
        {},
        {"base": "cd" * 16},
        {"space": {"x": SPACE["x"]}},
        {"objectives": TWO},
        {"sampler": {**PLAIN["sampler"], "seed": 1}},
        {"pruner": {**PLAIN["pruner"], "name": "none"}},
    ):
        with study(**other) as opened:
            names.add(opened.name)
    assert len(names) == 6
    with study(n_trials=500, n_jobs=3, objectives=(ERROR,)) as opened:
        assert opened.name in names


def test_a_trial_that_failed_is_tried_again_in_its_place_by_the_next_command(study):
    settings = {"sampler": {"name": "tpe", "seed": 3, "startup_trials": 4}}
    with study(study_name="undisturbed", **settings) as whole:
        undisturbed = go_on(whole, 8)
    with study(**settings) as first:
        go_on(first, 2)
        (lost,) = first.batch(1, 4)
        first.tell(lost, Report(2, "failed", reason="tracking.uri=...: database is locked\n[SQL: SELECT 1]"))
        assert [each.report.reason for each in first.ended][2:] == ["tracking.uri=...: database is locked"]
        (trial,) = first.batch(1, 4)
        assert (trial.number, first.again) == (3, [])  # not by the same command
        first.tell(trial, finished(trial), [error_of(trial.params)])
        assert first.batch(1, 4) == []
    with study(**settings) as second:
        assert second.again == [2]
        (again,) = second.batch(1, 4)  # and the process is killed
        assert (again.number, again.params) == (4, lost.params)
    with study(**settings) as third:
        assert third.again == []
        (again,) = third.batch(1, 4)
        assert (again.number, again.params) == (4, lost.params)
        third.tell(again, finished(again), [error_of(again.params)])
        assert third.batch(1, 4) == []
        assert [(each.number, each.state) for each in third.ended] == [(n, "complete") for n in (0, 1, 3, 4)]
        mended = go_on(third, 8)
        assert third.batch(1, 8) == []
    # what is tried, and in how many trials, is as if none had failed, while the sampler follows nothing yet
    assert len(mended) == len(undisturbed)
    assert [each[1] for each in mended[:4]] == [undisturbed[place][1] for place in (0, 1, 3, 2)]


def test_trials_that_failed_are_tried_again_in_batches_and_those_that_were_refused_are_not(study):
    with study() as first:
        for trial in first.batch(4, 8):
            refused = trial.number == 1
            first.tell(trial, Report(trial.number, "failed", reason="no", refused=refused))
    with study() as second:
        assert second.again == [0, 2, 3]
        batch = second.batch(2, 8)
        assert [each.number for each in batch] == [4, 5]
        for trial in batch:
            second.tell(trial, Report(trial.number, "failed", reason="no"))
        (last,) = second.batch(2, 8)
        second.tell(last, finished(last), [1.0])
        assert [each.number for each in second.batch(4, 8)] == [7, 8, 9, 10]  # places 4 to 7 of 8
    with study() as third:
        assert third.again == [4, 5]
        assert [each.number for each in third.ended] == [1, 4, 5, 6]


def test_runs_of_trials_that_count_no_more_are_still_runs_of_the_study(study):
    with study() as first:
        (trial,) = first.batch(1, 1)
        first.tell(trial, Report(0, "failed", reason="no", run_id="a", epsilon="2"))
    with study() as second:
        (again,) = second.batch(1, 1)
        second.tell(again, Report(1, "finished", run_id="b", epsilon="3"), [1.0])
        assert {run: each.epsilon for run, each in second.runs.items()} == {"a": "2", "b": "3"}


def test_it_is_asked_once_what_an_unmeasured_objective_means_and_not_after_a_complete_trial(study):
    with study() as asked:
        assert not asked.asked_once()
    with study() as asked:
        assert asked.asked_once()
    with study(study_name="complete") as known:
        go_on(known, 1)
        assert known.asked_once()


def _try(location, key, queue):
    try:
        with alone(location, key, "mine"):
            queue.put("free")
    except UserError as error:
        queue.put(str(error))


def test_one_process_at_a_time_works_at_a_study(study, location):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def tried():
        process = context.Process(target=_try, args=(location, key, queue))
        process.start()
        process.join()
        return queue.get(timeout=10)

    key = "0123456789abcdef" * 2
    with alone(location, key, "mine"):
        assert tried() == "study mine: another process is at it; wait for its end, or end it"
    assert tried() == "free"


def test_a_storage_is_beside_mlflows_database_and_never_that_itself(tmp_path):
    tracking = locate(f"sqlite:///{tmp_path}/mlflow.db")
    assert place(None, tracking).database == tmp_path / "searches.db"
    for bad in (
        f"sqlite:///{tmp_path}/mlflow.db",
        "sqlite://",
        "sqlite:///:memory:",
        "nothing",
        "sqlite:///",
    ):
        with pytest.raises(UserError, match=r"hydra\.sweeper\.storage="):
            place(bad, tracking)
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage: is needed"):
        place(None, locate("http://localhost:5000"))
    with pytest.raises(UserError, match=r"storage=bad://host/db: .*check the address"):
        connect(place("bad://host/db", tracking).uri)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:geheim@host/db",
        "postgresql://me:ge/heim@host/db",
        "postgresql://host/db?user=me&password=geheim",
        "mysql://me:geheim@host/db",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path, address):
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage: holds a password.*\.pgpass") as caught:
        place(address, locate(f"sqlite:///{tmp_path}/mlflow.db"))
    assert "heim" not in str(caught.value)


def tables(database):
    with sqlite3.connect(database) as opened:
        return {row[0] for row in opened.execute("SELECT name FROM sqlite_master")}


def test_a_database_of_mlflows_is_no_storage_and_gets_no_tables(tmp_path, database):
    uri = database(tmp_path / "another.db")
    before = tables(tmp_path / "another.db")
    assert "experiments" in before
    location = place(uri, locate(f"sqlite:///{tmp_path}/mlflow.db"))
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage=.*another.db: is MLflow's database; name"):
        prepare_storage(location)
    assert tables(tmp_path / "another.db") == before


def test_a_file_that_is_no_database_is_refused_and_stays(tmp_path):
    file = tmp_path / "searches.db"
    file.write_text("no database")
    location = place(None, locate(f"sqlite:///{tmp_path}/mlflow.db"))
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage=.*no SQLite database"):
        prepare_storage(location)
    assert file.read_text() == "no database"


def test_nothing_of_the_configuration_but_what_is_searched_is_in_the_storage(study, location):
    with study(base="fe" * 16) as search:
        go_on(search, 2)
    with sqlite3.connect(location.database) as database:
        text = "\n".join(database.iterdump())
    assert "scale" in text
    assert "fe" * 16 not in text
