"""A gallery that its server may read: the probe stays hidden from it, and the flow is that of any other."""

import json
import os
import stat
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.faces.caller import Asking
from fedpriv.faces.cards import Caller
from fedpriv.faces.command import main as faces_command
from fedpriv.faces.embed import load_embedder
from fedpriv.faces.gallery_service import opened_segment
from fedpriv.faces.owner import Owner
from fedpriv.faces.register import Register
from fedpriv.faces.signing import signed_headers
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.places import Place
from fedpriv.he.matching.plain_files import read_plain
from fedpriv.he.users.keys import UserKeys
from fedpriv.services.held_folder import mark_of
from fedpriv.services.service import now_ms
from tests.faces.needles import Needles, embedding_forms, key_forms
from tests.faces.processes import fedpriv, service
from tests.faces.proxy import RecordingProxy
from tests.faces.running import THRESHOLD, Running, faces
from tests.faces.test_services import near, post

PEOPLE = {f"person {number}": [number] for number in range(5)}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    started = Running(tmp_path_factory.mktemp("plain") / "all", faces(40), plain=True, budget=500)
    started.enrol(PEOPLE)
    yield started
    started.stop()


@pytest.fixture
def umask():
    """Services set the umask of their process, which here is that of all tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def own(tmp_path):
    """A gallery that a test may change."""
    started: list[Running] = []

    def start(plain=True, **policy):
        started.append(Running(tmp_path / f"own{len(started)}", faces(40), plain=plain, **policy))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_answers_are_those_of_plain_matching(plain):
    asking, vectors, asked = plain.asking(), plain.pictures.vectors, 0
    probes = [*faces(4, seed=4), *(near(vectors[row], 0.7, seed=row) for row in range(4))]
    for probe in probes:
        scores = vectors[:5] @ probe
        if np.abs(scores - THRESHOLD).min() > 0.01:
            asked += 1
            expected = f"person {scores.argmax()}" if scores.max() > THRESHOLD else None
            assert asking.identify(probe).name == expected
    assert asked > 5
    assert asking.verify("person 1", near(vectors[1], 0.8)).accepted is True
    assert asking.verify("person 2", near(vectors[1], 0.8)).accepted is False
    assert asking.verify("person 1", near(vectors[1], THRESHOLD - 0.05)).accepted is False


def test_budget_and_silence_about_scores_are_those_of_every_gallery(own):
    some = own(budget=2)
    some.enrol({"a": [0]})
    asking, probe = some.asking(), some.pictures.vectors[0]
    with pytest.raises(UserError, match="scores are not told"):
        asking.scores(probe)
    assert [asking.identify(probe).left for _ in range(2)] == [1, 0]
    with pytest.raises(UserError, match="the budget of 2 openings in 24 hours is spent"):
        asking.identify(probe)


def test_a_probe_in_clear_is_refused_by_caller_and_server(plain):
    with pytest.raises(UserError, match="its gallery is plain: leave out --plain-probe"):
        plain.asking(plain_probe=True)
    caller = Caller.load(plain.caller, plain.keys.public.verify_key)
    path, body = (
        f"/v1/identify?threshold={THRESHOLD}",
        json.dumps({"probe": plain.pictures.vectors[0].tolist()}).encode(),
    )
    headers = signed_headers(caller, "POST", path, body, now_ms()) | {"content-type": "application/json"}
    status, said = post(plain.server, path, body, headers)
    assert status == 409
    assert "in clear, and this gallery is plain" in json.loads(said)["detail"]


@pytest.mark.parametrize(
    ("gallery", "said"),
    [
        (True, "its gallery is plain: the server would read every template; say --plain if it may"),
        (False, "its gallery is encrypted, and --plain would show it faces; leave --plain out"),
    ],
)
def test_the_owner_says_which_it_is_before_anything_is_sent(own, tmp_path, gallery, said):
    some = own(plain=gallery)
    files = {"a": some.pictures.files(tmp_path / "pictures", 0)}
    with RecordingProxy(some.server_port) as proxy, pytest.raises(UserError, match=said):
        Owner(some.owner, proxy.url).enrol(files, some.pictures.embedder, plain=not gallery)
    assert b"POST" not in bytes(proxy.bytes)
    assert len(proxy.bytes) < 2000
    register = Register(some.owner)
    assert (register.people(), register.unfinished(), register.knows_server()) == ([], [], False)


def test_the_server_refuses_the_other_kind_by_name_whoever_sends_it(own, tmp_path, monkeypatch):
    """An owner's program that did not look."""
    monkeypatch.setattr("fedpriv.faces.owner.require_kind", lambda *_: None)
    for gallery, said in ((True, "an enrolment encrypted, and this gallery is plain"), (False, "in clear")):
        some = own(plain=gallery)
        files = {"a": some.pictures.files(tmp_path / "pictures", 0)}
        with pytest.raises(UserError, match=said):
            some.as_owner().enrol(files, some.pictures.embedder, plain=not gallery)
        assert Gallery(some.gallery, some.keys.public).ids() == []


def test_a_deleted_person_is_in_no_file_and_the_others_stay(own):
    some = own(budget=100)
    some.enrol({"a": [0], "b": [1], "c": [2]})
    gone, vectors = some.pictures.vectors[1], some.pictures.vectors
    kept = templates(some.gallery, some.keys)
    (row,) = np.flatnonzero(kept @ gone > 0.999)
    hidden = Needles(embedding_forms(kept[[row]]), window=16, step=2)
    assert hidden.found_in(server_files(some))
    owner = some.as_owner()
    assert (owner.delete("b"), owner.plain) == (2, True)
    assert hidden.found_in(server_files(some)) is None
    asking = some.asking()
    assert asking.identify(gone).name is None
    assert [asking.identify(vectors[number]).name for number in (0, 2)] == ["a", "c"]
    with pytest.raises(UserError, match="nobody of that name"):
        asking.verify("b", gone)


def test_a_deletion_that_was_interrupted_is_ended_by_the_next(own, monkeypatch):
    some = own(budget=100)
    some.enrol({"a": [0], "b": [1], "c": [2]})

    def ends(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Owner, "_again", ends)
        with pytest.raises(KeyboardInterrupt):
            some.as_owner().delete("b")
    assert some.asking().identify(some.pictures.vectors[1]).name is None
    assert some.as_owner().delete("b") == 2
    assert (templates(some.gallery, some.keys) @ some.pictures.vectors[1]).max() < 0.999
    assert some.asking().identify(some.pictures.vectors[2]).name == "c"


def test_a_server_that_says_plain_of_what_is_not_has_nothing_decrypted(own):
    some = own(plain=False)
    some.enrol({"a": [0], "b": [1]})
    gallery = Gallery(some.gallery, some.keys.public)
    ((segment,),) = gallery.segments().values()
    data = gallery.files.path_of(segment).read_bytes()
    with pytest.raises(UserError, match="no templates in clear"):
        opened_segment(some.keys, data, Place(0, (0, 1)), plain=True)


def templates(folder, keys):
    """Return what the server can read, (n, d)."""
    files = sorted((folder / "segments").iterdir())
    return np.concatenate([read_plain(path, path.read_bytes(), keys.public).rows for path in files])


def server_files(running):
    return b"".join(path.read_bytes() for path in sorted(running.gallery.rglob("*")) if path.is_file())


def test_the_server_has_the_templates_and_neither_probe_nor_name_nor_key(own, tmp_path):
    some, probe = own(budget=50), faces(1, seed=77)[0]
    with ExitStack() as stack:
        to_server = stack.enter_context(RecordingProxy(some.server_port))
        to_keyholder = stack.enter_context(RecordingProxy(some.keyholder_port))
        files = {"Ada Lovelace": some.pictures.files(tmp_path / "pictures", 0)}
        Owner(some.owner, to_server.url).enrol(files, some.pictures.embedder, plain=True)
        asking = Asking(some.caller, to_server.url, to_keyholder.url)
        assert asking.verify("Ada Lovelace", near(some.pictures.vectors[0], 0.9)).accepted is True
        assert asking.identify(probe).name is None
    readable = templates(some.gallery, some.keys)
    np.testing.assert_allclose(readable, some.pictures.vectors[:1], atol=1e-15)
    faces_there = Needles(embedding_forms(readable), window=16, step=2)
    asked = np.stack([probe, near(some.pictures.vectors[0], 0.9)])
    probes = Needles(embedding_forms(asked), window=16, step=2)
    keys = Needles(key_forms(some.keys), window=32, step=32)
    seen = bytes(to_server.bytes) + server_files(some)
    assert faces_there.found_in(server_files(some))
    assert faces_there.found_in(bytes(to_keyholder.bytes)) is None
    for hay in (seen, bytes(to_keyholder.bytes)):
        assert probes.found_in(hay) is None
        assert keys.found_in(hay) is None
    assert b"Ada Lovelace" not in seen


def test_serving_it_as_the_other_kind_is_refused(plain, umask):
    mark_of(plain.gallery, "faces").touch(0o600)
    with pytest.raises(UserError, match=r"--gallery encrypted: the gallery in .* is plain and stays so"):
        faces_command(["serve", "--folder", str(plain.gallery), "--gallery", "encrypted"])


@pytest.mark.slow
def test_all_commands_as_processes(tmp_path):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (4, 56, 46), np.uint8)
    for number, pixels in enumerate(pictures):
        (tmp_path / "people" / f"p{number}").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "people" / f"p{number}" / "1.png")
        noisy = np.clip(pixels + random.integers(-40, 40, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{number}.png")
    embedder = load_embedder("pixels:16")
    rows = embedder.read([tmp_path / "people" / f"p{number}" / "1.png" for number in range(4)])
    scores = embedder.read([tmp_path / f"{number}.png" for number in range(4)]) @ rows.T
    expected = [
        f"p{row.argmax()}" if row.max() > THRESHOLD else None
        for row in scores
        if abs(row.max() - THRESHOLD) > 0.01
    ]
    assert len(expected) == 4

    def said(*arguments, status=0):
        return fedpriv("faces", *arguments, folder=tmp_path, status=status)

    fedpriv("keys", "new", "faces", folder=tmp_path)
    begin = ("serve", "--public", "keys-faces/public.key", "--dimension", 16, "--gallery", "plain")
    model = ("--model", "pixels:16")
    asked = [f"{number}.png" for number in range(4)]
    with service(*begin, folder=tmp_path) as (server, _):
        to = (*model, "--server", server)
        assert "say --plain if it may" in said("enroll", "--people", "people", *to, status=2)
        assert said("enroll", "--people", "people", "--plain", *to) == "enrolled 4 in clear: p0, p1, p2, p3\n"
        said("caller", "door")
        with service("keyholder", "--threshold", THRESHOLD, folder=tmp_path) as (holder, _):
            ask = (*to, "--keyholder", holder)
            lines = said("identify", *asked, *ask, "--json").splitlines()
            assert [json.loads(line)["name"] for line in lines] == expected
            assert said("verify", "p1", "1.png", *ask).startswith("accepted")
            assert said("verify", "p1", "2.png", *ask).startswith("not accepted")
            assert "leave out --plain-probe" in said("identify", *asked[:1], *ask, "--plain-probe", status=2)
    # started anew it needs no more than its folder
    with service("serve", folder=tmp_path) as (server, _):
        deleted = said("delete", "p2", "--server", server)
        assert deleted == "deleted p2; 3 others were signed anew, in clear\n"
        with service("keyholder", "--threshold", THRESHOLD, folder=tmp_path) as (holder, _):
            ask = (*model, "--server", server, "--keyholder", holder)
            lines = said("identify", *asked, *ask, "--json").splitlines()
            names = [json.loads(line)["name"] for line in lines]
    assert names == [None if name == "p2" else name for name in expected]
    kept = templates(tmp_path / "faces-gallery", UserKeys.load(tmp_path / "keys-faces"))
    assert sorted((kept @ rows.T).argmax(axis=1)) == [0, 1, 3]
    for path in (tmp_path / "faces-gallery", *(tmp_path / "faces-gallery").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    log = (tmp_path / "serve.log").read_text()
    assert "faces serve: faces-gallery: plain: whoever has this machine reads every template" in log
    assert '"gallery": "plain"' in log
