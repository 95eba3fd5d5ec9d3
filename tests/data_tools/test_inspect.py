"""What inspect counts, checked against files made by hand, and the sheet that it draws."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.cli import main
from data_tools.inspect import inspect
from data_tools.sheet import SIDE, TILES, Tile, write_sheet
from fedpriv.errors import UserError
from fedpriv.formats.face_rec import write_face_rec
from fedpriv.formats.image_record import ImageHeader
from fedpriv.formats.record_index import write_index
from fedpriv.formats.verification_bin import write_verification_bin
from tests.data_tools.made import encoded, record_file


def test_a_record_file_is_counted_with_its_damage_and_its_index(tmp_path):
    rec = tmp_path / "a.rec"
    index = record_file(
        rec, [(ImageHeader(float(n // 4), n), encoded(n, "PNG" if n == 0 else "JPEG")) for n in range(10)]
    )
    content = bytearray(rec.read_bytes())
    content[index[5]] ^= 1  # the header of record 5
    content[index[7] + 32 : index[7] + 40] = bytes(8)  # the beginning of image 7
    rec.write_bytes(content)
    del index[9]
    write_index(tmp_path / "a.idx", index)
    facts, tiles = inspect([str(rec)], pictures=True)
    assert facts["records"] == 9
    assert facts["images"] == len(tiles) == 8
    assert facts["damaged"] == 2
    assert facts["formats"] == {"JPEG": 7, "PNG": 1}
    assert facts["sizes (width x height)"] == {"16 x 16": 8}
    assert facts["people"] == 3
    assert facts["people by number of images"] == {"2-4": 3}
    assert facts["images per person"] == {"least": 2, "median": 2.0, "most": 4}
    assert facts["index"] == {"keys": 9, "records it omits": 1, "keys where no record begins": 1}
    assert f"offset {index[5]}" in facts["first damaged"][0]


def test_an_insightface_folder_tells_of_everything_beside_the_records(tmp_path):
    write_face_rec(tmp_path, [(0, [encoded(1), encoded(2)]), (1, [encoded(3)])], 16, 16)
    write_verification_bin(tmp_path / "lfw.bin", [encoded(n) for n in range(4)], [True, False])
    (tmp_path / "bad.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    facts, _ = inspect([str(tmp_path)])
    assert (facts["images"], facts["people"], facts["ranges of identities"]) == (3, 2, 3)
    assert facts["lfw.bin"] == {"pairs": 2, "of one person": 1}
    assert "bad.bin" in facts["bad.bin"]
    assert facts["property (classes, height, width)"] == "2,16,16"


def test_a_folder_of_people_is_counted(tmp_path):
    for person, count in (("ann", 3), ("bob", 1), ("empty", 0)):
        (tmp_path / person).mkdir()
        for number in range(count):
            (tmp_path / person / f"{number}.png").write_bytes(encoded(7 if person == "ann" else 9, "PNG"))
    (tmp_path / "ann" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "README").write_text("hello")
    facts, _ = inspect([str(tmp_path)])
    assert (facts["images"], facts["people"], facts["damaged"]) == (4, 2, 1)
    assert facts["identical to an earlier one"] == 2
    assert (facts["folders without an image"], facts["other entries"]) == (1, 1)


def test_quick_finds_what_headers_show_and_a_full_look_more(tmp_path):
    (tmp_path / "ann").mkdir()
    whole = encoded(1, "PNG", 200)
    (tmp_path / "ann" / "cut.png").write_bytes(whole[: len(whole) - 60])
    (tmp_path / "ann" / "good.png").write_bytes(whole)
    assert inspect([str(tmp_path)], decode=True)[0]["damaged"] == 1
    assert inspect([str(tmp_path)], decode=False)[0]["damaged"] == 0


def test_verification_files_are_counted(tmp_path):
    write_verification_bin(tmp_path / "a.bin", [encoded(n) for n in range(6)], [True, False, False])
    facts, tiles = inspect([str(tmp_path / "a.bin")], pictures=True)
    assert (facts["pairs"], facts["of one person"], facts["images"]) == (3, 1, 6)
    assert [tile.caption for tile in tiles[:3]] == ["pair 0, same", "pair 0, same", "pair 1, different"]


def test_a_data_set_is_loaded_by_name_with_checked_settings():
    what = ["data=synthetic_patterns", "people=3", "data.images_per_person=5", "classes=3"]
    assert inspect(what)[1] == []
    facts, tiles = inspect(what, pictures=True)
    assert (facts["images"], facts["people"]) == (15, 3)
    assert len(tiles) == 15
    with pytest.raises(UserError, match=r"data\.people=many"):
        inspect(["data=synthetic_patterns", "people=many"])
    with pytest.raises(UserError, match="data=nothing: no such data set; choose one of"):
        inspect(["data=nothing"])


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b"not,a,table\n"), ("a.txt", b"hello"), ("a.bin", b"x"), ("a.rec", b"xxxx")],
)
def test_what_is_none_of_these_is_one_line(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    try:
        main(["inspect", str(tmp_path / name)])
    except SystemExit as left:
        assert left.code == 2  # noqa: PT017
        assert capsys.readouterr().err.count("\n") == 1
    else:
        assert name == "a.rec"  # a file of damage alone is told about, not refused
        assert "damaged                      1" in capsys.readouterr().out


def test_json_is_one_object_with_the_same_facts(tmp_path, capsys):
    write_verification_bin(tmp_path / "a.bin", [encoded(n) for n in range(2)], [True])
    main(["inspect", str(tmp_path / "a.bin"), "--json"])
    assert json.loads(capsys.readouterr().out) == inspect([str(tmp_path / "a.bin")])[0]


def test_the_sheet_shows_every_tile_in_its_place(tmp_path):
    colours = [(n * 20, 255 - n * 20, 99) for n in range(11)]
    write_sheet(
        tmp_path / "s.png",
        "title",
        [Tile(Image.new("RGB", (30, 30), colour), f"person {colour}") for colour in colours],
    )
    with Image.open(tmp_path / "s.png") as sheet:
        pixels = np.asarray(sheet)
    for place, colour in enumerate(colours):
        y, x = 28 + place // 8 * 136 + 56, 8 + place % 8 * 120 + 56
        assert tuple(pixels[y, x]) == colour
        caption = pixels[y + 58 : y + 72, x - 56 : x + 56]
        assert (caption < 100).any(), "a line of text below"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """More large pictures than a sheet shows: JPEG, PNG with a palette and with a profile of 1 MB."""
    (tmp_path / "in" / "ann").mkdir(parents=True)
    wide = Image.effect_noise((900, 450), 90)
    for number in range(TILES + 6):
        name = tmp_path / "in" / "ann" / f"{number}"
        if number % 3 == 0:
            wide.save(name.with_suffix(".jpg"))
        elif number % 3 == 1:
            wide.convert("P").save(name.with_suffix(".png"))
        else:
            wide.save(name.with_suffix(".png"), icc_profile=bytes(10**6))
    return tmp_path / "in"


@pytest.mark.parametrize("decode", [True, False])
def test_a_kept_picture_is_no_larger_than_its_tile(photographs, decode):
    facts, tiles = inspect([str(photographs)], decode=decode, pictures=True)
    assert facts["images"] == TILES + 6
    assert len(tiles) == TILES
    assert {tile.image.size for tile in tiles} == {(SIDE, SIDE // 2)}
    assert {tile.image.mode for tile in tiles} == {"RGB"}
    assert not any(tile.image.info for tile in tiles)


def test_without_a_sheet_headers_are_all_that_quick_reads(photographs, monkeypatch, tmp_path, capsys):
    from PIL import ImageFile

    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(1) or load(image))
    main(["inspect", str(photographs), "--quick"])
    assert decoded == []
    main(["inspect", str(photographs), "--quick", "--sheet", str(tmp_path / "s.png")])
    assert len(decoded) >= TILES
    assert (tmp_path / "s.png").is_file()


def test_a_tile_stands_as_the_exif_header_says(tmp_path):
    (tmp_path / "ann").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # the first row is the right side
    Image.new("RGB", (40, 20)).save(tmp_path / "ann" / "1.jpg", exif=turned)
    assert [tile.image.size for tile in inspect([str(tmp_path)], pictures=True)[1]] == [(20, 40)]


def test_quick_shows_no_tile_of_an_image_that_ends_early(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "cut.png").write_bytes(encoded(1, "PNG", 200)[:-60])
    (tmp_path / "ann" / "good.png").write_bytes(encoded(1, "PNG", 200))
    facts, tiles = inspect([str(tmp_path)], decode=False, pictures=True)
    assert (facts["images"], len(tiles)) == (2, 1)


@pytest.mark.parametrize("name", ["s.jpg", "s"])
def test_a_sheet_is_a_png(tmp_path, name):
    with pytest.raises(UserError, match=r"is written as PNG; end it in \.png"):
        write_sheet(tmp_path / name, "title", [Tile(Image.new("L", (8, 8)), "a")])


def test_hostile_names_are_harmless_in_a_sheet(tmp_path):
    name = "x\x00\u202e" + "w" * 10_000
    write_sheet(tmp_path / "s.png", name, [Tile(Image.new("L", (8, 8)), name)])
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width < 1000


def test_list_names_every_data_set_and_one_in_full(capsys):
    from fedpriv.data.registry import cards

    main(["list"])
    table = capsys.readouterr().out
    assert all(name in table and card.licence in table for name, card in cards().items())
    main(["list", "orl"])
    assert cards()["orl"].citation in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["list", "olr"])
    assert left.value.code == 2
    assert "olr: no such data set" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["extract", "inspect", "convert", "synthesise", "partition", "list"])
def test_every_command_has_help_with_an_example(capsys, command):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "example" in capsys.readouterr().out


def test_extract_starts_without_torch_and_pillow():
    import subprocess
    import sys

    code = (
        "import sys, data_tools.cli as c\n"
        "try: c.main(['extract', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'PIL', 'rich', 'hydra', 'mlflow'} & set(sys.modules)), file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
