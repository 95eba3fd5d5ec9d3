"""A kill at any call to the system leaves the gallery as it was before or after, and usable."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import fedpriv.journal
from fedpriv.errors import UserError
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher
from fedpriv.he.matching.opening import exact_scores
from fedpriv.he.matching.people import Place, new_id
from tests.he.matching.conftest import begun, copied, people, put, sent, written

DIM = 2
CALLS = ("open", "rename", "unlink", "fsync", "mkdir", "truncate", "link", "chmod", "fchmod")


@pytest.fixture(scope="module", params=["encrypted", "plain"])
def template(request, keys, tmp_path_factory):
    return begun(keys, tmp_path_factory.mktemp("crashes") / "gallery", DIM, request.param == "plain")


class Fuse:
    """Counts calls to the system, and kills its process at one of them."""

    def __init__(self, last):
        self.left = last

    def burn(self):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def arm(self):
        for name in CALLS:
            real = getattr(os, name)

            def counted(*given, real=real, **named):
                self.burn()
                return real(*given, **named)

            setattr(os, name, counted)

        def write(file, data):
            # a write is cut at its beginning, in its middle and at its end
            for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
                self.burn()
                file.write(piece)
            self.burn()
            os.fsync(file.fileno())

        fedpriv.journal._write = write


def killed(action, last):
    """Do something in a fork that is killed at call ``last``; return whether it was."""
    child = os.fork()
    if child == 0:
        try:
            Fuse(last).arm()
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def adding(template, keys, folder):
    gallery = Gallery.open(folder)
    file = gallery.inbox / "new"
    newcomer = (Place(0, (9,)), ["newcomer-000"], people(1, DIM, seed=8))
    file.write_bytes(written(keys, *newcomer, template.plain))
    return lambda: Gallery(folder, gallery.keys).add(file)


def deleting_a_segment(template, keys, folder):
    gallery = Gallery.open(folder)
    return lambda: Gallery(folder, gallery.keys).delete(template.ids[3:5])


def deleting_one_of_several(template, keys, folder):
    gallery = Gallery.open(folder)
    return lambda: Gallery(folder, gallery.keys).delete(template.ids[:1])


def replacing(template, keys, folder):
    gallery = Gallery.open(folder)
    names = [each.name for each in gallery.segments()[0][:2]]
    file = gallery.inbox / "new"
    staying = (Place(0, (2, 3)), template.ids[2:4], template.vectors[2:4])
    file.write_bytes(written(keys, *staying, template.plain))
    return lambda: Gallery(folder, gallery.keys).replace(names, file)


def summing_up(template, keys, folder):
    gallery = Gallery.open(folder)
    return lambda: Gallery(folder, gallery.keys).compact()


def state(folder, keys, probe):
    """Return who is enrolled, in which files, and everybody's score."""
    gallery = Gallery.open(folder)
    places = gallery.places()
    stored = {path.name for path in (folder / "segments").iterdir()}
    assert stored == {each.file for segments in gallery.segments().values() for each in segments}
    assert list(gallery.inbox.iterdir()) == []
    with Matcher(gallery) as matcher:
        scores = exact_scores(keys, matcher.scores(probe).ciphertexts[:1])[0]
    return places, {each: round(float(scores[slot]), 6) for each, (_, slot) in places.items()}


@pytest.mark.parametrize(
    "operation",
    [
        adding,
        deleting_a_segment,
        deleting_one_of_several,
        pytest.param(replacing, marks=pytest.mark.slow),
        pytest.param(summing_up, marks=pytest.mark.slow),
    ],
)
def test_a_kill_leaves_the_state_before_or_after(operation, template, keys, tmp_path):
    probe = sent(keys.public, template.vectors[0], keys)
    folder = copied(template.folder, tmp_path / "whole")
    before = state(folder, keys, probe)
    operation(template, keys, folder)()
    after = state(folder, keys, probe)
    found = set()
    for last in range(200):
        folder = copied(template.folder, tmp_path / str(last))
        if not killed(operation(template, keys, folder), last):
            break
        now = state(folder, keys, probe)
        assert now in (before, after), last
        found.add(now == after)
        if last % 5 == 0:
            (new,) = put(keys, Gallery.open(folder), people(1, DIM, seed=9), [Place(0, (20,))])
            assert new in Gallery.open(folder).ids()
    else:
        raise AssertionError("never got to its end")
    assert last > 5
    if before != after:
        assert found == {False, True}


def test_a_kill_while_it_is_made_leaves_none_or_one(keys, tmp_path):
    for last in range(100):
        folder = tmp_path / str(last)
        cut = killed(lambda folder=folder: Gallery.make(folder, keys.public, 4), last)
        made = folder / "gallery.jsonl"
        if not made.exists() or not made.read_bytes().endswith(b"\n"):
            with pytest.raises(UserError, match="holds no gallery"):
                Gallery.open(folder)
            Gallery.make(folder, keys.public, 4)
        assert Gallery.open(folder).ids() == []
        if not cut:
            break
    assert last > 5


def test_templates_are_on_disk_before_the_line_that_makes_them_count(template, keys, tmp_path, monkeypatch):
    folder = copied(template.folder, tmp_path / "g")
    gallery, order = Gallery.open(folder), []
    file = gallery.inbox / "new"
    file.write_bytes(written(keys, Place(0, (9,)), [new_id()], people(1, DIM), template.plain))
    numbers = {file.stat().st_ino: "templates", (folder / "segments").stat().st_ino: "their name"}
    numbers[(folder / "gallery.jsonl").stat().st_ino] = "the line"
    fsync = os.fsync

    def watched(descriptor):
        order.append(numbers.get(os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    gallery.add(file)
    named = [each for each in order if each]
    assert named == ["templates", "their name", "the line"]


def test_a_removed_file_is_gone_only_after_its_line(template, keys, tmp_path, monkeypatch):
    folder = copied(template.folder, tmp_path / "g")
    gallery, lines = Gallery.open(folder), []
    unlink = os.unlink

    def watched(path, **given):
        if Path(path).suffix in (".fpct", ".fppt"):
            lines.append((folder / "gallery.jsonl").read_text().count("deleted"))
        unlink(path, **given)

    monkeypatch.setattr(os, "unlink", watched)
    gallery.delete(template.ids[3:4])
    assert lines == [1]
    assert np.array_equal(list(gallery.ids()), [*template.ids[:3], *template.ids[4:]])
