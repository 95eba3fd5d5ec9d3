"""``fedpriv faces``: every command as a process, on the ORL faces; what it refuses, in one line."""

import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest

from fedpriv.cli import main
from fedpriv.errors import UserError
from fedpriv.faces.command import main as faces
from fedpriv.faces.embed import load_embedder
from fedpriv.faces.options import KEYHOLDER, SERVER
from fedpriv.faces.register import Register
from fedpriv.services.held_folder import HeldFolder, mark_of
from tests.faces.processes import fedpriv, service
from tests.faces.running import Running
from tests.faces.running import faces as vectors


@pytest.fixture(autouse=True)
def _umask():
    """Services set the umask of their process, which here is that of all tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize(
    "command", ["serve", "keyholder", "enroll", "verify", "identify", "delete", "caller", "export"]
)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        faces([command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"fedpriv faces {command}" in said.split("examples:")[1]


def test_the_commands_are_listed(capsys):
    main(["faces"])
    said = capsys.readouterr().out
    for command in ("serve", "keyholder", "enroll", "verify", "identify", "delete", "caller", "export"):
        assert f"  {command} " in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wrong"], "faces wrong: no such command; choose one of serve, keyholder"),
        (["serve", "--folder", "none"], "none: holds no gallery; give --public FILE to begin one"),
        (["serve", "--port", "0"], "--port 0: choose 1 to 65535|holds no gallery"),
        (["serve", "--workers", "0"], "--workers 0: choose 1 or more"),
        (["serve", "--public", "missing.key"], "missing.key: cannot read"),
        (["keyholder", "--owner", "none"], "none: cannot read the key"),
        (
            ["enroll", "", "a.png", "--model", "pixels", "--owner", "keys-faces"],
            "'': is no name; give 1 to 128",
        ),
        (["enroll"], "faces enroll: the following arguments are required: --model"),
        (["enroll", "--model", "pixels"], "give a name and its pictures, or --people FOLDER"),
        (["enroll", "a", "a.png", "--model", "pixels", "--owner", "none"], "none: cannot read the key"),
        (["enroll", "--people", "none", "--model", "pixels"], "none: no such folder"),
        (["verify", "a", "a.png", "--model", "pixels", "--caller", "none"], "none/public.key: cannot read"),
        (["identify", "a.png"], "the following arguments are required: --model"),
        (["caller"], "faces caller: give the caller a name, or --list"),
        (["caller", "a", "--owner", "none"], "none: cannot read the key"),
        (["export", "none", "a.bin"], "a.bin: is written as .npz"),
    ],
)
def test_mistakes_are_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "keys-faces" in arguments:
        main(["keys", "new", "faces"])
    with pytest.raises(UserError, match=said) as caught:
        faces(arguments)
    assert "\n" not in str(caught.value)


def test_a_model_for_the_key_holder_is_loaded_and_compared(tmp_path, monkeypatch):
    """Pixels are enrolled by as a model is, and were measured on nobody."""
    monkeypatch.chdir(tmp_path)
    main(["keys", "new", "faces"])
    keyholder = ["keyholder", "--model"]
    Register(Path("keys-faces")).pin("a" * 64, load_embedder("pixels:16").digest)
    for name, said in (("pixels:17", "pixels:17: is the model"), ("pixels:16", "pixels:16: no FAR")):
        with pytest.raises(UserError, match=said):
            faces([*keyholder, name])


def test_faces_has_ports_of_its_own(capsys):
    """Every service beside another, each started without ``--port``."""
    found = []
    for command in (
        *(("faces", name) for name in ("serve", "keyholder")),
        *((name, "serve") for name in ("imagediff", "stats")),
    ):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        found += re.findall(r"port, 0 for any that is free; (\d+) without", text)
    assert len(found) == len(set(found)) == 4
    assert [f"http://127.0.0.1:{port}" for port in found[:2]] == [SERVER, KEYHOLDER]


def test_a_key_for_something_else_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["keys", "new", "images"])
    with pytest.raises(UserError, match="images"):
        faces(["serve", "--public", "keys-images/public.key"])
    with pytest.raises(UserError, match="images"):
        faces(["keyholder", "--owner", "keys-images"])


def test_a_part_of_a_split_key_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["keys", "new", "faces", "--to-split"])
    main(["keys", "split", "keys-faces", "--holders", "2"])
    (share,) = tmp_path.glob("**/holder-1/share.key")
    with pytest.raises(UserError, match=r"holder-1/share.key: part of a split key.* no key holder's service"):
        faces(["keyholder", "--owner", str(share.parent)])


def test_a_second_server_on_a_folder_is_refused_and_touches_nothing(some, tmp_path):
    mark_of(some.gallery, "faces").touch()
    received = some.gallery / "inbox" / "being-received"
    with HeldFolder(some.gallery, "faces", "--folder"):
        received.touch()
        with pytest.raises(UserError, match="another fedpriv faces has it; end that one"):
            faces(["serve", "--folder", str(some.gallery), "--port", str(some.server_port)])
        assert received.exists()
    received.unlink()


def test_a_folder_of_something_else_is_no_place_for_a_gallery(some, tmp_path):
    main(["keys", "new", "faces", "--out", str(tmp_path / "keys")])
    (tmp_path / "photos" / "inbox").mkdir(parents=True)
    (tmp_path / "photos" / "inbox" / "mine.png").touch()
    serve = ["serve", "--folder", str(tmp_path / "photos"), "--port", str(some.server_port)]
    with pytest.raises(UserError, match="photos: holds files that are not fedpriv's own"):
        faces([*serve, "--public", str(tmp_path / "keys" / "public.key")])
    assert (tmp_path / "photos" / "inbox" / "mine.png").exists()


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    started = Running(tmp_path_factory.mktemp("command") / "all", vectors(10, dimension=16))
    yield started
    started.stop()


def test_commands_against_running_services(some, tmp_path, real_data, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    orl = real_data / "orl_faces"
    to_server = ["--server", some.server, "--model", "pixels:16", "--json"]
    asks = ["--caller", str(some.caller), "--keyholder", some.keyholder, *to_server]

    owner, other_model = ("--owner", str(some.owner)), ("--model", "pixels:17")

    def said():
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    for name in ("s1", "s2", "s3"):
        faces(["enroll", name, str(orl / name / "1.pgm"), "--owner", str(some.owner), *to_server])
    assert [each["enrolled"] for each in said()] == [["s1"], ["s2"], ["s3"]]
    faces(["verify", "s2", str(orl / "s2" / "1.pgm"), *asks])
    faces(["identify", str(orl / "s1" / "1.pgm"), str(orl / "s3" / "1.pgm"), *asks, "--plain-probe"])
    first, *both = said()
    assert first["accepted"] is True
    assert first.keys() == {"accepted", "left", "sent_bytes", "received_bytes"}
    assert [each["name"] for each in both] == ["s1", "s3"]
    assert both[0]["sent_bytes"] < first["sent_bytes"] / 10
    faces(["delete", "s2", "--owner", str(some.owner), "--server", some.server])
    assert capsys.readouterr().out == "deleted s2\n"  # alone in its segment: nobody is encrypted anew
    for arguments, message in (
        (["verify", "s2", str(orl / "s2" / "1.pgm"), *asks], "s2: nobody of that name is enrolled"),
        (["identify", str(orl / "s1" / "1.pgm"), "--raw-scores", *asks], "scores are not told"),
        (
            ["enroll", "s1", str(orl / "s1" / "2.pgm"), "--owner", str(some.owner), *to_server],
            "s1: is enrolled already",
        ),
        (
            ["enroll", "s5", str(orl / "s5" / "2.pgm"), *owner, "--server", some.server, *other_model],
            "of embeddings of 16 numbers, the model's have 17",
        ),
    ):
        with pytest.raises(UserError, match=message):
            faces(arguments)
    faces(["caller", "door-2", "--owner", str(some.owner), "--out", "door-2", "--budget", "1"])
    assert stat.S_IMODE(Path("door-2/caller.key").stat().st_mode) == 0o600
    capsys.readouterr()
    faces(["caller", "--list", "--owner", str(some.owner)])
    assert "door-2" in capsys.readouterr().out
    second = [each if each != str(some.caller) else "door-2" for each in asks]
    faces(["identify", str(orl / "s1" / "1.pgm"), *second])
    with pytest.raises(UserError, match="the budget of 1 openings in 24 hours is spent"):
        faces(["identify", str(orl / "s1" / "1.pgm"), *second])
    faces(["caller", "door-2", "--owner", str(some.owner), "--revoke"])
    with pytest.raises(UserError, match="no longer"):
        faces(["identify", str(orl / "s1" / "1.pgm"), *second])


@pytest.fixture(scope="module")
def model(tmp_path_factory, real_data):
    """A face model trained for seconds on people 1 to 30 of ORL, as a file; it has never seen the others."""
    from fedpriv.config.compose import compose_run
    from fedpriv.faces.embed import export
    from fedpriv.runner import run

    folder = tmp_path_factory.mktemp("model")
    config = compose_run(
        "+experiment=orl_faces",
        "data=orl",
        f"data.root={real_data / 'orl_faces'}",
        "+data.max_people=30",
        "+model.outputs=16",
        "federation.rounds=3",
        "federation.clients=5",
        "evaluation.test_subjects=5",
        "evaluation.pictures=0",
        "engine.workers=0",
        "engine.threads=1",
        "tracking=none",
    )
    run(config, output_dir=folder / "run")
    export(str(folder / "run"), folder / "faces.npz")
    return folder / "faces.npz"


@pytest.mark.slow
def test_identification_on_orl_is_that_of_plaintext_query_for_query(model, real_data, tmp_path):
    from fedpriv.faces.caller import Asking
    from fedpriv.faces.embed import load_embedder

    orl = real_data / "orl_faces"
    unseen = [f"s{number}" for number in range(31, 41)]
    people = tmp_path / "people"
    for name in unseen:
        (people / name).mkdir(parents=True)
        (people / name / "1.pgm").write_bytes((orl / name / "1.pgm").read_bytes())
    fedpriv("keys", "new", "faces", folder=tmp_path)
    embedder = load_embedder(str(model))
    gallery = embedder.read([orl / name / "1.pgm" for name in unseen])
    probes = embedder.read([orl / name / f"{image}.pgm" for name in unseen for image in range(2, 11)])
    scores = probes @ gallery.T
    expected = [unseen[index] for index in scores.argmax(axis=1)]
    # the flooding may swap scores that are nearer than 0.01, 6 deviations of the difference of two
    allowed = [{unseen[index] for index in np.flatnonzero(row > row.max() - 0.01)} for row in scores]
    assert sum(len(each) == 1 for each in allowed) > 80
    right = [name for name in unseen for _ in range(2, 11)]
    assert np.mean([one == other for one, other in zip(expected, right, strict=True)]) > 0.6
    serve = ("serve", "--public", "keys-faces/public.key", "--dimension", 16)
    with service(*serve, folder=tmp_path) as (server, _):
        options = ("--model", model, "--server", server)
        said = fedpriv("faces", "enroll", "--people", people, *options, folder=tmp_path)
        assert said.startswith("enrolled 10: s31, s32")
        fedpriv("faces", "caller", "door", "--budget", 1000, folder=tmp_path)
        keyholder = ("keyholder", "--threshold", "-1")
        with service(*keyholder, folder=tmp_path) as (holder, _):
            plain = Asking(tmp_path / "faces-caller", server, holder, plain_probe=True)
            hidden = Asking(tmp_path / "faces-caller", server, holder)
            for asking in (plain, hidden):
                for probe, names in zip(probes, allowed, strict=True):
                    assert asking.identify(probe).name in names
            pictures = [orl / "s40" / "10.pgm", orl / "s31" / "2.pgm"]
            said = fedpriv(
                *("faces", "identify", *pictures, *options, "--keyholder", holder, "--json"), folder=tmp_path
            )
            names = [json.loads(line)["name"] for line in said.splitlines()]
            assert names[0] in allowed[-1]
            assert names[1] in allowed[0]
        said = fedpriv(
            *("faces", "identify", *pictures, *options, "--keyholder", holder), folder=tmp_path, status=2
        )
        assert said == f"fedpriv: {holder}: cannot be reached (Connection refused); is the service running?\n"
    assert '"event": "stopped"' in (tmp_path / "serve.log").read_text()


@pytest.mark.slow
def test_services_speak_https_only_to_whom_they_should(tmp_path):
    from fedpriv.services.certificates import certificates

    ca, made = certificates({"server": "127.0.0.1"})
    certificate, key = made["server"]
    for name, text in (("ca.pem", ca), ("tls.pem", certificate), ("tls.key", key)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    fedpriv("keys", "new", "faces", folder=tmp_path)
    serve = ("serve", "--public", "keys-faces/public.key", "--dimension", 8)
    tls = ("--certificate", "tls.pem", "--certificate-key", "tls.key")
    with service(*serve, *tls, folder=tmp_path, ca=tmp_path / "ca.pem") as (url, _):
        image = tmp_path / "a.pgm"
        image.write_bytes(
            b"P5 46 56 255\n" + bytes(np.random.default_rng(0).integers(0, 256, 46 * 56, np.uint8))
        )
        enrol = ("faces", "enroll", "a", image, "--model", "pixels:8", "--server", url)
        assert "not trusted" in fedpriv(*enrol, folder=tmp_path, status=2)
        assert fedpriv(*enrol, "--ca", "ca.pem", folder=tmp_path) == "enrolled 1: a\n"
