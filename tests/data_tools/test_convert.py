"""Conversions: bytes kept, labels right, ways back, and nothing half-made."""

import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from data_tools.cli import main
from fedpriv.formats.face_rec import FaceRec
from fedpriv.formats.image_list import read_list
from fedpriv.formats.lfw_pairs import LfwPairs, Pair, write_pairs
from fedpriv.formats.record_index import read_index
from fedpriv.formats.verification_bin import read_verification_bin, write_verification_bin
from tests.data_tools.made import encoded, tree


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    for person, (name, count) in enumerate([("s2", 3), ("s10", 2), ("zoé", 1)]):
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / name / f"{number}.jpg").write_bytes(encoded(40 * person + number))
    (folder / "nobody").mkdir()
    return folder


def convert(*arguments: object) -> None:
    main(["convert", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as left:
        convert(*arguments)
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_a_folder_to_records_and_back_is_the_same_folder(people, tmp_path, capsys):
    convert(people, tmp_path / "a.rec")
    assert "6 images of 3 people" in capsys.readouterr().out
    assert [(entry.index, entry.labels, entry.path) for entry in read_list(tmp_path / "a.lst")] == [
        (0, (0.0,), "s2/1.jpg"),
        (1, (0.0,), "s2/2.jpg"),
        (2, (0.0,), "s2/3.jpg"),
        (3, (1.0,), "s10/1.jpg"),
        (4, (1.0,), "s10/2.jpg"),
        (5, (2.0,), "zoé/1.jpg"),
    ]
    data = (tmp_path / "a.rec").read_bytes()
    for number, offset in read_index(tmp_path / "a.idx").items():
        magic, length, flag, label, found, _ = struct.unpack_from("<IIIfQQ", data, offset)
        assert (magic, flag, label, found) == (0xCED7230A, 0, [0, 0, 0, 1, 1, 2][number], number)
        assert length > 24
    convert(tmp_path / "a.rec", tmp_path / "back")
    back = tree(tmp_path / "back")
    del back["manifest.jsonl"]
    assert back == tree(people)


def test_a_folder_to_insightfaces_layout(people, tmp_path):
    convert(people, tmp_path / "faces")
    faces = FaceRec.open(tmp_path / "faces/train.rec", read_index(tmp_path / "faces/train.idx"))
    assert faces.identity_ranges == {0: (1, 4), 1: (4, 6), 2: (6, 7)}
    assert (faces.num_classes, faces.height, faces.width) == (3, 16, 16)
    convert(tmp_path / "faces/train.rec", tmp_path / "back")
    back = tree(tmp_path / "back")
    assert back["00000001/000000005.jpg"] == (people / "s10/2.jpg").read_bytes()


def test_insightfaces_layout_wants_one_size(people, tmp_path, capsys):
    (people / "s10/3.jpg").write_bytes(encoded(1, "JPEG", 20))
    assert "s10/3.jpg: 20 x 20 pixels, the first image has 16 x 16" in refused(
        capsys, people, tmp_path / "faces"
    )
    assert tree(tmp_path / "faces") == {}


def test_other_formats_become_png_without_loss(tmp_path):
    (tmp_path / "in/a").mkdir(parents=True)
    picture = Image.effect_noise((12, 10), 80)
    picture.save(tmp_path / "in/a/1.pgm")
    convert(tmp_path / "in", tmp_path / "a.rec")
    convert(tmp_path / "a.rec", tmp_path / "back")
    with Image.open(tmp_path / "back/a/1.png") as image:
        assert (image.mode, image.tobytes()) == ("L", picture.tobytes())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_loses_its_exif_header_is_stored_upright(tmp_path, orientation):
    (tmp_path / "in/a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.effect_noise((12, 10), 80).convert("RGB").save(tmp_path / "in/a/1.webp", lossless=True, exif=exif)
    with Image.open(tmp_path / "in/a/1.webp") as image:
        seen = ImageOps.exif_transpose(image)
    convert(tmp_path / "in", tmp_path / "a.rec")
    convert(tmp_path / "a.rec", tmp_path / "back")
    with Image.open(tmp_path / "back/a/1.png") as image:
        assert (image.size, image.tobytes()) == (seen.size, seen.tobytes())
        assert 0x0112 not in image.getexif()
    convert(tmp_path / "in", tmp_path / "faces")
    faces = FaceRec.open(tmp_path / "faces/train.rec", read_index(tmp_path / "faces/train.idx"))
    assert (faces.width, faces.height) == seen.size


def test_lfw_to_a_verification_file(tmp_path):
    folder = tmp_path / "lfw"
    for name, count in (("Ann", 2), ("Bob", 1)):
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / name / f"{name}_{number:04d}.jpg").write_bytes(encoded(number + 10 * len(name)))
    pairs = [Pair(("Ann", 1), ("Ann", 2), True), Pair(("Bob", 1), ("Ann", 2), False)]
    write_pairs(folder / "pairs.txt", LfwPairs(pairs, 1, 1))
    convert(folder, tmp_path / "lfw.bin")
    images, same = read_verification_bin(tmp_path / "lfw.bin")
    assert same == [True, False]
    names = ["Ann/Ann_0001", "Ann/Ann_0002", "Bob/Bob_0001", "Ann/Ann_0002"]
    assert images == [(folder / f"{name}.jpg").read_bytes() for name in names]


def test_a_missing_image_of_a_pair_is_named(people, tmp_path, capsys):
    write_pairs(
        people / "pairs.txt",
        LfwPairs([Pair(("A", 1), ("A", 2), True), Pair(("A", 1), ("B", 1), False)], 1, 1),
    )
    assert "A/A_0001.jpg: cannot be read" in refused(capsys, people, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_verification_pairs_leave_the_pickle_and_come_back(tmp_path):
    images, same = [encoded(n) for n in range(8)], [True, False, False, True]
    write_verification_bin(tmp_path / "a.bin", images, same)
    convert(tmp_path / "a.bin", tmp_path / "safe.rec")
    assert b"pickle" not in (tmp_path / "safe.rec").read_bytes()
    convert(tmp_path / "safe.rec", tmp_path / "b.bin")
    assert read_verification_bin(tmp_path / "b.bin") == (images, same)
    assert (tmp_path / "b.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()


def test_what_is_there_is_not_overwritten(people, tmp_path, capsys):
    for name in ("a.rec", "a.idx", "a.lst"):
        (tmp_path / name).write_text("mine")
        assert f"{name}: is there already" in refused(capsys, people, tmp_path / "a.rec")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_a_damaged_image_leaves_nothing_behind(people, tmp_path, capsys):
    (people / "zoé/2.jpg").write_bytes(b"no image")
    before = tree(tmp_path)
    assert "zoé/2.jpg: not a readable" in refused(capsys, people, tmp_path / "a.rec")
    assert tree(tmp_path) == before


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Like `ulimit -f`, for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 60, 200, 1000])
@pytest.mark.parametrize("target", ["x.rec", "x", "x.bin"])
def test_after_a_full_disk_nothing_blocks_the_next_try(people, tmp_path, capsys, target, limit):
    write_pairs(
        people / "pairs.txt",
        LfwPairs([Pair(("s2", 1), ("s2", 2), True), Pair(("s2", 1), ("s10", 1), False)], 1, 1),
    )
    for person in ("s2", "s10"):
        for image in list((people / person).iterdir()):
            image.rename(people / person / f"{person}_{int(image.stem):04d}.jpg")
    before = tree(tmp_path)
    with files_of_at_most(limit):
        assert "File too large; name a folder with more space" in refused(capsys, people, tmp_path / target)
    assert tree(tmp_path) == before
    convert(people, tmp_path / target)


@pytest.mark.parametrize(
    ("source", "target", "named"),
    [
        ("people", "a.txt", "a.txt"),
        ("people", "a.PNG", "a.PNG"),
        ("a.png", "b.rec", "a.png"),
        ("v1.0", "b.rec", "v1.0"),
        ("nowhere", "b.rec", "nowhere"),
        ("b.bin", "out_v1.0", "b.bin to "),
    ],
)
def test_there_is_no_such_way(people, tmp_path, capsys, source, target, named):
    for name in ("a.png", "v1.0", "b.bin"):
        (tmp_path / name).write_bytes(encoded(1, "PNG"))
    told = refused(capsys, tmp_path / source, tmp_path / target)
    assert "no such" in told
    assert str(tmp_path / named) in told


def test_a_dot_in_the_name_of_a_folder_makes_it_no_file(people, tmp_path):
    dotted = people.rename(tmp_path / "people.2026")
    convert(dotted, tmp_path / "faces_v1.0")
    assert set(tree(tmp_path / "faces_v1.0")) == {"train.rec", "train.idx", "property"}
    convert(tmp_path / "faces_v1.0/train.rec", tmp_path / "back_v1.1")
    assert (tmp_path / "back_v1.1/00000000/000000001.jpg").is_file()
    (tmp_path / "there.txt").mkdir()
    convert(dotted, tmp_path / "there.txt")
    assert (tmp_path / "there.txt/train.rec").is_file()


def test_a_suffix_in_capitals_is_the_same_suffix(people, tmp_path):
    convert(people, tmp_path / "A.REC")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"A.REC", "A.idx", "A.lst"}
    convert(tmp_path / "A.REC", tmp_path / "back")
    assert (tmp_path / "back/s2/1.jpg").is_file()


def test_the_way_on_that_a_damaged_file_is_told_is_there(people, tmp_path, capsys):
    convert(people, tmp_path / "a.rec")
    content = (tmp_path / "a.rec").read_bytes()
    (tmp_path / "cut.rec").write_bytes(content[: len(content) - 100])
    assert "--skip-damaged leaves such records out" in refused(capsys, tmp_path / "cut.rec", tmp_path / "out")
    convert(tmp_path / "cut.rec", tmp_path / "out", "--skip-damaged")
    assert "5 images of 2 people, 1 damaged records left out" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*/*.jpg"))) == 5


def test_skipping_damage_belongs_to_one_way(people, tmp_path, capsys):
    told = refused(capsys, people, tmp_path / "a.rec", "--skip-damaged")
    assert "--skip-damaged: is for a .rec file to a folder, not folder to .rec" in told


def test_records_that_are_no_pairs_are_refused(people, tmp_path, capsys):
    convert(people, tmp_path / "a.rec")
    assert "is not image" in refused(capsys, tmp_path / "a.rec", tmp_path / "a.bin")
