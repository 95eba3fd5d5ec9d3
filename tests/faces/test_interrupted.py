"""Whatever ends in the middle or is restored from a copy, nobody is named by another's face or lost."""

import shutil

import pytest

from fedpriv.errors import UserError
from fedpriv.faces.asking import Service
from fedpriv.faces.caller import Asking
from fedpriv.faces.owner import Owner
from fedpriv.faces.register import Register
from fedpriv.faces.server import ServerSettings, build_server
from fedpriv.he.matching.gallery import Gallery
from tests.faces.running import Running, Services, faces


@pytest.fixture
def some(tmp_path):
    started = Running(tmp_path / "own", faces(40), budget=200)
    yield started
    started.stop()


def ended(monkeypatch, where, name, before, action):
    """Do something that is ended when it calls a method, or when that is done."""
    real = getattr(where, name)

    def ends(*given):
        if not before:
            real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, name, ends)
        with pytest.raises(KeyboardInterrupt):
            action()


def names(some, *numbers):
    """Return who the faces of these numbers are told to be, each asked three times."""
    asking = some.asking()
    found = []
    for number in numbers:
        (name,) = {asking.identify(some.pictures.vectors[number]).name for _ in range(3)}
        found.append(name)
    return found


def ids(some):
    """Return the ids that the server has, and those that the register has."""
    gallery = Gallery(some.gallery, some.keys.public)
    return sorted(gallery.ids()), sorted(each.id for each in Register(some.owner).people())


@pytest.mark.parametrize("method", ["leave", "remove"])
@pytest.mark.parametrize("before", [True, False])
def test_a_deletion_that_ended_anywhere_takes_nobody_elses_place(some, monkeypatch, method, before):
    some.enrol({"carol": [5]})
    some.enrol({"anna": [0]})
    ended(monkeypatch, Register, method, before, lambda: some.as_owner().delete("anna"))
    some.enrol({"bob": [1]})
    assert names(some, 1, 5) == ["bob", "carol"]
    if method == "remove" and not before:
        with pytest.raises(UserError, match="anna: nobody of that name"):
            some.as_owner().delete("anna")
    else:
        some.as_owner().delete("anna")
    assert names(some, 0, 1, 5) == [None, "bob", "carol"]
    some.as_owner().delete("bob")
    assert names(some, 1, 5) == [None, "carol"]
    server, register = ids(some)
    assert server == register


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize("next_command", ["enrol", "delete"])
def test_an_enrolment_that_ended_hides_nobody_from_then_on(some, monkeypatch, reached, next_command):
    some.enrol({"carol": [5]})
    where, method = (Register, "enrol") if reached else (Register, "begin")
    ended(monkeypatch, where, method, reached, lambda: some.enrol({"anna": [0], "bob": [1]}))
    assert len(ids(some)[0]) == (3 if reached else 1)
    if next_command == "enrol":
        some.enrol({"anna": [0]})
        assert names(some, 0, 1, 5) == ["anna", None, "carol"]
        assert some.asking().verify("anna", some.pictures.vectors[0]).accepted is True
    else:
        some.as_owner().delete("carol")
    server, register = ids(some)
    assert server == register
    assert Register(some.owner).unfinished() == []


def test_what_was_left_is_deleted_even_if_that_is_interrupted_too(some, monkeypatch):
    ended(monkeypatch, Register, "enrol", True, lambda: some.enrol({"anna": [0]}))
    for before in (True, False):
        ended(monkeypatch, Register, "abandon", before, lambda: some.enrol({"anna": [0]}))
    some.enrol({"anna": [0]})
    assert names(some, 0) == ["anna"]
    server, register = ids(some)
    assert server == register


def test_a_server_that_is_down_leaves_no_answer_behind_and_the_next_command_goes_on(some, monkeypatch):
    some.enrol({"anna": [0], "bob": [1]})

    def down(*_):
        raise UserError("down")

    with monkeypatch.context() as patched:
        patched.setattr(Service, "ask", down)
        with pytest.raises(UserError, match="down"):
            some.as_owner().delete("anna")
    assert names(some, 0, 1) == [None, "bob"]
    with pytest.raises(UserError, match="anna: is not deleted to the end"):
        some.enrol({"anna": [0]})
    assert some.as_owner().delete("anna") == 1
    some.enrol({"anna": [2]})
    assert names(some, 0, 1, 2) == [None, "bob", "anna"]


def test_a_server_restored_from_an_older_copy_names_nobody_by_anothers_face(some, tmp_path):
    some.enrol({"carol": [5]})
    some.enrol({"anna": [0]})
    shutil.copytree(some.gallery, tmp_path / "copy")
    some.as_owner().delete("anna")
    some.enrol({"bob": [1]})
    settings, services = ServerSettings(port=0, folder=tmp_path / "copy"), Services()
    url = f"http://127.0.0.1:{services.start(build_server(settings), settings)}"
    try:
        asking = Asking(some.caller, url, some.keyholder, plain_probe=True)
        vectors = some.pictures.vectors
        assert [asking.identify(vectors[number]).name for number in (0, 1, 5)] == [None, None, "carol"]
        # the copy offers bob's slot as free
        files = {"dora": some.pictures.files(tmp_path / "more", 7)}
        (dora,) = Owner(some.owner, url).enrol(files, some.pictures.embedder)
        assert (dora.block, dora.slot) not in [
            (each.block, each.slot) for each in Register(some.owner).people() if each.name != "dora"
        ]
        assert [asking.identify(vectors[number]).name for number in (0, 1, 7)] == [None, None, "dora"]
    finally:
        services.stop()
    # and on the newer gallery dora, who is not in it, is nobody
    assert names(some, 0, 1, 5, 7) == [None, "bob", "carol", None]
