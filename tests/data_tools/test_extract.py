"""Extraction: which bytes go where, what is refused, what a manifest says."""

import hashlib
import json
import os
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data_tools.cli import main
from data_tools.extract import extract
from fedpriv.data.identity_folder import load
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.face_rec import write_face_rec
from fedpriv.formats.identity_folder import list_identities
from fedpriv.formats.image_list import ListEntry, write_list
from fedpriv.formats.image_record import ImageHeader, pack_image_record
from fedpriv.formats.record_index import read_index, write_index
from fedpriv.formats.recordio import RecordReader
from tests.data_tools.made import encoded, numbered, people_file, record_file, tree


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def images(out: Path) -> dict[str, bytes]:
    found = tree(out)
    del found["manifest.jsonl"]
    return found


# --- real files ---------------------------------------------------------------------------------


@pytest.fixture
def real(real_data: Path) -> Path:
    return real_data / "recordio_faces"


def stored(rec: Path) -> list[tuple[int, float, bytes]]:
    """Read a file of whole scalar-labelled records with nothing but struct: (id, label, image)."""
    data, at, found = rec.read_bytes(), 0, []
    while at < len(data):
        magic, length = struct.unpack_from("<II", data, at)
        assert magic == 0xCED7230A
        assert length < 1 << 29
        _, label, number, _ = struct.unpack_from("<IfQQ", data, at + 8)
        found.append((number, label, data[at + 32 : at + 8 + length]))
        at += 8 + (length + 3) // 4 * 4
    return found


@pytest.mark.parametrize("idx", [True, False])
def test_the_real_file_gives_its_eight_images_byte_for_byte(real, tmp_path, idx):
    done = extract(real / "train.rec", tmp_path / "out", idx=real / "train.idx" if idx else None)
    assert (done.images, done.people, done.damaged, done.left_out) == (8, 2, 0, 0)
    assert images(tmp_path / "out") == {
        f"{int(label):08d}/{number:09d}.jpg": image for number, label, image in stored(real / "train.rec")
    }


def test_with_its_list_the_real_file_gives_back_the_folders_it_was_packed_from(real, tmp_path):
    extract(real / "train.rec", tmp_path / "out", idx=real / "train.idx", lst=real / "train.lst")
    listed = [line.split("\t") for line in (real / "train.lst").read_text().splitlines()]
    by_number = {number: image for number, _, image in stored(real / "train.rec")}
    assert images(tmp_path / "out") == {path: by_number[int(number)] for number, _, path in listed}


def test_what_is_extracted_is_read_as_data(real, tmp_path):
    extract(real / "train.rec", tmp_path / "out", lst=real / "train.lst")
    dataset = load(str(tmp_path / "out"), 16, 16)
    assert dataset.subject_names == ("man", "woman")
    assert dataset.subjects.tolist() == [0] * 4 + [1] * 4


# --- manifest -----------------------------------------------------------------------------------


def test_the_manifest_accounts_for_every_record(tmp_path):
    index = people_file(tmp_path / "a.rec", 12)
    extract(tmp_path / "a.rec", tmp_path / "out", idx=tmp_path / "a.idx")
    head, *entries, total = lines(tmp_path / "out")
    assert head["source"]["name"] == "a.rec"
    assert head["source"]["bytes"] == (tmp_path / "a.rec").stat().st_size
    assert total == {"total": {"people": 5, "images": 12, "damaged": 0, "left_out": 0}}
    assert {entry["id"]: entry["offset"] for entry in entries} == index
    for entry in entries:
        content = (tmp_path / "out" / entry["path"]).read_bytes()
        assert content == numbered(entry["id"])
        assert entry["label"] == entry["id"] % 5
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_finished_extraction_run_again_writes_nothing(tmp_path, capsys):
    people_file(tmp_path / "a.rec", 12)
    out = tmp_path / "out"
    command = ["extract", "--rec", str(tmp_path / "a.rec"), "--out", str(out)]
    main(command)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    main(command)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "12 images of 5 people, complete before" in capsys.readouterr().out


def test_a_finished_extraction_run_again_restores_what_was_lost(tmp_path):
    people_file(tmp_path / "a.rec", 12)
    out = tmp_path / "out"
    extract(tmp_path / "a.rec", out)
    whole = tree(out)
    (out / "00000001/000000001.jpg").unlink()
    (out / "00000002/000000002.jpg").write_bytes(b"cut")
    assert extract(tmp_path / "a.rec", out).written == 2
    assert tree(out) == whole


def test_another_source_or_setting_is_not_mixed_in(tmp_path):
    people_file(tmp_path / "a.rec", 12)
    people_file(tmp_path / "b.rec", 13)
    extract(tmp_path / "a.rec", tmp_path / "out")
    whole = tree(tmp_path / "out")
    with pytest.raises(UserError, match=r"out: holds the extraction of another source .*\(source\)"):
        extract(tmp_path / "b.rec", tmp_path / "out")
    with pytest.raises(UserError, match=r"\(index\)"):
        extract(tmp_path / "a.rec", tmp_path / "out", idx=tmp_path / "a.idx")
    with pytest.raises(UserError, match=r"\(images\)"):
        extract(tmp_path / "a.rec", tmp_path / "out", encoding="png")
    assert tree(tmp_path / "out") == whole


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    people_file(tmp_path / "a.rec", 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="holds other files; name a new or empty folder"):
        extract(tmp_path / "a.rec", tmp_path / "out")
    assert tree(tmp_path / "out") == {"thesis.tex": b"years"}


def test_a_folder_where_a_wrong_file_was_tried_takes_the_right_one(tmp_path):
    (tmp_path / "wrong.rec").write_bytes(b"no records here")
    people_file(tmp_path / "a.rec", 3)
    with pytest.raises(FormatError, match="offset 0: magic number"):
        extract(tmp_path / "wrong.rec", tmp_path / "out")
    assert extract(tmp_path / "a.rec", tmp_path / "out").images == 3


def test_an_edited_manifest_is_noticed(tmp_path):
    people_file(tmp_path / "a.rec", 3)
    out = tmp_path / "out"
    extract(tmp_path / "a.rec", out)
    manifest = out / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("00000001/000000001.jpg", "../../../etc/passwd"))
    with pytest.raises(UserError, match="its manifest does not fit"):
        extract(tmp_path / "a.rec", out)


# --- index and labels ---------------------------------------------------------------------------


def test_a_shuffled_index_changes_nothing_but_says_so_in_the_manifest(tmp_path):
    index = people_file(tmp_path / "a.rec", 12)
    extract(tmp_path / "a.rec", tmp_path / "one", idx=tmp_path / "a.idx")
    shuffled = list(index.items())
    random.Random(1).shuffle(shuffled)
    write_index(tmp_path / "a.idx", dict(shuffled))
    extract(tmp_path / "a.rec", tmp_path / "two", idx=tmp_path / "a.idx")
    assert images(tmp_path / "one") == images(tmp_path / "two")


def test_numbers_come_from_the_index_and_records_it_omits_are_left_out(tmp_path):
    index = people_file(tmp_path / "a.rec", 6)
    write_index(tmp_path / "a.idx", {100 + key: offset for key, offset in index.items() if key % 2})
    done = extract(tmp_path / "a.rec", tmp_path / "out", idx=tmp_path / "a.idx")
    assert (done.images, done.left_out) == (3, 3)
    assert sorted(images(tmp_path / "out")) == [
        "00000000/000000105.jpg",
        "00000001/000000101.jpg",
        "00000003/000000103.jpg",
    ]


@pytest.mark.parametrize("where", [4, 10**6 * 4])
def test_an_index_that_points_beside_the_records_is_refused(tmp_path, where):
    index = people_file(tmp_path / "a.rec", 6)
    write_index(tmp_path / "a.idx", {**index, 77: where})
    with pytest.raises(
        FormatError, match=rf"a\.idx: key 77 points to offset {where}, where no record begins"
    ):
        extract(tmp_path / "a.rec", tmp_path / "out", idx=tmp_path / "a.idx")


def test_an_index_with_two_keys_for_a_record_is_refused(tmp_path):
    index = people_file(tmp_path / "a.rec", 6)
    write_index(tmp_path / "a.idx", {**index, 77: index[3]})
    with pytest.raises(FormatError, match="keys 3 and 77 point to one record"):
        extract(tmp_path / "a.rec", tmp_path / "out", idx=tmp_path / "a.idx")


def test_numbers_that_repeat_are_told_apart_by_offset(tmp_path):
    headers = [ImageHeader(0.0, 5), ImageHeader(0.0, 2**40), ImageHeader(0.0, 5), ImageHeader(0.0, 2**40)]
    record_file(tmp_path / "a.rec", [(header, numbered(1)) for header in headers])
    extract(tmp_path / "a.rec", tmp_path / "out")
    size = (tmp_path / "a.rec").stat().st_size // 4
    assert sorted(images(tmp_path / "out")) == [
        "00000000/000000005.jpg",
        f"00000000/000000005~{2 * size}.jpg",
        "00000000/1099511627776.jpg",
        f"00000000/1099511627776~{3 * size}.jpg",
    ]


def test_of_several_labels_the_first_counts(tmp_path):
    headers = [ImageHeader((3.0,), 1), ImageHeader((4.0, 1.0), 2), ImageHeader((5.0, 0.1, 0.2, 0.3), 3)]
    record_file(tmp_path / "a.rec", [(header, numbered(header.id)) for header in headers])
    extract(tmp_path / "a.rec", tmp_path / "out")
    assert sorted(images(tmp_path / "out")) == [
        "00000003/000000001.jpg",
        "00000004/000000002.jpg",
        "00000005/000000003.jpg",
    ]


def test_insightface_ranges_of_identities_are_no_images(tmp_path):
    people = [(0, [numbered(1), numbered(2)]), (1, [numbered(3)]), (7, [numbered(4)])]
    write_face_rec(tmp_path, people, 16, 16)
    done = extract(tmp_path / "train.rec", tmp_path / "out", idx=tmp_path / "train.idx")
    assert (done.images, done.people, done.left_out, done.damaged) == (4, 3, 4, 0)
    assert images(tmp_path / "out") == {
        "00000000/000000001.jpg": numbered(1),
        "00000000/000000002.jpg": numbered(2),
        "00000001/000000003.jpg": numbered(3),
        "00000007/000000004.jpg": numbered(4),
    }
    assert len(read_index(tmp_path / "train.idx")) == 8


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (-1.0, "negative"),
        (0.5, "no integer"),
        (2.0**25, "2.24"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_its_offset(tmp_path, label, reason):
    index = record_file(
        tmp_path / "a.rec", [(ImageHeader(1.0, 0), numbered(0)), (ImageHeader(label, 1), numbered(1))]
    )
    with pytest.raises(FormatError, match=rf"a\.rec: offset {index[1]}: .*{reason}"):
        extract(tmp_path / "a.rec", tmp_path / "out")
    assert (tmp_path / "out/manifest.jsonl").exists() is False


# --- damage -------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, list[int]]:
    """Twelve records: 3 with a broken magic number, 6 with text for an image, 8 too short; and a cut end."""
    records = [pack_image_record(ImageHeader(0.0, n), numbered(n)) for n in range(12)]
    records[6] = pack_image_record(ImageHeader(0.0, 6), b"no image")
    records[8] = b"short"
    content, offsets = bytearray(), []
    for payload in records:
        offsets.append(len(content))
        content += struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    content[offsets[3]] ^= 1
    path = tmp_path / "d.rec"
    path.write_bytes(content[:-8])
    return path, offsets


def test_damage_stops_with_its_offset_and_the_way_on(damaged, tmp_path):
    path, offsets = damaged
    with pytest.raises(FormatError, match=rf"d\.rec: offset {offsets[3]}: .*--skip-damaged"):
        extract(path, tmp_path / "out")
    assert sorted(tree(tmp_path / "out")) == [
        "00000000/000000000.jpg",
        "00000000/000000001.jpg",
        "00000000/000000002.jpg",
        "manifest.jsonl.part",
    ]


@pytest.mark.parametrize("indexed", [True, False])
def test_skipping_leaves_out_what_is_damaged_and_nothing_else(damaged, tmp_path, capsys, indexed):
    path, offsets = damaged
    write_index(path.with_suffix(".idx"), dict(enumerate(offsets)))
    idx = path.with_suffix(".idx") if indexed else None
    with pytest.raises(FormatError):
        extract(path, tmp_path / "out", idx=idx)
    done = extract(path, tmp_path / "out", idx=idx, skip_damaged=True)  # goes on where that one stopped
    bad = (3, 6, 8, 11)
    assert (done.images, done.damaged) == (8, 4)
    assert images(tmp_path / "out") == {
        f"00000000/{number:09d}.jpg": numbered(number) for number in range(12) if number not in bad
    }
    entries = lines(tmp_path / "out")
    assert [entry["offset"] for entry in entries if "damaged" in entry] == [offsets[n] for n in bad]
    told = capsys.readouterr().err
    assert all(f"offset {offsets[number]}:" in told for number in bad)


def test_a_length_that_lies_swallows_no_image(tmp_path):
    """The damaged length covers exactly the next record: without a check one image would be lost unseen."""
    index = people_file(tmp_path / "a.rec", 6)
    content = bytearray((tmp_path / "a.rec").read_bytes())
    struct.pack_into("<I", content, index[2] + 4, index[4] - index[2] - 8)
    (tmp_path / "a.rec").write_bytes(content)
    done = extract(tmp_path / "a.rec", tmp_path / "out", skip_damaged=True)
    assert (done.images, done.damaged) == (5, 1)
    assert "00000003/000000003.jpg" in images(tmp_path / "out")


# --- what is written where ----------------------------------------------------------------------


def test_png_keeps_its_bytes_and_gets_its_suffix(tmp_path):
    png = encoded(3, "PNG")
    record_file(tmp_path / "a.rec", [(ImageHeader(0.0, 1), png)])
    extract(tmp_path / "a.rec", tmp_path / "out")
    assert images(tmp_path / "out") == {"00000000/000000001.png": png}


@pytest.mark.parametrize(("encoding", "kind", "suffix"), [("png", "PNG", "png"), ("jpeg", "JPEG", "jpg")])
def test_reencoding_keeps_the_picture(tmp_path, encoding, kind, suffix):
    record_file(tmp_path / "a.rec", [(ImageHeader(0.0, 1), encoded(77)), (ImageHeader(0.0, 2), numbered(2))])
    done = extract(tmp_path / "a.rec", tmp_path / "out", encoding=encoding, skip_damaged=True)
    assert (done.images, done.damaged) == (1, 1)
    with Image.open(tmp_path / f"out/00000000/000000001.{suffix}") as image:
        assert (image.format, image.mode, image.size) == (kind, "RGB", (16, 16))
        assert abs(image.getpixel((8, 8))[0] - 77) <= 2


@pytest.mark.parametrize("way", ["folder", "file", "part", "journal"])
def test_no_symbolic_link_leads_out(tmp_path, way):
    people_file(tmp_path / "a.rec", 6, people=2)
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("precious")
    (tmp_path / "b.rec").write_bytes((tmp_path / "a.rec").read_bytes()[:-8])
    with pytest.raises(FormatError):  # begun and not finished
        extract(tmp_path / "b.rec", out)
    if way == "folder":
        for path in (out / "00000001").iterdir():
            path.unlink()
        (out / "00000001").rmdir()
        (out / "00000001").symlink_to(outside)
    elif way == "file":
        (out / "00000001" / "000000001.jpg").unlink()
        (out / "00000001" / "000000001.jpg").symlink_to(outside / "victim")
    elif way == "part":
        (out / ".part").symlink_to(outside / "victim")
    else:
        (out / "manifest.jsonl.part").unlink()
        (out / "manifest.jsonl.part").symlink_to(outside / "victim")
    if way in ("folder", "journal"):
        with pytest.raises(UserError, match="remove it"):
            extract(tmp_path / "b.rec", out, skip_damaged=True)
    else:
        extract(tmp_path / "b.rec", out, skip_damaged=True)
        assert (out / "00000001" / "000000001.jpg").read_bytes() == numbered(1)
        assert not (out / "00000001" / "000000001.jpg").is_symlink()
    assert tree(outside) == {"victim": b"precious"}


HOSTILE = [
    "../../etc/passwd",
    "/etc/cron.d/job.jpg",
    "..\\..\\windows\\system.jpg",
    "a/../../../b.jpg",
    ".hidden/.hidden.jpg",
    "con/nul.jpg",
    "Ann/1.jpg",
    "ann/1.jpg",
    "ann/1.JPG",
    "ANN/1.png",
    "e\u0301ve/1.jpg",
    "\u00e9ve/1.jpg",
    "x\x01\x7f\u202egpj.exe/y\u2028z.jpg",
    "w" * 400 + "/" + "\u6f22" * 300 + ".jpg",
    "manifest.jsonl/1.jpg",
    "manifest.jsonl.part/1.jpg",
    "..",
    "./.",
    "trailing. ./dots...jpg",
    "-rf/*?<>|:.jpg",
]


def test_no_listed_path_leaves_the_folder_or_collides(tmp_path):
    """Every name is one that every file system takes, and no two differ only by case or Unicode form."""
    people = len(HOSTILE)
    record_file(
        tmp_path / "a.rec",
        [(ImageHeader(float(n), n), numbered(n)) for n in range(people)]
        + [(ImageHeader(float(n), people + n), numbered(people + n)) for n in range(people)],
    )
    write_list(
        tmp_path / "a.lst",
        [ListEntry(n, (float(n % people),), HOSTILE[n % people]) for n in range(2 * people)],
    )
    out = tmp_path / "deep" / "out"
    extract(tmp_path / "a.rec", out, lst=tmp_path / "a.lst")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.idx", "a.lst", "a.rec", "deep"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    found = images(out)
    assert sorted(found.values()) == sorted(numbered(n) for n in range(2 * people))
    assert len({name.casefold() for name in found}) == 2 * people
    for name in found:
        folder, file = name.split("/")
        for part in (folder, file):
            assert part.isprintable()
            assert not set(part) & set('<>:"\\|?*')
            assert not part.startswith(".")
            assert part.rstrip(". ") == part
            assert len(os.fsencode(part)) <= 255
            assert part.split(".")[0].lower() not in ("con", "nul", "")
    assert sum(len(files) for files in list_identities(out).files) == 2 * people
    again = tmp_path / "again"
    extract(tmp_path / "a.rec", again, lst=tmp_path / "a.lst")
    assert tree(again) == tree(out)


def test_two_people_of_one_directory_stay_two_people(tmp_path):
    record_file(tmp_path / "a.rec", [(ImageHeader(float(n % 2), n), numbered(n)) for n in range(4)])
    write_list(tmp_path / "a.lst", [ListEntry(n, (float(n % 2),), f"all/{n}.jpg") for n in range(4)])
    extract(tmp_path / "a.rec", tmp_path / "out", lst=tmp_path / "a.lst")
    assert sorted(images(tmp_path / "out")) == ["all/0.jpg", "all/2.jpg", "all~1/1.jpg", "all~1/3.jpg"]


def test_a_list_in_another_order_gives_the_same_names(tmp_path):
    people_file(tmp_path / "a.rec", 20)
    entries = [ListEntry(n, (float(n % 5),), f"p{n % 5}/{n}.jpg") for n in range(20)]
    write_list(tmp_path / "a.lst", entries)
    extract(tmp_path / "a.rec", tmp_path / "one", lst=tmp_path / "a.lst")
    write_list(tmp_path / "a.lst", entries[::-1])
    extract(tmp_path / "a.rec", tmp_path / "two", lst=tmp_path / "a.lst")
    assert images(tmp_path / "one") == images(tmp_path / "two")


def test_the_lists_beside_insightfaces_data_are_read(tmp_path):
    """``face2rec2.py``: aligned, path, label; numbers are those of the lines that it packed, from 1."""
    landmarks = "\t".join(["0"] * 14)
    (tmp_path / "a.lst").write_text(
        "1\t/raid/casia/0000045/001.jpg\t0\n"
        "0\t/raid/casia/0000045/lost.jpg\t0\n"  # neither aligned nor with landmarks: not packed
        f"0\t/raid/casia/0000099/001.jpg\t1\t{landmarks}\n"
    )
    record_file(
        tmp_path / "a.rec",
        [
            (ImageHeader((0.0, 1.0), 1), numbered(1)),
            (ImageHeader((1.0, 0.0), 2), numbered(2)),
            (ImageHeader((1.0, 2.0), 3), b""),
            (ImageHeader((3.0, 4.0), 0), b""),
        ],
    )
    extract(tmp_path / "a.rec", tmp_path / "out", lst=tmp_path / "a.lst")
    assert images(tmp_path / "out") == {"0000045/001.jpg": numbered(1), "0000099/001.jpg": numbered(2)}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([ListEntry(0, (0.0,), "a/0.jpg")], "has no image 1"),
        (
            [ListEntry(0, (0.0,), "a/0.jpg"), ListEntry(1, (3.0,), "a/1.jpg")],
            "image 1 has label 3, its record 1",
        ),
    ],
)
def test_the_list_of_other_records_is_refused_even_when_damage_is_skipped(tmp_path, entries, reason):
    people_file(tmp_path / "a.rec", 2)
    write_list(tmp_path / "a.lst", entries)
    with pytest.raises(UserError, match=reason):
        extract(tmp_path / "a.rec", tmp_path / "out", lst=tmp_path / "a.lst", skip_damaged=True)


# --- command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rec", "nowhere.rec"], "nowhere.rec: cannot be read"),
        (["--rec", "a.rec", "--idx", "nowhere.idx"], "nowhere.idx: cannot be read"),
        (["--rec", "a.rec", "--quality", "50"], "--quality 50: .* needs --reencode jpeg"),
        (["--rec", "a.rec", "--reencode", "jpeg", "--quality", "0"], "--quality 0"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    people_file(tmp_path / "a.rec", 2)
    with pytest.raises(SystemExit) as left:
        main(["extract", *arguments, "--out", "out"])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("fedpriv-data: ")
    assert told.count("\n") == 1
    assert re.search(words, told)


def test_two_extractions_at_once_do_not_share_a_folder(tmp_path):
    from data_tools.tree import Tree

    people_file(tmp_path / "a.rec", 2)
    with Tree(tmp_path / "out"), pytest.raises(UserError, match="another process is writing there"):
        extract(tmp_path / "a.rec", tmp_path / "out")


def test_many_people_do_not_exhaust_descriptors(tmp_path):
    people_file(tmp_path / "a.rec", 900, people=300)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert extract(tmp_path / "a.rec", tmp_path / "out").people == 300
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with RecordReader(tmp_path / "a.rec") as reader:
        assert len(images(tmp_path / "out")) == sum(1 for _ in reader)


def test_an_index_with_a_key_twice_or_beyond_all_numbers_is_refused(tmp_path):
    index = people_file(tmp_path / "a.rec", 6)
    for line, reason in (
        (f"3\t{index[4]}\n", "key 3 stands there twice"),
        (f"{2**63}\t0\n", r"beyond 2\^63"),
    ):
        (tmp_path / "b.idx").write_text(f"3\t{index[3]}\n{line}")
        with pytest.raises(FormatError, match=reason):
            extract(tmp_path / "a.rec", tmp_path / "out", idx=tmp_path / "b.idx")


@pytest.mark.parametrize("way", ["random", "empty", "index"])
def test_nothing_extracted_is_no_success_and_the_folder_takes_the_right_file(tmp_path, capsys, way):
    rec, out = tmp_path / "a.rec", tmp_path / "out"
    people_file(tmp_path / "good.rec", 6)
    people_file(rec, 6)
    command = ["extract", "--rec", str(rec), "--out", str(out), "--skip-damaged"]
    if way == "index":
        rec.with_suffix(".idx").write_text("")
        command += ["--idx", str(rec.with_suffix(".idx"))]
        words = r"a\.rec: holds no image that .*a\.idx names \(6 records left out, 0 damaged\)"
    else:
        rec.write_bytes(random.Random(1).randbytes(5000) if way == "random" else b"")
        words = rf"a\.rec: holds no image \(0 records left out, {int(way == 'random')} damaged\)"
    for _ in range(2):  # nor is it the second time
        with pytest.raises(SystemExit) as left:
            main(command)
        told = capsys.readouterr()
        assert left.value.code == 2
        assert told.out == ""
        assert re.search(words, told.err.splitlines()[-1])
        assert not (out / "manifest.jsonl").exists()
    assert extract(tmp_path / "good.rec", out).images == 6


def test_only_a_second_run_is_called_complete_before(tmp_path, capsys):
    people_file(tmp_path / "a.rec", 6)
    command = ["extract", "--rec", str(tmp_path / "a.rec"), "--out", str(tmp_path / "out")]
    main(command)
    assert "complete before" not in capsys.readouterr().out
    (tmp_path / "out/00000001/000000001.jpg").unlink()
    main(command)
    assert "complete before" not in capsys.readouterr().out
    main(command)
    assert "complete before" in capsys.readouterr().out


def test_only_the_owner_can_read_what_was_extracted(tmp_path):
    people_file(tmp_path / "a.rec", 6)
    before = os.umask(0o022)
    try:
        extract(tmp_path / "a.rec", tmp_path / "out")
    finally:
        os.umask(before)
    made = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert len(made) == 1 + 1 + 5 + 6
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.jsonl.part"])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    "content",
    [b"", b"my notes", b"my notes\n", b'{"mine": 1}\n{}\n', b"\0" * 99, None],
    ids=["empty", "notes", "line", "json", "zeros", "folder"],
)
def test_a_manifest_of_somebody_else_is_one_line_and_left_alone(tmp_path, capsys, name, beside, content):
    people_file(tmp_path / "a.rec", 3)
    out = tmp_path / "out"
    out.mkdir()
    if content is None:
        (out / name).mkdir()
    else:
        (out / name).write_bytes(content)
    if beside:
        (out / "thesis.tex").write_text("years")
    before = sorted(out.iterdir()), tree(out)
    if content == b"" and name == "manifest.jsonl.part" and not beside:
        assert extract(tmp_path / "a.rec", out).images == 3  # as of one killed at its first line
        return
    with pytest.raises(SystemExit) as left:
        main(["extract", "--rec", str(tmp_path / "a.rec"), "--out", str(out)])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"out/{name}: " in told
    assert (sorted(out.iterdir()), tree(out)) == before


def test_a_pipe_for_a_manifest_is_not_waited_for(tmp_path):
    people_file(tmp_path / "a.rec", 3)
    for name in ("manifest.jsonl", "manifest.jsonl.part"):
        out = tmp_path / name.replace(".", "_")
        out.mkdir()
        os.mkfifo(out / name)
        with pytest.raises(UserError, match=name):
            extract(tmp_path / "a.rec", out)


def test_a_folder_named_like_the_half_written_file_stays(tmp_path):
    people_file(tmp_path / "a.rec", 3)
    out = tmp_path / "out"
    extract(tmp_path / "a.rec", out)
    whole = tree(out)
    (out / ".part").mkdir()
    assert extract(tmp_path / "a.rec", out).complete_before
    (out / "00000001/000000001.jpg").unlink()
    with pytest.raises(UserError, match=r"out/\.part: a folder where a file must be; remove it"):
        extract(tmp_path / "a.rec", out)
    (out / ".part").rmdir()
    extract(tmp_path / "a.rec", out)
    assert tree(out) == whole


def test_a_name_that_is_no_text_is_escaped_where_output_is_strict(tmp_path):
    people_file(tmp_path / "a.rec", 3)
    out = os.fsencode(tmp_path) + b"/\xff\xfe"
    command = [sys.executable, "-m", "data_tools.cli", "extract", "--rec", tmp_path / "a.rec", "--out", out]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"/\udcff\udcfe: 3 images of 3 people" in done.stdout


def test_an_interrupt_while_modules_load_leaves_no_traceback():
    code = (
        "import os, signal, sys\n"
        "from data_tools.cli import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'data_tools.extract':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "main(['extract', '--rec', 'a.rec', '--out', 'out'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize("field", ["label", "id", "offset", "bytes"])
@pytest.mark.parametrize("value", ["-5", "1e999", "null", '"x"', "1" * 30])
def test_a_manifest_with_nonsense_is_one_line(tmp_path, field, value):
    people_file(tmp_path / "a.rec", 3)
    out = tmp_path / "out"
    extract(tmp_path / "a.rec", out)
    whole = tree(out)
    text = (out / "manifest.jsonl").read_text()
    (out / "manifest.jsonl").write_text(
        re.sub(rf'("{field}": )\d+(, "(?!sha256_of))', rf"\g<1>{value}\2", text)
    )
    assert (out / "manifest.jsonl").read_text() != text
    try:
        extract(tmp_path / "a.rec", out)
    except UserError:
        pass
    else:  # an offset or a length alone may be put right by writing the image again
        assert field in ("offset", "bytes")
    assert {name: content for name, content in tree(out).items() if name != "manifest.jsonl"} == {
        name: content for name, content in whole.items() if name != "manifest.jsonl"
    }
