import os
import threading
import time

import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.encrypting import table_identity, write_encrypted
from fedpriv.he.tables.vectors import vectors_of
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from fedpriv.stats import jobs as jobs_module
from fedpriv.stats.jobs import Jobs
from fedpriv.stats.store import MOST_UPLOADS, UPLOAD_S, NotThere, OutOfPlace, StoreFull, TableStore

MOST = 5_000_000


@pytest.fixture(scope="module")
def owner():
    return UserKeys.make(parameter_set("table"))


@pytest.fixture(scope="module")
def table(tmp_path_factory, owner):
    folder = tmp_path_factory.mktemp("table")
    (folder / "t.csv").write_text("a\n1\n2\n")
    cells = read_table(folder / "t.csv")
    schema = draft(cells, Wishes(pairs=False))
    vectors, identity = vectors_of(cells, schema, False), table_identity(cells, b"1")
    write_encrypted(
        folder / "t", vectors, schema, owner.encryptor(), owner.fingerprint, identity, owner.signer
    )
    return (folder / "t").read_bytes()


@pytest.fixture
def store(tmp_path, owner):
    return TableStore(tmp_path / "store", owner.public, MOST)


def uploaded(store, data, part=400_000):
    number = store.begin()
    for offset in range(0, len(data), part):
        store.append(number, offset, data[offset : offset + part])
    return number


def test_a_whole_table_is_kept_over_a_restart_and_half_of_one_is_not(store, table, tmp_path, owner):
    kept, half = uploaded(store, table), uploaded(store, table[: len(table) // 2])
    store.finish(kept)
    again = TableStore(tmp_path / "store", owner.public, MOST)
    assert again.table(kept).read_bytes() == table
    with pytest.raises(NotThere):
        again.append(half, len(table) // 2, b"")
    again.delete(kept)
    with pytest.raises(NotThere):
        again.table(kept)


@pytest.mark.parametrize("place", [0, 200, 1_000_000, -1])
def test_a_damaged_table_is_refused_without_a_path_and_forgotten(store, table, tmp_path, place):
    data = bytearray(table)
    data[place] ^= 1
    number = uploaded(store, bytes(data))
    with pytest.raises(UserError, match=r"^table") as refusal:
        store.finish(number)
    assert str(tmp_path) not in str(refusal.value)
    with pytest.raises(NotThere):
        store.finish(number)


def test_parts_out_of_place_change_nothing(store):
    number = store.begin()
    assert store.append(number, 0, b"abcd") == 4
    assert store.append(number, 0, b"abcd") == 4
    for offset in (1, 3, 5):
        with pytest.raises(OutOfPlace, match="4 bytes are there"):
            store.append(number, offset, b"xxxx")


def test_the_store_is_bounded(store, table):
    fits = MOST // len(table)
    for _ in range(fits):
        uploaded(store, table)
    with pytest.raises(StoreFull, match="no room"):
        uploaded(store, table)


def test_uploads_under_way_are_bounded_and_old_ones_forgotten(store, tmp_path):
    numbers = [store.begin() for _ in range(MOST_UPLOADS)]
    with pytest.raises(StoreFull, match="come again"):
        store.begin()
    old = time.time() - UPLOAD_S - 10
    os.utime(tmp_path / "store" / "uploads" / numbers[0], (old, old))
    store.begin()


@pytest.mark.parametrize("number", ["", "..", "../public.key", "0" * 31, "A" * 32, "0" * 32 + "/", "0" * 32])
def test_a_name_from_outside_is_never_a_path(store, number):
    for work in (store.table, store.delete, store.finish, lambda each: store.append(each, 0, b"x")):
        with pytest.raises(NotThere):
            work(number)


def test_results_come_when_they_are_done_and_errors_as_errors(tmp_path):
    jobs, gate = Jobs(tmp_path), threading.Event()

    def slow(path):
        gate.wait(30)
        path.write_bytes(b"done")

    def wrong(_):
        raise UserError("table: damaged")

    second, first = jobs.add(wrong), jobs.add(slow)
    assert jobs.result(first) is None
    gate.set()
    until = time.monotonic() + 30
    while jobs.result(first) is None and time.monotonic() < until:
        time.sleep(0.01)
    jobs.close()
    assert jobs.result(first).read_bytes() == b"done"
    with pytest.raises(UserError, match="table: damaged"):
        jobs.result(second)
    jobs.delete(first)
    with pytest.raises(NotThere):
        jobs.result(first)
    assert not list(tmp_path.iterdir())


def test_work_that_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "MOST_WAITING", 2)
    jobs, gate = Jobs(tmp_path), threading.Event()
    for _ in range(2):
        jobs.add(lambda _: gate.wait(30))
    with pytest.raises(StoreFull, match="come again"):
        jobs.add(lambda _: None)
    gate.set()
    jobs.close()
