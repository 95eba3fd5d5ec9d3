"""The command: pictures and numbers out, and one line with status 2 for what a user can cause."""

import contextlib
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fedpriv.cli import main


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Two pictures of one place, in the second of which a square has moved; the folder is the current one."""
    monkeypatch.chdir(tmp_path)
    before = np.full((60, 80, 3), (90, 120, 150), np.uint8)
    before[:, :, 0] += np.arange(80, dtype=np.uint8)
    after = before.copy()
    before[20:30, 10:22] = 250
    after[35:45, 50:62] = 250
    Image.fromarray(before).save("before.png")
    Image.fromarray(after).save("after.png")
    return before, after


def printed(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def pixels(path):
    return np.asarray(Image.open(path))


def test_a_pair_is_compared_drawn_and_described(scene, server, capsys):
    before, after = scene
    main(
        [
            "imagediff",
            "run",
            "before.png",
            "after.png",
            "--server",
            server,
            "--out",
            "seen",
            "--array",
            "--json",
        ]
    )
    found = printed(capsys)
    (pair,) = found["pairs"]
    difference = after.astype(np.int16) - before
    assert np.array_equal(np.load("seen/after.difference.npy"), difference)
    assert np.array_equal(pixels("seen/after.difference.png"), (difference >> 1) + 128)
    assert np.array_equal(pixels("seen/after.absolute.png"), abs(difference))
    assert pixels("seen/after.changes.png").shape == (60, 80, 3)
    assert pair["files"]["changes"] == "seen/after.changes.png"
    assert (pair["rows"], pair["columns"], pair["channels"]) == (60, 80, 3)
    assert (pair["max_abs"], pair["regions_found"]) == (int(abs(difference).max()), 2)
    assert pair["mean"] == pytest.approx(difference.mean())
    assert {(r["x"], r["y"], r["width"], r["height"]) for r in pair["regions"]} == {
        (10, 20, 12, 10),
        (50, 35, 12, 10),
    }
    assert found["sent_bytes"] > 2 * 27_000
    assert found["server"] == server


def test_text_says_the_same(scene, server, capsys):
    main(["imagediff", "run", "before.png", "after.png", "--server", server])
    out = capsys.readouterr().out
    assert "before.png -> after.png: 80 x 60 RGB" in out
    assert "5.000 % of pixels by more than 25" in out
    assert "12 x 10 at (10, 20), 120 pixels" in out
    assert "outputs/imagediff/after.changes.png" in out


def test_a_reference_is_kept_compared_with_and_deleted(scene, server, capsys):
    main(["keys", "new", "images"])
    main(["imagediff", "reference", "square", "before.png", "--server", server])
    assert "square: 80 x 60 RGB" in capsys.readouterr().out
    main(
        ["imagediff", "run", "--reference", "square", "after.png", "before.png", "--server", server, "--json"]
    )
    moved, same = printed(capsys)["pairs"]
    assert (moved["reference"], moved["regions_found"]) == ("square", 2)
    assert (same["max_abs"], same["changed_share"]) == (0, 0.0)
    main(["imagediff", "reference", "square", "--delete", "--server", server])
    with pytest.raises(SystemExit) as ended:
        main(["imagediff", "run", "--reference", "square", "after.png", "--server", server])
    assert ended.value.code == 2
    assert "none of that name" in capsys.readouterr().err


def test_folders_are_compared_by_name_and_files_never_written_over_each_other(
    scene, server, tmp_path, capsys
):
    for side, file in (("a", "before.png"), ("b", "after.png")):
        (tmp_path / side).mkdir()
        for name in ("one.png", "two.png", "two.bmp", "two-2.png"):
            Image.open(file).save(tmp_path / side / name)
    main(["imagediff", "run", "a", "b", "--server", server, "--out", "seen", "--json"])
    pairs = printed(capsys)["pairs"]
    assert [pair["first"] for pair in pairs] == ["a/one.png", "a/two-2.png", "a/two.bmp", "a/two.png"]
    assert len({pair["files"]["changes"] for pair in pairs}) == 4
    assert all(pair["regions_found"] == 2 for pair in pairs)


def test_pairs_before_a_bad_file_are_compared_and_the_file_is_named(scene, server, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    given = ["before.png", "after.png", "before.png", "text.png"]
    with pytest.raises(SystemExit) as ended:
        main(["imagediff", "run", *given, "--server", server, "--out", "seen"])
    assert ended.value.code == 2
    assert "text.png: not a readable" in capsys.readouterr().err
    assert (tmp_path / "seen" / "after.difference.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["before.png"], "has no counterpart"),
        (["before.png", "small.png"], "small.png: 3 x 2 RGB; give two pictures of one size and kind"),
        (["before.png", "grey.png"], "80 x 60 grey"),
        (["before.png", "none.png"], "none.png: is no file"),
        (["before.png", "text.png"], "text.png: not a readable"),
        (["before.png", "cut.png"], "cut.png: not a readable"),
        (["before.png", "after.png", "--threshold", "255"], "--threshold 255: give 0 to 254"),
        (["before.png", "after.png", "--least", "0"], "--least 0: give 1 or more"),
        (["before.png", "after.png", "--keys", "nowhere"], "nowhere"),
        (["before.png", "after.png", "--keys", "keys-table"], "for"),
        (["before.png", "after.png", "--server", "ftp://x"], "is no URL of a service"),
        (["before.png", "after.png", "--out", "text.png"], "text.png: cannot be written"),
        (["--reference", "door", "after.png"], "no keys; make them with `fedpriv keys new images`"),
        (["--reference", "a/b", "after.png", "--keys", "keys-images"], "letters, digits"),
        (["a", "b"], "alone.png: has no counterpart of that name"),
        (["empty", "empty"], "holds no pictures"),
    ],
)
def test_mistakes_are_one_line_and_status_2(scene, server, tmp_path, capsys, arguments, said):
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save("small.png")
    Image.fromarray(scene[0][..., 0]).save("grey.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "after.png").read_bytes()[:100])
    for folder in ("a", "b", "empty"):
        (tmp_path / folder).mkdir()
    Image.fromarray(scene[0]).save("a/alone.png")
    if "keys-table" in arguments:
        from fedpriv.he.users.keys import UserKeys
        from fedpriv.he.users.sets import SETS

        (tmp_path / "keys-table").mkdir()
        UserKeys.make(SETS["faces"]).save(tmp_path / "keys-table")
    if "keys-images" in arguments:
        main(["keys", "new", "images", "--out", "keys-images"])
        capsys.readouterr()
    where = [] if "--server" in arguments else ["--server", server]
    with pytest.raises(SystemExit) as ended:
        main(["imagediff", "run", *arguments, *where])
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert said in lines[-1]
    assert [line for line in lines if not line.startswith("keys: new ones")] == lines[-1:]


def test_without_a_server_one_is_started_as_a_process_of_its_own_and_ended(scene, capsys):
    main(["imagediff", "run", "before.png", "after.png", "--json"])
    captured = capsys.readouterr()
    url = json.loads(captured.out.strip().splitlines()[-1])["server"]
    assert f"server: {url}, a process of its own started for this call" in captured.err
    with pytest.raises(SystemExit):
        main(["imagediff", "run", "before.png", "after.png", "--server", url])
    assert "refused" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reference_outlives_the_server_that_was_started_for_it(scene, capsys):
    main(["keys", "new", "images"])
    main(["imagediff", "reference", "door", "before.png"])
    main(["imagediff", "run", "--reference", "door", "after.png", "--json"])
    assert printed(capsys)["pairs"][0]["regions_found"] == 2


def test_a_server_that_cannot_serve_says_why_in_one_line(tmp_path, server, capsys):
    port = server.rsplit(":", 1)[1]
    (tmp_path / "file").write_text("")
    for arguments, said in (
        (["--port", port, "--store", str(tmp_path / "s")], f"port={port}: address already in use"),
        (["--port", "70000"], "give 0 to 65535"),
        (["--store", str(tmp_path / "file" / "x")], "name another folder with --store"),
        (["--only", str(tmp_path / "none.key"), "--store", str(tmp_path / "t")], "none.key"),
        (["--certificate", str(tmp_path / "file"), "--store", str(tmp_path / "u")], "tls"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["imagediff", "serve", *arguments])
        lines = capsys.readouterr().err.strip().splitlines()
        assert (ended.value.code, len(lines)) == (2, 1)
        assert said in lines[0]


@pytest.mark.slow
def test_a_server_for_certain_keys_serves_no_others(scene, tmp_path, capsys):
    main(["keys", "new", "images"])
    command = [sys.executable, "-m", "fedpriv.cli", "imagediff", "serve", "--port", "0", "--until-eof"]
    process = subprocess.Popen(
        [*command, "--store", str(tmp_path / "s"), "--only", "keys-images/public.key"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = process.stdout.readline().decode().split()[-1]
        main(["imagediff", "run", "before.png", "after.png", "--server", url])
        main(["keys", "new", "images", "--out", "others"])
        with pytest.raises(SystemExit):
            main(["imagediff", "run", "before.png", "after.png", "--server", url, "--keys", "others"])
        assert "refuses (not_served)" in capsys.readouterr().err
    finally:
        process.stdin.close()
        assert process.wait(20) in (0, -15)
        process.stdout.close()


@pytest.mark.parametrize("arguments", [["run"], ["reference"], ["serve"], []])
def test_help_has_examples(arguments, capsys):
    with contextlib.suppress(SystemExit):
        main(["imagediff", *arguments, "--help"])
    assert "fedpriv imagediff " in capsys.readouterr().out.split("examples:")[1]
