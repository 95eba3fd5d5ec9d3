"""An extraction killed at any moment and run again ends like one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_tools.extract import extract
from fedpriv.errors import UserError
from fedpriv.formats.image_list import ListEntry, write_list
from fedpriv.formats.image_record import ImageHeader
from tests.data_tools.made import numbered, people_file, record_file, tree

IMAGES = 150

_KILLED = """
import os, signal, sys
from pathlib import Path
call, count, when, rec, out, lst = sys.argv[1:]
real, left = getattr(os, call), int(count)

def instrumented(*arguments, **keywords):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if left == 0 and when == "half":
        real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **keywords)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(os, call, instrumented)
from data_tools.extract import extract
extract(Path(rec), Path(out), lst=Path(lst))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record file whose list makes names collide, so that names depend on what came before."""
    folder = tmp_path_factory.mktemp("source")
    people_file(folder / "a.rec", IMAGES)
    write_list(
        folder / "a.lst",
        [ListEntry(n, (float(n % 5),), f"{'pP'[n % 2]}{n % 5 // 2}/{n // 20}.jpg") for n in range(IMAGES)],
    )
    return folder


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> dict[str, bytes]:
    extract(source / "a.rec", source / "whole", lst=source / "a.lst")
    found = tree(source / "whole")
    assert any("~" in name for name in found)
    assert len(found) == IMAGES + 1
    return found


@pytest.mark.parametrize(
    ("call", "count", "when"),
    [
        ("open", 3, "after"),
        ("write", 1, "half"),
        ("rename", 1, "before"),
        ("rename", 1, "after"),
        ("rename", 33, "before"),
        ("write", 70, "half"),
        ("rename", 97, "after"),
        ("rename", IMAGES, "after"),
        ("rename", IMAGES + 1, "before"),  # all is written but the manifest has not got its name
        ("rename", IMAGES + 1, "after"),
        ("fsync", 1, "before"),
    ],
)
def test_killed_at_a_call_and_run_again(source, undisturbed, tmp_path, call, count, when):
    out = tmp_path / "out"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _KILLED,
            call,
            str(count),
            when,
            str(source / "a.rec"),
            str(out),
            str(source / "a.lst"),
        ],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    before = {
        path: path.stat().st_ino for path in out.rglob("*.jpg") if path.is_file() and path.name != ".part"
    }
    for name, content in tree(out).items():
        if name.endswith(".jpg"):
            assert content == undisturbed[name], "a file under its name is whole"
    result = extract(source / "a.rec", out, lst=source / "a.lst")
    assert tree(out) == undisturbed
    assert result.images == IMAGES
    kept = sum(path.stat().st_ino == number for path, number in before.items())
    assert kept >= len(before) - 32, "what has a line in the journal is not written again"


def test_killed_from_outside_several_times(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data_tools.cli", "extract", "--rec", str(source / "a.rec")]
    command += ["--lst", str(source / "a.lst"), "--out", str(out)]
    for wanted in (1, 40, 100):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
        while process.poll() is None and sum(1 for _ in out.glob("*/*")) < wanted:
            time.sleep(0.001)
        process.kill()
        process.wait()
    extract(source / "a.rec", out, lst=source / "a.lst")
    assert tree(out) == undisturbed


def test_a_journal_torn_at_any_byte(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    extract(source / "a.rec", out, lst=source / "a.lst")
    journal = (out / "manifest.jsonl").read_bytes()
    header = journal.index(b"\n") + 1
    cuts = [header, header + 1, len(journal) - 1, len(journal), *range(header + 50, len(journal), 997)]
    for cut in cuts:
        (out / "manifest.jsonl").unlink(missing_ok=True)
        (out / "manifest.jsonl.part").write_bytes(journal[:cut])
        extract(source / "a.rec", out, lst=source / "a.lst")
        assert tree(out) == undisturbed, cut


@pytest.mark.parametrize("images", ["kept", "lost"])
def test_a_finished_manifest_that_was_cut_short_is_gone_on_with(source, undisturbed, tmp_path, images):
    manifest = undisturbed["manifest.jsonl"]
    lines = manifest.splitlines(keepends=True)
    torn = [
        lines[0],
        b"".join(lines[:4]),
        b"".join(lines[:-1]),  # only the sum is lost
        manifest[:-1],
        manifest[: len(manifest) // 2],
        b"".join([*lines[:70], b"\0" * 40 + b"\n", *lines[71:]]),  # one line cannot be read
        b"".join([*lines[:70], b"[]\n", *lines[71:]]),
        manifest + b"{",
        manifest + lines[-1],
    ]
    for number, content in enumerate(torn):
        out = tmp_path / str(number)
        extract(source / "a.rec", out, lst=source / "a.lst")
        (out / "manifest.jsonl").write_bytes(content)
        if images == "lost":
            for path in out.glob("*/*"):
                path.unlink()
        done = extract(source / "a.rec", out, lst=source / "a.lst")
        assert (done.images, done.complete_before) == (IMAGES, False), number
        assert tree(out) == undisturbed, number
        assert extract(source / "a.rec", out, lst=source / "a.lst").complete_before


def test_a_finished_manifest_without_some_of_its_lines_is_not_taken_for_whole(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    extract(source / "a.rec", out, lst=source / "a.lst")
    lines = undisturbed["manifest.jsonl"].splitlines(keepends=True)
    swapped = [*lines[:-3], lines[-2], lines[-3], lines[-1]]
    for content in (lines[:-2] + lines[-1:], lines[:1] + lines[-1:], swapped):
        (out / "manifest.jsonl").write_bytes(b"".join(content))
        with pytest.raises(UserError, match=r"its manifest does not fit .*; name a new folder"):
            extract(source / "a.rec", out, lst=source / "a.lst")


def test_a_torn_manifest_does_not_replace_a_file_in_its_way(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    extract(source / "a.rec", out, lst=source / "a.lst")
    (out / "manifest.jsonl").write_bytes(undisturbed["manifest.jsonl"][:-1])
    (out / "manifest.jsonl.part").write_text("my notes")
    with pytest.raises(UserError, match=r"manifest\.jsonl\.part: is in the way .*remove it"):
        extract(source / "a.rec", out, lst=source / "a.lst")
    assert (out / "manifest.jsonl.part").read_text() == "my notes"


def test_a_journal_with_zeros_at_its_end_as_after_a_power_failure(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    extract(source / "a.rec", out, lst=source / "a.lst")
    journal = (out / "manifest.jsonl").read_bytes()
    (out / "manifest.jsonl").unlink()
    (out / "manifest.jsonl.part").write_bytes(journal[: len(journal) // 2] + bytes(4096))
    lost = out / json.loads(journal.splitlines()[5])["path"]
    lost.write_bytes(b"")  # named in the journal, but its blocks did not reach the disk
    os.utime(lost)
    extract(source / "a.rec", out, lst=source / "a.lst")
    assert tree(out) == undisturbed


def test_damage_at_the_point_of_return_is_told_once(tmp_path):
    index = people_file(tmp_path / "a.rec", 30)
    content = bytearray((tmp_path / "a.rec").read_bytes())
    for number in (4, 5, 17):
        content[index[number]] ^= 1
    (tmp_path / "a.rec").write_bytes(content)
    extract(tmp_path / "a.rec", tmp_path / "whole", idx=tmp_path / "a.idx", skip_damaged=True)
    model = tree(tmp_path / "whole")
    lines = model["manifest.jsonl"].splitlines(keepends=True)
    for kept in range(1, len(lines)):
        out = tmp_path / f"out{kept}"
        out.mkdir()
        (out / "manifest.jsonl.part").write_bytes(b"".join(lines[:kept]))
        extract(tmp_path / "a.rec", out, idx=tmp_path / "a.idx", skip_damaged=True)
        assert tree(out) == model, kept


@pytest.mark.parametrize("limit", [60, 700, 9000])
def test_a_disk_that_refuses_is_one_line_and_can_be_gone_on_from(source, undisturbed, tmp_path, limit):
    """A limit on the length of files stops the manifest in its first line, early and late."""
    out = tmp_path / "out"
    code = (
        "import resource, sys; from data_tools.cli import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "main(sys.argv[1:])"
    )
    command = ["extract", "--rec", source / "a.rec", "--lst", source / "a.lst", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"fedpriv-data: {out}/manifest.jsonl.part: File too large")
    assert done.stderr.count("\n") == 1
    assert not (out / ".part").exists()
    extract(source / "a.rec", out, lst=source / "a.lst")
    assert tree(out) == undisturbed


def test_an_image_that_does_not_fit_leaves_no_half_file(tmp_path):
    record_file(
        tmp_path / "a.rec", [(ImageHeader(0.0, 0), numbered(0)), (ImageHeader(0.0, 1), numbered(1) * 999)]
    )
    code = (
        "import resource, sys; from data_tools.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "main(['extract', '--rec', sys.argv[1], '--out', sys.argv[2]])"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.rec"), str(out)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "00000000/000000001.jpg: File too large" in done.stderr
    assert sorted(tree(out)) == ["00000000/000000000.jpg", "manifest.jsonl.part"]
    assert extract(tmp_path / "a.rec", out).written == 1
