import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.encrypting import table_identity, write_encrypted
from fedpriv.he.tables.vectors import vectors_of
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from fedpriv.stats import jobs as jobs_module
from fedpriv.stats import store as store_module
from fedpriv.stats.jobs import Jobs
from fedpriv.stats.room import Room, StoreFull
from fedpriv.stats.store import MOST_UPLOADS, UPLOAD_S, WAITED_FOR_S, NotThere, OutOfPlace, TableStore

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
    for offset in (-4, 1, 3, 5):
        with pytest.raises(OutOfPlace, match="4 bytes are there"):
            store.append(number, offset, b"xxxx")


def test_the_store_is_bounded(store, table, tmp_path):
    fits = MOST // len(table)
    for _ in range(fits):
        uploaded(store, table)
    with pytest.raises(StoreFull, match="no room"):
        uploaded(store, table)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= MOST


def test_only_files_of_the_servers_own_numbers_are_deleted_when_it_begins(store, tmp_path, owner):
    folder, number, half = tmp_path / "store", "0" * 32, f".{'0' * 32}.{'1' * 16}"
    (tmp_path / "outside").write_text("x")
    kept = []
    for sub in ("uploads", "results"):
        for name in (number, "notes.txt", ".git", half):
            (folder / sub / name).write_text("x")
        (folder / sub / ("1" * 32)).mkdir()
        (folder / sub / ("2" * 32)).symlink_to(tmp_path / "outside")
        kept += [f"{sub}/{name}" for name in ("notes.txt", ".git", "1" * 32, "2" * 32)]
    kept.append(f"uploads/{half}")  # an upload is never under such a name
    again = TableStore(folder, owner.public, MOST)
    Jobs(again.results, again.room)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert left == {*kept, "uploads", "results", "tables"}
    assert (tmp_path / "outside").read_text() == "x"


def test_a_table_that_is_finished_by_many_at_once_and_again_is_kept_once(store, table):
    number = uploaded(store, table)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: store.finish(number), range(6)))
    assert found == [store.finish(number)] * 6
    assert store.table(number).read_bytes() == table


def test_a_damaged_table_that_many_finish_is_refused_to_all(store, table):
    number = uploaded(store, table[:-1] + bytes([table[-1] ^ 1]))

    def refusal(_):
        with pytest.raises(UserError) as caught:
            store.finish(number)
        return str(caught.value)

    with ThreadPoolExecutor(6) as pool:
        assert all("table" in each or "begin again" in each for each in pool.map(refusal, range(6)))


def test_while_a_table_is_checked_it_takes_no_parts_and_is_not_forgotten(store, table, tmp_path, monkeypatch):
    checking, gate = threading.Event(), threading.Event()
    head = store_module.table_head

    def slow(*arguments):
        checking.set()
        gate.wait(30)
        return head(*arguments)

    monkeypatch.setattr(store_module, "table_head", slow)
    number = uploaded(store, table)
    old = time.time() - 2 * UPLOAD_S
    os.utime(tmp_path / "store" / "uploads" / number, (old, old))
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(store.finish, number)
        assert checking.wait(30)
        with pytest.raises(OutOfPlace, match="is being checked"):
            store.append(number, len(table), b"x")
        store.begin()
        gate.set()
        finishing.result()
    assert store.table(number).read_bytes() == table


def test_uploads_under_way_are_bounded_and_old_ones_forgotten(store, tmp_path):
    numbers = [store.begin() for _ in range(MOST_UPLOADS)]
    with pytest.raises(StoreFull, match="come again"):
        store.begin()
    old = time.time() - UPLOAD_S - 10
    os.utime(tmp_path / "store" / "uploads" / numbers[0], (old, old))
    store.begin()


def test_uploads_that_nobody_goes_on_with_do_not_keep_others_out_for_long(store, tmp_path):
    numbers = [store.begin() for _ in range(MOST_UPLOADS)]
    old = time.time() - WAITED_FOR_S - 10
    for number in numbers[1:]:
        os.utime(tmp_path / "store" / "uploads" / number, (old, old))
    store.begin()
    assert store.append(numbers[0], 0, b"x") == 1
    with pytest.raises(NotThere):
        store.append(numbers[1], 0, b"x")


@pytest.mark.parametrize("number", ["", "..", "../public.key", "0" * 31, "A" * 32, "0" * 32 + "/", "0" * 32])
def test_a_name_from_outside_is_never_a_path(store, number):
    for work in (store.table, store.delete, store.finish, lambda each: store.append(each, 0, b"x")):
        with pytest.raises(NotThere):
            work(number)


def test_results_come_when_they_are_done_and_errors_as_errors(tmp_path):
    jobs, gate = Jobs(tmp_path, Room([], tmp_path, 1000)), threading.Event()

    def slow(path):
        gate.wait(30)
        path.write_bytes(b"done")

    def wrong(_):
        raise UserError("table: damaged")

    second, first = jobs.add(wrong, 1), jobs.add(slow, 4)
    assert jobs.result(first) is None
    gate.set()
    until = time.monotonic() + 30
    while (found := jobs.result(first)) is None and time.monotonic() < until:
        time.sleep(0.01)
    jobs.close()
    with found:
        assert found.read() == b"done"
    with pytest.raises(UserError, match="table: damaged"):
        jobs.result(second)
    jobs.delete(first)
    with pytest.raises(NotThere):
        jobs.result(first)
    assert not list(tmp_path.iterdir())


def test_work_that_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "MOST_WAITING", 2)
    room = Room([], tmp_path, 1000)
    jobs, gate = Jobs(tmp_path, room), threading.Event()
    for _ in range(2):
        jobs.add(lambda _: gate.wait(30), 1)
    with pytest.raises(StoreFull, match="come again"):
        jobs.add(lambda _: None, 1000 - 2)
    room.promise(1000 - 2)  # what was refused is promised no longer
    gate.set()
    jobs.close()


def test_results_have_their_room_before_they_are_begun_and_the_oldest_makes_way(tmp_path):
    room = Room([], tmp_path, 1000)
    jobs, gate = Jobs(tmp_path, room), threading.Event()

    def made(path):
        gate.wait(30)
        path.write_bytes(bytes(300))

    first, second, third = (jobs.add(made, 300) for _ in range(3))
    with pytest.raises(StoreFull, match="keeps or expects 900 bytes: no room for 300 in 1000"):
        jobs.add(made, 300)
    gate.set()
    until = time.monotonic() + 30
    while (last := jobs.result(third)) is None and time.monotonic() < until:
        time.sleep(0.01)
    reading = jobs.result(first)
    room.promise(400)
    with pytest.raises(NotThere):
        jobs.result(first)
    with reading, last, jobs.result(second) as there:
        assert len(reading.read()) == len(there.read()) == 300  # whoever reads it reads it to its end
    with pytest.raises(StoreFull):
        room.promise(1000)
    jobs.result(second).close()  # nothing makes way for what has no room anyway
    room.take_back(400)
    room.promise(1000)
    assert not list(tmp_path.iterdir())
    jobs.close()
