"""Every YAML file in every group: it composes, resolves and builds what it names."""

from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from fedpriv.config.as_json import from_json, to_json
from fedpriv.config.checks import check
from fedpriv.config.compose import CONFIGS, compose_run
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_privacy
from fedpriv.config.schema import RunConfig
from fedpriv.config.secure import codec_of
from fedpriv.config.training import build_strategy
from tests.config.small import SMALL

FILES = sorted(path.relative_to(CONFIGS) for path in CONFIGS.glob("*/**/*.yaml"))
GROUPS = sorted({path.parent.as_posix() for path in FILES})
_MANY_PEOPLE = (
    "dp_levels",
    "gaze_client_level",
    "gaze_correlated_noise",
    "utility_gaze_client",
    "utility_emotion_client",
)


def override(path: Path) -> str:
    group, choice = path.parent.as_posix(), path.stem
    extra = group.startswith("experiment") or group.startswith("sweep")
    return f"{'+' if extra else ''}{group}={choice}"


def test_the_groups_of_the_design_are_found():
    assert {
        "task",
        "data",
        "partition",
        "model",
        "federation",
        "strategy",
        "privacy",
        "secure",
        "engine",
    } <= set(GROUPS)
    assert len(FILES) > 15


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_composes_and_survives_the_way_to_another_process(path):
    if path.parts[0] == "hydra":
        pytest.skip("settings of Hydra itself")
    config = compose_run(override(path))
    OmegaConf.resolve(config)
    text = to_json(config)
    assert to_json(from_json(text)) == text
    assert OmegaConf.get_type(from_json(text)) is RunConfig


@pytest.mark.parametrize(
    "path",
    # relays=loopback serves gaze and emotion only, see test_relays.py
    [
        p
        for p in FILES
        if p.parts[0] not in ("task", "data", "model", "relays", "hydra", "experiment", "sweep")
    ],
    ids=str,
)
def test_every_file_of_a_group_that_fits_any_task_passes_the_check(path):
    # by_identity needs a client for each of the 10 - 3 people
    clients = ["federation.clients=7"] if path.stem == "by_identity" else []
    # noise on integers needs the scheme that sums them
    scheme = ["secure=bfv"] if path.stem == "client_level" else []
    check(compose_run(*SMALL, override(path), *clients, *scheme))


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "experiment"], ids=str)
def test_every_experiment_has_values_that_the_run_can_have(path):
    # the noise of sums depends on the size of the model, and so on the images, but not on their number
    few = ["data.images_per_person=1"] if path.stem in _MANY_PEOPLE else []
    config = compose_run(override(path), *few)
    build_privacy(config)
    build_strategy(config)
    codec_of(config)


@pytest.mark.parametrize("task", sorted(p.stem for p in FILES if p.parts[0] == "task"))
def test_every_task_builds_a_model_that_takes_its_images(task, tmp_path):
    from PIL import Image

    for person in range(4):
        folder = tmp_path / f"p{person}"
        folder.mkdir()
        for number in range(6):
            Image.new("L", (46, 56), 40 * person + number).save(folder / f"{number}.png")
    first = compose_run(f"task={task}")
    size = (
        {"data.people=4", "data.images_per_person=6"} if "people" in first.data else {f"data.root={tmp_path}"}
    )
    text = to_json(compose_run(f"task={task}", *size, "evaluation.test_subjects=2", "federation.clients=2"))
    built, training, test = build_data(text)
    model = build_backbone(text)
    with torch.no_grad():
        outputs = model(built.preprocess(torch.tensor(training.images[:2])))
    assert len(outputs) == 2
    assert built.metric.name in built.evaluate(model, test)
    check(from_json(text))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_is_documented_or_says_only_what_its_name_says(path):
    text = (CONFIGS / path).read_text()
    assert text.startswith("#") or len(yaml.safe_load(text)) <= 2 or path.stem in ("fedadam", "default"), path


def test_the_same_configuration_builds_bit_identical_models_and_another_seed_does_not():
    vectors = []
    for seed in (1, 1, 2):
        text = to_json(compose_run(*SMALL, f"seed={seed}"))
        torch.manual_seed(len(vectors))
        model = build_backbone(text)
        vectors.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


def test_the_images_are_loaded_once_for_a_check_and_the_run_after_it(monkeypatch):
    import fedpriv.data.synthetic_patterns as patterns

    calls = []
    made = patterns.generator
    monkeypatch.setattr(patterns, "generator", lambda *given: (calls.append(given), made(*given))[1])
    text = to_json(compose_run(*SMALL, "data.seed=12345"))
    check(from_json(text))
    build_data(text.replace('"run_id": null', '"run_id": "ab"'))
    assert len(calls) == 1
