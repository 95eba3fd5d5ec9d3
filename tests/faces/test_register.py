"""The owner's register: names, callers and budgets, over processes and restarts."""

import contextlib
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.faces.parties import Person, Refusal
from fedpriv.faces.register import Register
from fedpriv.faces.registered import DAY_MS, Registered

ANNA, BEN = Person("a" * 12, "Anna", 0, 5), Person("b" * 12, "Ben", 1, 7)


@pytest.fixture
def owner(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


def test_people_are_found_by_name_and_by_place_until_they_are_removed(owner):
    register = Register(owner)
    register.enrol([ANNA, BEN])
    assert register.find("Anna") == ANNA
    places = [(0, 5), (1, 7), (0, 6)]
    assert register.at(places) == {(0, 5): ANNA, (1, 7): BEN}
    register.remove([ANNA.id])
    assert Register(owner).at(places) == {(1, 7): BEN}
    with pytest.raises(Refusal, match="Anna: nobody of that name is enrolled"):
        Register(owner).find("Anna")
    register.enrol([Person("c" * 12, "Anna", 0, 6)])
    assert register.find("Anna").slot == 6


@pytest.mark.parametrize("names", [["Anna", "Anna"], ["Ben"], [""], ["a\nb"], ["x" * 129]])
def test_names_that_will_not_do_are_refused_and_nothing_is_written(owner, names):
    register = Register(owner)
    register.enrol([BEN])
    with pytest.raises(UserError):
        register.enrol([Person(f"{index:012}", name, 2, index) for index, name in enumerate(names)])
    assert Register(owner).people() == [BEN]


def test_the_register_is_private(owner):
    Register(owner).enrol([ANNA])
    for path in (owner / "faces").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def admitted(owner, budget=None):
    register = Register(owner)
    register.admit("1" * 16, "door", budget)
    return register


def test_budgets_are_of_any_24_hours(owner):
    register, now = admitted(owner), 10 * DAY_MS
    assert [register.charge("1" * 16, f"t{each}", 2, now + each) for each in range(2)] == [1, 0]
    with pytest.raises(Refusal, match=r"budget of 2 openings in 24 hours is spent; one is free in 24\.0 h"):
        register.charge("1" * 16, "t2", 2, now + 2)
    with pytest.raises(Refusal, match="spent"):
        register.charge("1" * 16, "t2", 2, now + DAY_MS - 1)
    assert register.charge("1" * 16, "t2", 2, now + DAY_MS) == 0
    with pytest.raises(Refusal, match="spent"):
        Register(owner).charge("1" * 16, "t3", 2, now + DAY_MS)


def test_a_clock_that_was_ahead_forgets_no_opening(owner):
    register, now = admitted(owner), 10 * DAY_MS
    for number in range(3):
        register.charge("1" * 16, f"t{number}", 3, now + number)
    register.charge("1" * 16, "ahead", 3, now + DAY_MS + 10)
    for again in (register, Register(owner)):
        for number in range(5):
            with pytest.raises(Refusal, match="is spent"):
                again.charge("1" * 16, f"u{number}", 3, now + 20 + number)
    assert register.charge("1" * 16, "later", 3, now + DAY_MS + 20) == 1


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3 * DAY_MS), min_size=1, max_size=30), st.integers(1, 4))
def test_whatever_the_clock_does_no_budget_is_exceeded_by_setting_it_back(steps, budget):
    """A clock that only ever falls gets the budget once, however it falls."""
    with tempfile.TemporaryDirectory() as folder:
        register, opened = admitted(Path(folder)), 0
        for number, now in enumerate(sorted(steps, reverse=True)):
            with contextlib.suppress(Refusal):
                register.charge("1" * 16, f"t{number}", budget, 10 * DAY_MS + now)
                opened += 1
        assert opened == min(budget, len(steps))


def test_somebody_who_is_being_deleted_is_no_answer_and_can_be_deleted_again(owner):
    register = Register(owner)
    register.enrol([ANNA, BEN])
    assert register.leave("Anna") == Register(owner).leave("Anna") == ANNA
    assert Register(owner).at([(0, 5), (1, 7)]) == {(1, 7): BEN}
    assert Register(owner).people() == [BEN]
    with pytest.raises(Refusal, match="Anna: nobody of that name"):
        Register(owner).find("Anna")
    with pytest.raises(UserError, match="Anna: is not deleted to the end; `fedpriv faces delete Anna` again"):
        Register(owner).require_new(["Anna"])
    register.remove([ANNA.id, ANNA.id])
    register.remove([ANNA.id])
    Register(owner).require_new(["Anna"])
    with pytest.raises(Refusal, match="Anna: nobody of that name"):
        register.leave("Anna")


def test_a_place_is_one_persons_for_ever(owner):
    register = Register(owner)
    register.enrol([ANNA])
    register.leave("Anna")
    register.remove([ANNA.id])
    assert Register(owner).unused([(0, 5), (0, 6)]) == [(0, 6)]
    for wrong in ([Person("c" * 12, "Cleo", 0, 5)], [Person(each * 12, each, 3, 3) for each in "cd"]):
        with pytest.raises(UserError, match=r"register\.jsonl: two people in one place"):
            register.enrol(wrong)
    assert Register(owner).people() == []


def test_a_register_in_which_a_place_was_given_twice_still_reads_and_deletes_the_right_one():
    """As versions wrote it that gave places again."""
    known = Registered()
    for name, number in (("Anna", "a" * 12), ("Bob", "b" * 12)):
        known.take({"event": "enrolled", "id": number, "name": name, "at": [0, 5]})
    known.take({"event": "removed", "id": "a" * 12})
    assert known.places == {(0, 5): "b" * 12}
    known.take({"event": "removed", "id": "b" * 12})
    assert (known.people, known.names, known.places) == ({}, {}, {})


def test_an_enrolment_that_did_not_end_is_known_to_the_next_command(owner):
    register = Register(owner)
    register.begin([ANNA.id, BEN.id])
    assert Register(owner).unfinished() == [ANNA.id, BEN.id]
    register.enrol([ANNA])
    assert Register(owner).unfinished() == [BEN.id]
    register.abandon([BEN.id])
    assert Register(owner).unfinished() == []


def test_the_owners_commands_wait_for_each_other_and_the_key_holder_does_not(owner):
    admitted(owner)
    order = []

    def second():
        with Register(owner).alone():
            order.append("second")

    with Register(owner).alone():
        thread = threading.Thread(target=second)
        thread.start()
        Register(owner).charge("1" * 16, "t0", 3, 5)
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_callers_own_budget_counts_before_the_default(owner):
    register = admitted(owner, budget=1)
    assert register.charge("1" * 16, "t0", 100, 5) == 0
    with pytest.raises(Refusal) as caught:
        register.charge("1" * 16, "t1", 100, 6)
    assert caught.value.cause == "budget_spent"


def test_a_refused_opening_costs_nothing(owner):
    register = admitted(owner)
    assert register.charge("1" * 16, "t0", 3, 5) == 2
    with pytest.raises(Refusal, match="opened before"):
        register.charge("1" * 16, "t0", 3, 6)
    with pytest.raises(Refusal, match="not admitted"):
        register.charge("2" * 16, "t1", 3, 6)
    assert register.charge("1" * 16, "t1", 3, 7) == 1


def test_a_revoked_caller_is_refused_and_its_name_is_free(owner):
    register = admitted(owner)
    with pytest.raises(UserError, match="admitted already"):
        register.admit("2" * 16, "door", None)
    register.revoke("door")
    with pytest.raises(Refusal, match="no longer"):
        register.charge("1" * 16, "t0", 3, 5)
    with pytest.raises(UserError, match="is not admitted"):
        register.revoke("door")
    register.admit("2" * 16, "door", None)
    assert [each.number for each in Register(owner).callers()] == ["2" * 16]


def test_another_server_or_model_is_refused(owner):
    register = Register(owner)
    with pytest.raises(UserError, match="nobody is enrolled yet"):
        register.pinned()
    register.pin("a" * 64, "b" * 64)
    register.pin("a" * 64, "b" * 64)
    with pytest.raises(UserError, match=r"knows the server by the key a{16}, this one has c{16}"):
        register.pin("c" * 64, "b" * 64)
    with pytest.raises(UserError, match="scores of two models cannot be compared"):
        register.pin("a" * 64, "c" * 64)
    assert Register(owner).pinned() == ("a" * 64, "b" * 64)


KILLED = """
import os, sys
from pathlib import Path
from fedpriv.faces.register import Register
register = Register(Path(sys.argv[1]))
for number in range(10_000):
    left = register.charge("1" * 16, f"{sys.argv[2]}-{number}", 10_000, 1_000_000 + number)
    os.write(1, f"{left}\\n".encode())
    if number == 6:
        os.kill(os.getpid(), 9)
"""


def test_what_was_charged_before_a_kill_stays_charged(owner):
    admitted(owner)
    said = []
    for turn in range(2):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(owner), str(turn)], capture_output=True, check=False
        )
        assert done.returncode == -9, done.stderr
        said += [int(line) for line in done.stdout.split()]
    assert said == [10_000 - each for each in range(1, 15)]
    assert Register(owner).charge("1" * 16, "last", 10_000, 2_000_000) == 10_000 - 15


def test_a_damaged_register_is_refused_by_name(owner):
    admitted(owner)
    path = owner / "faces" / "register.jsonl"
    path.write_bytes(path.read_bytes().replace(b"door", b"gate"))
    with pytest.raises(UserError, match=r"register\.jsonl: line 1: damaged; nothing is enrolled or opened"):
        Register(owner).callers()
