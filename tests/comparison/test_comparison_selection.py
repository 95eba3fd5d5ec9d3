"""Which runs are compared."""

import pytest

from fedpriv.comparison.selection import select
from fedpriv.errors import UserError
from tests.comparison.made import logged


def sweep(name, started, kind="sweep", status="FINISHED", ended=None, **tags):
    tags = {"fedpriv_kind": kind, **tags}
    return logged(
        {}, name=name, run_id=f"{name}{'0' * 32}"[:32], started=started, status=status, ended=ended, tags=tags
    )


def job(parent, number, started, fallback=False, **more):
    tag = {"mlflow.parentRunId": parent.run_id} if fallback else {f"sweep.{parent.run_id}": str(number)}
    return logged({"seed": number}, 1.0, started=started, tags={**tag, **more.pop("tags", {})}, **more)


@pytest.fixture
def store():
    old, new = sweep("aaaaaaaa", 10, sweep_jobs="3"), sweep("bbbbbbbb", 20, sweep_jobs="2")
    runs = [old, new]
    runs += [job(old, number, 30 + number) for number in (2, 0, 1)]
    runs += [job(new, number, 40 + number, fallback=number == 0) for number in (0, 1)]
    runs += [logged({"seed": 0}, 1.0, name="alone", started=90 + n, tags={"mode": "local"}) for n in range(2)]
    return runs


def ids(found):
    return [run.run_id for run in found.runs]


def test_without_a_wish_it_is_the_sweep_that_was_at_work_last(store):
    found = select(store)
    assert [one.name for one in found.sweeps] == ["bbbbbbbb"]
    assert sorted(ids(found)) == sorted(run.run_id for run in store[5:7])
    # a sweep that is repeated keeps its start, and finds its jobs done: its end is what is new
    repeated = sweep("aaaaaaaa", 10, ended=200, sweep_jobs="3")
    assert [one.name for one in select([repeated, *store[1:]]).sweeps] == ["aaaaaaaa"]


def test_jobs_stand_in_their_order_and_one_of_an_earlier_sweep_is_in_both(store):
    shared = job(store[1], 7, 35, tags={f"sweep.{store[0].run_id}": "3"})
    found = select([*store, shared], ["aaaaaaaa"])
    assert [run.params["seed"] for run in found.runs] == ["0", "1", "2", "7"]
    assert shared.run_id in ids(select([*store, shared], ["bbbbbbbb"]))


def test_a_name_means_all_runs_of_it_and_an_id_one(store):
    alone = [run.run_id for run in store if run.name == "alone"]
    assert ids(select(store, ["alone"])) == alone
    assert ids(select(store, [alone[0]])) == alone[:1]
    assert ids(select(store, [alone[1], "alone"])) == alone[::-1]
    assert ids(select(store, ["aaaaaaaa00"])) == ids(select(store, ["aaaaaaaa"]))  # the head of an id
    both = select(store, ["aaaaaaaa", "alone"])
    assert len(both.runs) == 5


def test_tags_and_filters_search_all_runs_but_no_sweep_itself(store):
    found = select(store, tags={"mode": "local"})
    assert [run.name for run in found.runs] == ["alone", "alone"]
    every = select(store, among={run.run_id for run in store})
    assert len(every.runs) == 7
    assert (
        select(store, ["aaaaaaaa"], among={store[2].run_id}).notes[-1]
        == "1 of 3 runs were chosen by tag or filter"
    )


def test_an_experiment_without_sweeps_is_compared_whole_and_says_so(store):
    alone = store[-2:]
    found = select(alone)
    assert ids(found) == [run.run_id for run in alone]
    assert found.notes == ["there is no sweep: all 2 runs of the experiment are compared"]


def test_jobs_that_never_started_and_sweeps_that_did_not_end_are_said():
    killed = sweep("aaaaaaaa", 10, status="KILLED", sweep_jobs="5")
    runs = [killed, job(killed, 0, 11)]
    assert select(runs).notes == [
        "sweep aaaaaaaa was interrupted; its command, repeated, goes on with it",
        "sweep aaaaaaaa: 4 of 5 jobs have no run: they have not started",
    ]
    running = sweep("bbbbbbbb", 10, status="RUNNING")
    assert "still running, or was killed" in select([running, job(running, 0, 11)]).notes[0]


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (
            ["nothing"],
            {},
            r"^compare nothing: no sweep and no run of this name or id; sweeps, the newest first: bbbb",
        ),
        (["00000000"], {}, r"starts the ids of \d runs; write more of it"),
        ([], {"tags": {"mode": "none"}}, r"finds no run|leaves none of 7 runs"),
        (["aaaaaaaa"], {"among": set()}, r"^compare: tag or filter leaves none of 3 runs; ask for less$"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(store, names, options, said):
    with pytest.raises(UserError, match=said) as refused:
        select(store, names, **options)
    assert "\n" not in str(refused.value)


def test_two_sweeps_of_a_name_an_empty_sweep_and_no_run_are_refused(store):
    twin = sweep("cccccccc", 50)
    twins = [twin, logged({}, name="cccccccc", tags={"fedpriv_kind": "sweep"})]
    with pytest.raises(UserError, match=r"2 sweeps have this name; give an id, e\.g\. cccc"):
        select([*store, *twins], ["cccccccc"])
    with pytest.raises(UserError, match=r"^compare: sweep cccccccc0+ has no runs yet"):
        select([twin])
    with pytest.raises(UserError, match=r"^compare: the experiment has no runs"):
        select([])


def test_runs_that_name_each_other_or_themselves_as_parents_end_nothing():
    first = logged({"seed": 0}, 1.0, run_id="1" * 32, tags={"mlflow.parentRunId": "2" * 32})
    second = logged({"seed": 1}, 1.0, run_id="2" * 32, tags={"mlflow.parentRunId": "1" * 32})
    itself = logged({"seed": 2}, 1.0, run_id="3" * 32, tags={f"sweep.{'3' * 32}": "0"})
    assert itself.run_id in ids(select([first, second, itself], ["3" * 32]))
    assert select([first, second, itself]).runs
