"""``fedpriv-data synthesise``: layouts that the readers read back; a folder is whole or not there."""

import argparse
import csv
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools import synthesise, synthesise_emotion, synthesise_face
from data_tools.cli import main as command
from data_tools.synthesise_emotion import write_emotion
from data_tools.synthesise_face import write_face
from fedpriv.config.checks import check
from fedpriv.config.compose import compose_run
from fedpriv.data import (
    affectnet,
    ck_plus,
    fer2013,
    identity_folder,
    lfw,
    raf_db,
    recordio,
    synthetic_expressions,
    synthetic_faces,
    verification_bin,
)
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.emotions import EMOTIONS
from fedpriv.errors import UserError
from fedpriv.runner import run

PEOPLE, IMAGES, SEED = 5, 10, 3


@pytest.fixture(scope="module")
def expressions() -> ImageDataset:
    return synthetic_expressions.load(people=PEOPLE, images_per_person=IMAGES, seed=SEED)


@pytest.fixture(scope="module")
def portraits() -> ImageDataset:
    return synthetic_faces.load(people=6, images_per_person=5, size=112, seed=SEED)


def mean_difference(left: object, right: object) -> float:
    return float(np.abs(np.asarray(left).astype(float) - np.asarray(right).astype(float)).mean())


def test_fer2013_gives_back_the_same_pixels_and_labels(tmp_path: Path, expressions: ImageDataset) -> None:
    write_emotion(tmp_path, "fer2013", PEOPLE, IMAGES, SEED)
    found = fer2013.load(str(tmp_path), use_public="train")
    np.testing.assert_array_equal(np.asarray(found.images), np.asarray(expressions.images))
    np.testing.assert_array_equal(found.targets, expressions.targets)
    with (tmp_path / "fer2013.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Usage"] for row in rows] == ["Training"] * 30 + ["PublicTest"] * 10 + ["PrivateTest"] * 10
    assert [int(row["emotion"]) for row in rows] == expressions.targets.tolist()


@pytest.mark.parametrize(("format", "load"), [("raf_db", raf_db.load), ("affectnet", affectnet.load)])
def test_jpeg_layouts_give_back_nearly_the_same_pixels_and_the_same_labels(
    tmp_path: Path, expressions: ImageDataset, format: str, load: Callable[..., ImageDataset]
) -> None:
    write_emotion(tmp_path, format, PEOPLE, IMAGES, SEED)
    found = load(str(tmp_path))
    np.testing.assert_array_equal(found.targets, expressions.targets)
    assert found.held_out is not None
    assert found.held_out.tolist() == [False] * 40 + [True] * 10
    # enlarging and reducing smooths the sensor's noise away; another image is far off
    assert mean_difference(found.images, expressions.images) < 4
    assert mean_difference(found.images, np.roll(np.asarray(expressions.images), 1, axis=0)) > 15


def test_ck_plus_gives_back_the_same_pixels_labels_and_people(
    tmp_path: Path, expressions: ImageDataset
) -> None:
    write_emotion(tmp_path, "ck_plus", PEOPLE, IMAGES, SEED)
    found = ck_plus.load(str(tmp_path), neutral=False)
    known = {
        image.tobytes(): (int(target), int(subject))
        for image, target, subject in zip(
            np.asarray(expressions.images), expressions.targets, expressions.subjects, strict=True
        )
    }
    assert len(found) >= 15
    for image, target, subject in zip(np.asarray(found.images), found.targets, found.subjects, strict=True):
        person = int(found.subject_names[subject][1:]) - 1
        assert known[image.tobytes()] == (int(target), person)
    expected = sum(
        np.sum((expressions.subjects == person) & (expressions.targets == emotion)) // 3 * 3
        for person in range(PEOPLE)
        if np.any((expressions.subjects == person) & (expressions.targets == EMOTIONS.index("neutral")))
        for emotion in range(len(EMOTIONS))
    )
    assert len(found) == expected


def test_ck_plus_sequences_begin_with_a_neutral_frame(tmp_path: Path) -> None:
    write_emotion(tmp_path, "ck_plus", PEOPLE, IMAGES, SEED)
    found = ck_plus.load(str(tmp_path), neutral=True)
    assert np.bincount(found.targets, minlength=7)[EMOTIONS.index("neutral")] >= 5


def test_identity_folders_give_back_nearly_the_same_portraits(
    tmp_path: Path, portraits: ImageDataset
) -> None:
    write_face(tmp_path, "identity_folder", 6, 5, SEED)
    found = identity_folder.load(str(tmp_path), 112, 112, colour=True)
    assert found.subject_names == portraits.subject_names
    np.testing.assert_array_equal(found.targets, portraits.targets)
    assert mean_difference(found.images, portraits.images) < 4


def test_recordio_gives_back_all_but_the_last_people_and_pairs_of_those(
    tmp_path: Path, portraits: ImageDataset
) -> None:
    write_face(tmp_path, "recordio", 6, 5, SEED)
    assert (tmp_path / "property").read_text() == "4,112,112\n"
    found = recordio.load(str(tmp_path))
    assert found.targets.tolist() == portraits.targets[:20].tolist()
    assert mean_difference(found.images, portraits.images[:20]) < 4
    pairs = verification_bin.load(str(tmp_path / "verification.bin"))
    assert pairs.pairs is not None
    assert pairs.pairs.same.mean() == 0.5
    unseen = np.asarray(portraits.images[20:]).astype(float)
    who = []
    for image in np.asarray(pairs.images).astype(float):
        distance = np.abs(unseen - image).mean(axis=(1, 2, 3))
        assert distance.min() < 5
        who.append(int(distance.argmin()) // 5)
    same = [who[left] == who[right] for left, right in zip(pairs.pairs.left, pairs.pairs.right, strict=True)]
    assert same == pairs.pairs.same.tolist()


def test_lfw_gives_back_the_portraits_and_ten_folds_of_pairs(tmp_path: Path, portraits: ImageDataset) -> None:
    write_face(tmp_path, "lfw", 6, 5, SEED)
    with Image.open(tmp_path / "face0003" / "face0003_0002.jpg") as image:
        assert (image.size, image.mode) == ((250, 250), "RGB")
    found = lfw.load(str(tmp_path), all_images=True)
    assert mean_difference(found.images, portraits.images) < 6
    assert found.pairs is not None
    same = found.subjects[found.pairs.left] == found.subjects[found.pairs.right]
    np.testing.assert_array_equal(same, found.pairs.same)
    folds = found.pairs.same.reshape(10, -1)
    assert (folds.mean(axis=1) == 0.5).all()


def test_one_seed_gives_one_data_set_and_another_another(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_emotion(tmp_path / name, "fer2013", 3, 3, seed)
    read = [(tmp_path / name / "fer2013.csv").read_bytes() for name in "abc"]
    assert read[0] == read[1] != read[2]


def test_the_command_writes_the_folder_and_says_how_to_train_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "my fer"
    command(["synthesise", "emotion", "--out", str(out), "--people", "3", "--images-per-person", "2"])
    assert [path.name for path in out.parent.iterdir()] == ["my fer"]
    assert [path.name for path in out.iterdir()] == ["fer2013.csv"]
    assert (
        f"fedpriv run task=emotion data=fer2013 data.root='{out}' evaluation.protocol=published"
        in capsys.readouterr().out
    )


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    command(["synthesise", "emotion", "--out", str(tmp_path), "--people", "3", "--images-per-person", "1"])
    assert (tmp_path / "fer2013.csv").is_file()


def test_gaze_is_handed_on_with_its_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gaze"
    command(["synthesise", "gaze", "--out", str(out), "--people", "1", "--images-per-person", "2"])
    assert (out / "Data" / "Normalized" / "p00").is_dir()
    printed = capsys.readouterr().out
    assert f"{out}: 1 people, 2 images, laid out as mpiigaze" in printed
    assert "too few people to train on some and test on others" in printed
    assert "task=gaze data=mpiigaze" in printed


def printed_run(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the overrides of the run that the command names."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "fedpriv run" in line]
    program, command_name, *overrides = shlex.split(line)
    assert (program, command_name) == ("fedpriv", "run")
    return overrides


RUNS = [
    (kind, layout, 6, 4)
    for kind, about in synthesise._KINDS.items()
    for layout in about.formats
    if layout not in ("lfw", "ck_plus")
]


@pytest.mark.parametrize(
    ("kind", "layout", "people", "images"),
    [*RUNS, ("emotion", "ck_plus", 4, 20), ("emotion", "fer2013", 3, 6), ("gaze", "unityeyes", 2, 3)],
)
def test_the_run_that_is_named_passes_every_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, layout: str, people: int, images: int
) -> None:
    given = ["--people", str(people), "--images-per-person", str(images)]
    command(["synthesise", kind, "--format", layout, *given, "--out", str(tmp_path / "out")])
    check(compose_run(*printed_run(capsys), "tracking=none"))


def test_ck_plus_says_how_many_people_were_written_and_names_a_run_that_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["--people", "6", "--images-per-person", "10"]
    command(["synthesise", "emotion", "--format", "ck_plus", *asked, "--out", str(out)])
    written = len(list((out / "cohn-kanade-images").iterdir()))
    images = len(list(out.glob("cohn-kanade-images/*/*/*.png")))
    assert 2 < written < 6
    printed = capsys.readouterr()
    assert f"{out}: {written} people, {images} images, laid out as ck_plus" in printed.out
    assert f"evaluation.folds={written} " in printed.out
    (line,) = [line for line in printed.out.splitlines() if "fedpriv run" in line]
    few = ("federation.rounds=1", "engine.workers=0", "engine.threads=1", "tracking=none")
    report = run(compose_run(*shlex.split(line)[2:], *few))
    assert [result.number for result in report.history] == [0, 1]


def test_the_examples_of_the_help_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        command(["synthesise", "--help"])
    examples = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert len(examples) == 3
    monkeypatch.chdir(tmp_path)
    for example in examples:
        program, *arguments = shlex.split(example)
        assert program == "fedpriv-data"
        # small: what is proved is that the words of the example are understood and fit together
        few = [] if "--images-per-person" in arguments else ["--images-per-person", "7"]
        command([*arguments, *few])
        assert any(Path(arguments[arguments.index("--out") + 1]).iterdir())


def test_every_layout_offered_is_one_that_its_writer_and_a_reader_know() -> None:
    from data_tools import synthesise_gaze
    from fedpriv.data.registry import cards

    writers = {"emotion": synthesise_emotion, "face": synthesise_face, "gaze": synthesise_gaze}
    for kind, about in synthesise._KINDS.items():
        assert set(about.formats) == set(writers[kind].FORMATS)
        assert set(about.formats) <= set(cards())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["emotion", "--format", "mpiigaze"], "--format=mpiigaze: emotion has fer2013, raf_db"),
        (["emotion", "--people", "2"], "--people=2: need 3 to"),
        (["emotion", "--images-per-person", "0"], "--images-per-person=0: need 1 to"),
        (["emotion", "--seed", "-1"], "--seed=-1: need 0 to"),
        (["emotion", "--format", "ck_plus", "--people", "1000"], "--people=1000: need 3 to 999"),
        (["face", "--people", "1"], "--people=1: need 2 to"),
        (["face", "--format", "recordio", "--people", "3"], "--people=3: need 4 to"),
        (["face", "--format", "lfw", "--people", "2", "--images-per-person", "2"], "too few for ten folds"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(["synthesise", *arguments, "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_used_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    options = argparse.Namespace(
        kind="emotion", out=tmp_path, format=None, people=3, images_per_person=1, seed=0
    )
    with pytest.raises(UserError, match=r"--out=.*: is not empty; name a new folder"):
        synthesise.main(options)
    options.out = tmp_path / "mine.txt"
    with pytest.raises(UserError, match=r"--out=.*mine\.txt: is no folder"):
        synthesise.main(options)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_writer_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(out: Path, *_: object) -> None:
        out.mkdir()
        (out / "half.csv").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(synthesise_emotion, "write_emotion", broken)
    options = argparse.Namespace(
        kind="emotion", out=tmp_path / "out", format=None, people=3, images_per_person=1, seed=0
    )
    with pytest.raises(KeyboardInterrupt):
        synthesise.main(options)
    assert list(tmp_path.iterdir()) == []
