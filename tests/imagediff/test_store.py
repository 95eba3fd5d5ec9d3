"""References on disk: the old version or the new one, whatever happens, and never more than allowed."""

import itertools

import pytest

from fedpriv.errors import UserError
from fedpriv.imagediff.protocol import ReferenceHead
from fedpriv.imagediff.store import NoReference, Outdated, ReferenceStore, StoreFull

KEY = "ab" * 32


def head(made, part=0, parts=1, name="door"):
    return ReferenceHead(name, made, part, parts, 1, 1, 1)


@pytest.fixture
def store(tmp_path):
    return ReferenceStore(tmp_path / "store", 1000)


def kept(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".fedpriv-imagediff"]


def current(store, name="door"):
    return store.part(KEY, name, 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_version_counts_once_all_parts_are_there_in_any_order(store, order):
    store.add(KEY, head(1), b"old")
    for step, part in enumerate(order):
        assert current(store) == b"old"
        assert store.add(KEY, head(2, part, 3), b"new%d" % part) == (step == 2)
    assert [store.part(KEY, "door", part) for part in range(3)] == [b"new0", b"new1", b"new2"]
    with pytest.raises(NoReference, match="no part 3"):
        store.part(KEY, "door", 3)


def test_an_older_version_never_replaces_a_later_one(store):
    store.add(KEY, head(5), b"late")
    with pytest.raises(Outdated):
        store.add(KEY, head(4), b"replayed")
    assert current(store) == b"late"
    # sent again because the answer was lost: done already
    assert store.add(KEY, head(5), b"late")


def test_who_compares_with_a_version_that_was_replaced_is_told(store):
    store.add(KEY, head(1), b"old")
    assert store.part(KEY, "door", 0, made=1) == b"old"
    store.add(KEY, head(2), b"new")
    with pytest.raises(NoReference, match="replaced meanwhile"):
        store.part(KEY, "door", 0, made=1)


@pytest.mark.parametrize("stop", range(40))
def test_a_crash_at_any_step_leaves_the_old_or_the_new(tmp_path, monkeypatch, stop):
    """Every change to the folder counts as a step; from step ``stop`` on none happens any more."""
    folder = tmp_path / "store"
    store = ReferenceStore(folder, 1000)
    store.add(KEY, head(1), b"old")
    import os
    import shutil
    from pathlib import Path

    class Crash(BaseException):
        pass

    steps = itertools.count()

    def stepping(function):
        def stepped(*given, **named):
            if next(steps) >= stop:
                raise Crash
            return function(*given, **named)

        return stepped

    with monkeypatch.context() as patched:
        for owner, name in (
            (Path, "rename"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (os, "fsync"),
        ):
            patched.setattr(owner, name, stepping(getattr(owner, name)))
        patched.setattr(shutil, "rmtree", stepping(shutil.rmtree))
        crashed = False
        try:
            store.add(KEY, head(2, 0, 2), b"new0")
            store.add(KEY, head(2, 1, 2), b"new1")
        except Crash:
            crashed = True
    store.close()
    again = ReferenceStore(folder, 1000)
    found = current(again)
    assert found in (b"old", b"new0")
    assert crashed or found == b"new0"
    if found == b"new0":
        assert again.part(KEY, "door", 1) == b"new1"
    # what was left over is cleared away, and a later version is taken
    assert [path.name for path in folder.rglob(".*")] == [".fedpriv-imagediff"]
    assert again.add(KEY, head(3), b"later")
    assert current(again) == b"later"
    assert len(kept(folder)) == 1


def test_no_more_than_allowed_is_kept_and_deleting_makes_room(tmp_path):
    folder = tmp_path / "store"
    store = ReferenceStore(folder, 100)
    store.add(KEY, head(1), bytes(60))
    with pytest.raises(StoreFull, match="60 of 100 bytes"):
        store.add(KEY, head(1, name="window"), bytes(41))
    store.close()
    store = ReferenceStore(folder, 100)
    with pytest.raises(StoreFull):
        store.add(KEY, head(1, name="window"), bytes(41))
    store.add(KEY, head(1, name="window"), bytes(40))
    store.forget(KEY, "door", 1)
    store.add(KEY, head(1, name="wall"), bytes(60))


def test_a_version_that_is_never_finished_goes_when_the_next_begins(tmp_path):
    folder = tmp_path / "store"
    store = ReferenceStore(folder, 100)
    for made in range(1, 50):
        store.add(KEY, head(made, 0, 2), bytes(60))
    assert len(kept(folder)) == 1
    with pytest.raises(NoReference):
        current(store)


def test_deleting_names_the_version_so_that_a_replay_deletes_no_later_one(store):
    store.add(KEY, head(1), b"old")
    store.add(KEY, head(2), b"new")
    with pytest.raises(NoReference):
        store.forget(KEY, "door", 1)
    store.forget(KEY, "door", 2)
    with pytest.raises(NoReference):
        current(store)


def test_a_deletion_that_is_cut_off_is_finished_at_the_next_start(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    store = ReferenceStore(folder, 1000)
    for part in range(3):
        store.add(KEY, head(1, part, 3), b"part")

    def cut_off(path):
        next(path.iterdir()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            store.forget(KEY, "door", 1)
    store.close()
    again = ReferenceStore(folder, 8)
    assert not kept(folder)
    with pytest.raises(NoReference):
        current(again)


def test_a_write_that_is_cut_off_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    store = ReferenceStore(folder, 1000)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StoreFull, match=r"cannot be kept .No space left"):
            store.add(KEY, head(1), b"part")
    assert not kept(folder)
    assert store.add(KEY, head(1), b"part")


def test_a_folder_of_somebody_elses_is_refused_and_left_as_it_is(tmp_path):
    for name in ("projects/repo/.git", "a/b/.venv", f"{KEY}/src/.env"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"holds files that are not fedpriv's own; .* --store"):
        ReferenceStore(tmp_path, 1000)
    assert sorted(tmp_path.rglob("*")) == before


def test_in_its_own_folder_too_only_names_that_it_gives_are_cleared_away(tmp_path):
    store = ReferenceStore(tmp_path, 1000)
    store.add(KEY, head(1), b"part")
    store.close()
    foreign = [f"{KEY}/door/.hidden", f"{KEY}/door/1-1/.note", f"{KEY}/.x", "notes/.a"]
    own = [f"{KEY}/door/.2-1.0123abcd", f"{KEY}/door/1-1/.0.fpct.0123456789abcdef"]
    for name in foreign:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / own[0]).mkdir()
    (tmp_path / own[1]).write_bytes(b"half")
    ReferenceStore(tmp_path, 1000)
    assert all((tmp_path / name).exists() for name in foreign)
    assert not any((tmp_path / name).exists() for name in own)


def test_one_server_at_a_time_has_a_store(tmp_path):
    store = ReferenceStore(tmp_path, 1000)
    with pytest.raises(UserError, match="another fedpriv imagediff has it"):
        ReferenceStore(tmp_path, 1000)
    store.close()
    ReferenceStore(tmp_path, 1000)


def test_keys_do_not_see_each_others_references(store):
    store.add(KEY, head(1), b"mine")
    with pytest.raises(NoReference):
        store.part("cd" * 32, "door", 0)
