"""Runs with correlated noise that are cut off and resumed: the lost sum is paid for, no noise used again."""

import numpy as np
import pytest

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.compose import compose_run
from fedpriv.config.privacy import sum_plan_of
from fedpriv.federated import client
from fedpriv.federated.strategy import base
from fedpriv.privacy.client_level import ServerNoise
from fedpriv.runner import resume, run
from tests.conftest import TINY
from tests.integration.test_ledger_runs import charges

BANDED = (
    *TINY,
    "privacy=client_level",
    "secure=bfv",
    "privacy.noise_by=server",
    "privacy.correlation=banded",
    "privacy.epsilon=null",
    "privacy.noise_multiplier=1.0",
    "data.people=8",
    "data.images_per_person=4",
    "federation.clients=6",
    "federation.cohort=2",
    "federation.order=cyclic",
    "federation.rounds=6",
)
STEP = 0.5 / (2**15 - 1)


class Cut(BaseException):
    """Ends a run as suddenly as a signal does."""


@pytest.fixture
def opened(monkeypatch):
    """Every sum that is opened, in whole steps; no client moves anything, so that it is noise."""
    sums, real = [], base.open_sum

    def spy(*given):
        made = real(*given)
        sums.append((given[4], made.total / STEP))
        if len(sums) == spy.last:
            raise Cut
        return made

    spy.last = None
    monkeypatch.setattr(base, "open_sum", spy)
    monkeypatch.setattr(client, "_optimise", lambda *given: (float("nan"), {}))
    return sums, spy


def cut_after(spy, sums, last, folder, *overrides):
    """Run until so many sums are opened; of the last one nobody but its adversary hears."""
    spy.last = last
    with pytest.raises(Cut):
        run(compose_run(*BANDED, *overrides), output_dir=folder)
    spy.last = None
    assert len(sums) == last


def alike(one, other):
    """The correlation of two vectors, in standard deviations of that of independent ones."""
    return abs(np.corrcoef(one, other)[0, 1]) * np.sqrt(len(one))


def test_guarantee_a_lost_release_is_paid_for_and_the_round_done_again_has_noise_of_its_own(tmp_path, opened):
    sums, spy = opened
    cut_after(spy, sums, 4, tmp_path)
    report = resume(tmp_path)
    assert [number for number, _ in sums] == [1, 2, 3, 4, 4, 5, 6]
    lost, again = sums[3][1], sums[4][1]
    # neither the noise of the lost release nor what it shared with the rows before: begun anew
    assert alike(lost, again) < 6
    assert all(alike(sums[early][1], sums[late][1]) < 6 for early in range(4) for late in range(4, 7))
    # the rows of one process are correlated: -1/2 and more
    assert alike(sums[2][1], lost) > 12
    assert alike(again, sums[5][1]) > 12
    plan = sum_plan_of(compose_run(*BANDED))
    # two turns each, and for those of round 4 the lost one
    assert report.history[-1].epsilon == plan.spent([1, 1, 1]).epsilon
    assert Checkpoint(tmp_path).load().kept.lost_releases == ((4, 1),)


def test_guarantee_the_ledger_has_every_participation_and_the_lost_one(tmp_path, opened):
    sums, spy = opened
    cut_after(spy, sums, 4, tmp_path)
    resume(tmp_path)
    found = charges()
    plan = sum_plan_of(compose_run(*BANDED))
    assert {each["kind"] for each in found} == {"correlated"}
    assert {each["parameters"]["rho"] for each in found} == {plan.rho(1)}
    rounds = {}
    for each in found:
        rounds.setdefault(each["share"], []).append(each["round"])
    # round 4 was begun twice: its two clients are charged twice
    assert sorted(map(sorted, rounds.values())) == [[1, 4, 4], [1, 4, 4], [2, 5], [2, 5], [3, 6], [3, 6]]


def test_guarantee_no_row_of_noise_is_on_disk(tmp_path, opened, monkeypatch):
    """The rows of the last rounds stand in the memory of the server and in nothing that it writes."""
    sums, spy = opened
    kept, real = [], ServerNoise.source

    def listen(self, number):
        kept.append(self._memory)
        return real(self, number)

    monkeypatch.setattr(ServerNoise, "source", listen)
    cut_after(spy, sums, 4, tmp_path)
    rows = list(kept[-1]._rows.values())
    assert len(rows) == 3
    with np.load(tmp_path / "checkpoint" / "state.npz") as state:
        assert {name.split("/")[0] for name in state.files} <= {
            "parameters",
            "layout",
            "facts",
            "state",
            "head",
        }
    needles = [
        row[start : start + 4].astype(kind).tobytes()
        for row in rows
        for start in (0, 100)
        for kind in ("<i4", "<i8", "<f8")
    ]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert not any(needle in text for needle in needles), path


def test_a_target_is_kept_through_a_crash_the_last_turn_of_those_falls_to_the_lost_one(tmp_path, opened):
    """Two turns each were planned: those of the lost round have had theirs, the others have not."""
    sums, spy = opened
    target = ("privacy.epsilon=8", "privacy.noise_multiplier=null")
    cut_after(spy, sums, 4, tmp_path, *target)
    report = resume(tmp_path)
    assert report.history[-1].epsilon <= 8.0
    assert [number for number, _ in sums] == [1, 2, 3, 4, 5, 6]
    assert report.history[4].failures == {"round_discarded": 2}
    assert Checkpoint(tmp_path).load().kept.ended
