"""Ledgers whose chain holds and whose content lies: each is refused in one line, and counts nothing."""

import hashlib
import json

import numpy as np
import pytest

from fedpriv import journal
from fedpriv.errors import UserError
from fedpriv.privacy.charge import Charge, Concentrated, SampledGaussian
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import FILE, Ledger

DELTA = 1e-5
SHARE = of_digests(np.array([1, 2], np.uint64))


def charge(mechanism, number=1, party=0):
    return Charge(SHARE, mechanism, "run", number, DELTA, "eyes", party)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "ledger"
    Ledger(made).charge([charge(SampledGaussian(0.25, 1.0, 3)), charge(Concentrated(0.5))])
    return made


def forge(folder, change):
    """Write the lines anew with the chain and the head of whoever can write the file."""
    previous, lines = "0" * 64, []
    for line in (folder / FILE).read_text().splitlines():
        entry = json.loads(line) | {"previous": previous}
        lines.append(change(json.dumps(entry, separators=(",", ":"))).encode() + b"\n")
        previous = hashlib.sha256(lines[-1]).hexdigest()
    (folder / FILE).write_bytes(b"".join(lines))
    (folder / f"{FILE}.head").write_text(json.dumps({"lines": len(lines), "sha256": previous}))


def swap(old, new):
    return lambda line: line.replace(old, new)


def test_an_unchanged_forgery_is_read(folder):
    before = Ledger(folder).spent(SHARE, DELTA)
    forge(folder, lambda line: line)
    assert Ledger(folder).spent(SHARE, DELTA) == before


DEEP = '{"a":' * 200_000


@pytest.mark.parametrize(
    "change",
    [
        swap('"noise_multiplier":0.25', '"noise_multiplier":NaN'),
        swap('"noise_multiplier":0.25', '"noise_multiplier":Infinity'),
        swap('"noise_multiplier":0.25', '"noise_multiplier":1e999'),
        swap('"noise_multiplier":0.25', '"noise_multiplier":-0.25'),
        swap('"noise_multiplier":0.25', '"noise_multiplier":true'),
        swap('"noise_multiplier":0.25', '"noise_multiplier":null'),
        swap('"steps":3', '"steps":-3'),
        swap('"steps":3', '"steps":3.0'),
        swap('"steps":3', f'"steps":{"9" * 30}'),
        swap('"steps":3', f'"steps":{"9" * 10_000}'),
        swap('"sample_rate":1.0', '"sample_rate":0'),
        swap('"sample_rate":1.0', '"sample_rate":1e-999'),
        swap('"rho":0.5', '"rho":-0.5'),
        swap('"rho":0.5', '"rho":NaN'),
        swap('"distance":0.0', '"distance":-1e-9'),
        swap('"round":1', '"round":-1'),
        swap('"round":1', '"round":1.5'),
        swap('"run":"run"', '"run":""'),
        swap('"run":"run"', f'"run":"{"r" * 65}"'),
        swap('"delta":1e-05', '"delta":-1'),
        swap('"party":0', '"party":-1'),
        swap('"party":0', '"party":true'),
        swap('"party":0', '"party":null'),
        swap('"unit":"sample"', '"unit":"client"'),
        swap('"unit":"client"', '"unit":"sample"'),
        swap('"parameters":{', '"parameters":{"kind":1,'),
        swap(f'"share":"{SHARE.identity}","run"', f'"share":"{"0" * 64}","run"'),
        swap(f'"share":"{SHARE.identity}","run"', '"share":["x"],"run"'),
        swap('"event":"charge"', '"event":"share"'),
        swap('"name":"eyes"', f'"name":{DEEP}'),
        lambda line: "[]",
        lambda line: "null",
    ],
)
def test_numbers_that_are_none_and_charges_that_are_none_are_damage(folder, change):
    forge(folder, change)
    content = (folder / FILE).read_bytes()
    for use in (
        lambda ledger: ledger.spent(SHARE, DELTA),
        lambda ledger: ledger.charge([charge(SampledGaussian(1.0, 1.0, 1))]),
        lambda ledger: ledger.charge_within([charge(Concentrated(0.1))], 1e9, DELTA),
    ):
        with pytest.raises(
            UserError, match=r"ledger\.jsonl: line \d+: damaged; nothing is trained"
        ) as refused:
            use(Ledger(folder))
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 500
    assert (folder / FILE).read_bytes() == content


def test_of_a_name_that_stands_twice_in_a_line_the_last_counts_as_for_every_reader(folder):
    forge(folder, swap('"steps":3', '"steps":1,"steps":5'))
    charged = json.loads((folder / FILE).read_text().splitlines()[1])["parameters"]["steps"]
    assert charged == 5
    afresh = Ledger(folder.with_name("afresh"))
    afresh.charge([charge(SampledGaussian(0.25, 1.0, charged)), charge(Concentrated(0.5))])
    assert Ledger(folder).spent(SHARE, DELTA).epsilon == afresh.spent(SHARE, DELTA).epsilon


def test_a_line_longer_than_any_is_refused_and_left_alone(folder, monkeypatch):
    monkeypatch.setattr(journal, "_MOST_LINE_BYTES", 4096)
    forge(folder, swap('"name":"eyes"', f'"name":"{"n" * 5000}"'))
    content = (folder / FILE).read_bytes()
    with pytest.raises(UserError, match=r"ledger\.jsonl: 1 lines of 3: cut"):
        Ledger(folder).spent(SHARE, DELTA)
    first = hashlib.sha256(content.splitlines(keepends=True)[0]).hexdigest()
    (folder / f"{FILE}.head").write_text(json.dumps({"lines": 1, "sha256": first}))
    with pytest.raises(UserError, match=r"ledger\.jsonl: line 2: longer than 4096 bytes"):
        Ledger(folder).spent(SHARE, DELTA)
    assert (folder / FILE).read_bytes() == content


@pytest.mark.parametrize(
    "head", ['{"lines": NaN, "sha256": ""}', "[" * 150, '{"lines": 1e999}', "", "9" * 300]
)
def test_a_head_that_is_none_is_refused(folder, head):
    (folder / f"{FILE}.head").write_text(head)
    with pytest.raises(UserError, match=r"\.head: damaged"):
        Ledger(folder).spent(SHARE, DELTA)


def test_the_largest_charges_that_are_read_end_in_infinity_or_a_number(folder):
    largest = [
        charge(SampledGaussian(1e99, 1.0, 2**53 - 1), 2),
        charge(SampledGaussian(5e-324, 5e-324, 1), 3),
        charge(Concentrated(9e99, 9e99), 4),
        charge(Concentrated(5e-324), 2**70),
    ]
    Ledger(folder).charge(largest)
    for unit in ("sample", "client"):
        assert Ledger(folder).spent(SHARE, DELTA, unit).epsilon == float("inf")
    assert Ledger(folder).charge_within([charge(Concentrated(0.0), 9)], 1e300, DELTA) == [False]


def test_times_in_any_order_change_nothing_and_are_not_checked(folder):
    before = Ledger(folder).spent(SHARE, DELTA)
    forge(folder, lambda line: json.dumps(json.loads(line) | {"time": "1970-01-01"}))
    assert Ledger(folder).spent(SHARE, DELTA) == before
    Ledger(folder).charge([charge(SampledGaussian(0.25, 1.0, 1), 2)])
    (account,) = Ledger(folder).summary()
    assert (account.first, account.charges) == ("1970-01-01", 3)


@pytest.mark.parametrize(
    ("delta", "budget"), [(1e-9, 30.0), (1e-5, 26.0), (0.5, 15.0)], ids=["small", "usual", "half"]
)
def test_a_budget_is_kept_at_the_delta_that_it_is_stated_at_whatever_charges_say_of_theirs(
    tmp_path, delta, budget
):
    """Runs may report at other deltas; what they did is what is composed."""
    ledger, paid = Ledger(tmp_path / "ledger"), 0
    for number, said in enumerate([1e-5, 1e-3, 0.9, 1e-12] * 5):
        wanted = Charge(SHARE, SampledGaussian(0.5, 1.0, 1), f"run {number}", 1, said)
        paid += ledger.charge_within([wanted], budget, delta)[0]
    assert 0 < paid < 20
    assert ledger.spent(SHARE, delta).epsilon <= budget
    assert not ledger.may_spend(wanted, budget, delta)
