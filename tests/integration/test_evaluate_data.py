"""A saved model on other data than its run's: sizes, published protocols, people known again."""

import io
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.cli import main as data_tools
from experiments.evaluate.measure import evaluate
from experiments.evaluate.saved_models import SavedModel
from fedpriv.formats.fer2013 import write_fer2013
from fedpriv.formats.verification_bin import write_verification_bin
from fedpriv.models.emotion_cnn import EmotionCNN
from fedpriv.models.face_cnn import FaceCNN

FACE = "fedpriv.tasks.face.FaceTask"


def face(number):
    pixels = np.random.default_rng(number).integers(0, 256, (56, 46), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def pairs(tmp_path) -> Path:
    """A verification file of 20 pairs, every other one twice the same picture."""
    same = [number % 2 == 0 for number in range(20)]
    images = [face(number - (number % 2 if same[number // 2] else 0)) for number in range(40)]
    write_verification_bin(tmp_path / "tiny.bin", images, same)
    return tmp_path / "tiny.bin"


def untrained(task, model, in_shape, data="identity_folder", root="/nowhere", **settings):
    config = {
        "seed": 0,
        "task": {"_target_": task},
        "data": {"_target_": f"fedpriv.data.{data}.load", "root": str(root), **settings},
        "evaluation": {"test_subjects": 2},
    }
    return SavedModel("a test", config, model.eval(), in_shape, {"unit": "none", "data": "faces"}, None, None)


def test_data_that_are_nothing_but_a_test_need_no_training_part(pairs):
    saved = untrained(FACE, FaceCNN(in_shape=(1, 56, 46)), (1, 56, 46))
    found = evaluate(saved, ["data=verification_bin", f"data.root={pairs}"])
    # the very same picture has the very same embedding, whatever the model
    assert found.metrics["verification_accuracy"] == 1.0
    assert found.baseline["verification_accuracy"] == 1.0
    assert found.images == 40
    assert found.protocol.startswith("published: threshold chosen on 9 folds")
    assert found.people_trained_on is None


def test_lfw_is_measured_as_the_hint_of_synthesise_prints_it(tmp_path, capsys):
    root = tmp_path / "LFW"
    asked = ["--format", "lfw", "--people", "4", "--images-per-person", "5", "--out", str(root)]
    data_tools(["synthesise", "face", *asked])
    hint = capsys.readouterr().out.splitlines()[-1]
    before, _, overrides = hint.partition(" RUN_ID ")
    assert before.strip() == "fedpriv evaluate --run"
    saved = untrained(FACE, FaceCNN(in_shape=(3, 56, 56)), (3, 56, 56))
    found = evaluate(saved, shlex.split(overrides))
    assert (found.images, found.people) == (20, 4)
    assert found.protocol.startswith("published: View 2: threshold from 9 folds")
    # as the README has it: the protocol is that of the data
    assert evaluate(saved, ["data=lfw", f"data.root={root}"]) == found


def test_a_split_that_its_authors_published_is_said_to_be_published(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 48, 48), dtype=np.uint8)
    write_fer2013(tmp_path / "fer2013.csv", images, [0, 1, 2, 3, 4, 5, 6, 3], [0, 0, 0, 0, 0, 0, 2, 2])
    model = EmotionCNN(in_shape=(1, 48, 48), outputs=7)
    saved = untrained("fedpriv.tasks.emotion.EmotionTask", model, (1, 48, 48), "fer2013", tmp_path)
    found = evaluate(saved)
    assert found.images == 2
    assert found.protocol.startswith("published: ")
    assert evaluate(saved, ["evaluation.protocol=people"]).protocol == "people: 2 drawn by seed 0"


@pytest.fixture
def faces(tmp_path) -> Path:
    """Four people named as ORL names them, ten grey images of 92 x 112 each."""
    random = np.random.default_rng(0)
    for person in range(1, 5):
        folder = tmp_path / "faces" / f"s{person}"
        folder.mkdir(parents=True)
        for number in range(1, 11):
            pixels = random.integers(0, 256, (112, 92), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.pgm")
    return tmp_path / "faces"


@pytest.mark.parametrize("root", ["faces", "./x/../faces", "link", "{faces}"])
@pytest.mark.parametrize("data", ["orl", "identity_folder"])
def test_people_of_the_same_folder_are_known_again(faces, monkeypatch, data, root):
    monkeypatch.chdir(faces.parent)
    Path("link").symlink_to(faces)
    Path("x").mkdir()
    saved = untrained(FACE, FaceCNN(in_shape=(1, 56, 46)), (1, 56, 46), "orl", faces, max_people=4)
    overrides = [f"data={data}", f"data.root={root.format(faces=faces)}", "evaluation.test_subjects=3"]
    if data == "orl":
        overrides.append("data.max_people=4")
    # two are the run's own test people, the third it was trained on
    assert evaluate(saved, overrides).people_trained_on == 1


def test_people_of_another_folder_are_others(faces, tmp_path):
    shutil.copytree(faces, tmp_path / "others")
    saved = untrained(FACE, FaceCNN(in_shape=(1, 56, 46)), (1, 56, 46), "identity_folder", faces)
    assert evaluate(saved).people_trained_on == 0
    found = evaluate(saved, ["data=identity_folder", f"data.root={tmp_path / 'others'}"])
    assert found.people_trained_on is None


def test_people_of_a_file_are_those_of_its_folder_under_the_same_loader_only(tmp_path):
    root = tmp_path / "rec"
    asked = ["--format", "recordio", "--people", "8", "--images-per-person", "6", "--out", str(root)]
    data_tools(["synthesise", "face", *asked])
    settings = {"height": 56, "width": 56}
    saved = untrained(FACE, FaceCNN(in_shape=(3, 56, 56)), (3, 56, 56), "recordio", root, **settings)
    found = evaluate(saved, ["data=recordio", f"data.root={root}/train.rec", "evaluation.test_subjects=3"])
    assert found.people_trained_on == 1
    found = evaluate(saved, ["data=verification_bin", f"data.root={root}/verification.bin"])
    assert found.people_trained_on is None
