import re

import numpy as np
import pytest

from fedpriv.data import synthetic_expressions, synthetic_eyes
from fedpriv.data.holdout import unseen_people
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.data.synthetic_expressions import render_expressions
from fedpriv.serving.defaults import default_models, load_models
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.scores import score_answers
from fedpriv.serving.weights import SHIPPED, read_weights, save_weights
from tests.serving.conftest import served

_README = (SHIPPED / "README.md").read_text()
_FILES = sorted(SHIPPED.glob("*.npz"))
# people of the test parts, whom no shipped model was trained on
_EYES, _FACES = (1, 3), (4, 19)


@pytest.fixture(scope="module")
def models():
    return default_models()


def test_a_server_without_settings_answers_both_questions(models):
    assert [(model.kind, model.in_shape) for model in models.models] == [
        ("gaze", (1, 36, 60)),
        ("emotion", (1, 36, 60)),
        ("emotion", (1, 48, 48)),
    ]
    assert models.models[1] is models.choose("emotion", 36, 60)
    assert models.models[2] is models.choose("emotion", 48, 48)


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_the_readme_tells_digest_command_and_metric_of_each_file(file):
    model = read_weights(file)
    (row,) = (line for line in _README.splitlines() if line.startswith(f"| `{file.name}`"))
    assert model.digest[:16] in row
    notes = dict(model.origin.notes)
    assert notes["command"] in _README
    metric = notes["angular_error_deg" if model.kind == "gaze" else "macro_f1"]
    assert re.search(rf"\b{metric:.2f}\b", row) or re.search(rf"\b{metric:.3f}\b", row)
    assert file.stat().st_size < 300_000


def test_shipped_gaze_is_far_better_than_a_constant_on_people_never_trained_on(models):
    people = [render_person(0, person, 60) for person in _EYES]
    images = [image for person in people for image in person.images[:, 0]]
    gaze = np.concatenate([person.gaze for person in people])
    answers = models.answer(images, [("gaze",)] * len(images))
    assert score_answers(answers, gaze)["angular_error_deg"] < 5.0


@pytest.mark.parametrize("region", ["eye", "face"])
def test_shipped_emotions_are_far_better_than_chance_on_people_never_trained_on(models, region):
    shown = [emotion for emotion in range(7) for _ in range(5)]
    images = [image for person in _FACES for image in render_expressions(0, person, shown, region)[:, 0]]
    answers = models.answer(images, [("emotion",)] * len(images))
    assert score_answers(answers, np.array(shown * len(_FACES)))["accuracy"] > 0.4


def test_given_models_replace_the_shipped_ones_of_their_kind(tmp_path, models):
    own = served("emotion")
    save_weights(own, tmp_path / "own.npz")
    assert load_models([str(tmp_path / "own.npz")]).digests == {
        "gaze": models.digests["gaze"],
        "emotion": (own.digest,),
    }
    assert load_models().digests == models.digests


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("gaze", 0), ("emotion_eye", 0), ("emotion_face", 1)])
def test_shipped_models_have_the_metric_that_their_files_tell(name, seed):
    model = read_weights(SHIPPED / f"{name}.npz")
    if name == "gaze":
        _, test = unseen_people(synthetic_eyes.load(), 8, seed)
    else:
        _, test = unseen_people(synthetic_expressions.load(region=name.removeprefix("emotion_")), 15, seed)
    images = list(np.array(test.images)[:, 0])
    scores = score_answers(ModelSet([model]).answer(images, [(model.kind,)] * len(images)), test.targets)
    metric = "angular_error_deg" if name == "gaze" else "macro_f1"
    # the weights of emotions were rounded to float16 after their run had measured them
    assert scores[metric] == pytest.approx(model.origin.notes[metric], abs=0.003)
