"""The owner's register: names, callers and budgets, over processes and restarts."""

import subprocess
import sys

import pytest

from fedpriv.errors import UserError
from fedpriv.faces.parties import Person, Refusal
from fedpriv.faces.register import DAY_MS, Register

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
