import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpriv.arrays import read_npz
from fedpriv.models.emotion_cnn import EmotionCNN
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.seeding import generator
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.models import Origin, ServedModel
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.tasks.gaze import GazeTask

SETTINGS = {
    "gaze": {"_target_": "fedpriv.models.gaze_cnn.GazeCNN", "width": 8},
    "emotion": {"_target_": "fedpriv.models.emotion_cnn.EmotionCNN", "width": 8, "hidden": 16},
}


def served(kind: str, shape: tuple[int, int, int] | None = None, seed: int = 0) -> ServedModel:
    """A model with random weights large enough that its answers differ from image to image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "gaze":
            module = GazeCNN(shape or (1, 36, 60))
            with torch.no_grad():
                module.regressor[-1].weight.mul_(5.0)
            task = GazeTask()
        else:
            module, task = EmotionCNN(shape or (1, 48, 48), hidden=16), EmotionTask()
    shape = shape or ((1, 36, 60) if kind == "gaze" else (1, 48, 48))
    origin = Origin("a test", "noise", {"unit": "none"}, {})
    return ServedModel(task, SETTINGS[kind], shape, module, origin)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return generator(seed, "pictures").integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="session")
def gaze() -> ServedModel:
    return served("gaze")


@pytest.fixture(scope="session")
def emotion() -> ServedModel:
    return served("emotion")


@pytest.fixture(scope="session")
def both(gaze: ServedModel, emotion: ServedModel) -> ModelSet:
    return ModelSet([gaze, emotion])


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Path]:
    """Write a copy of a weights file with facts or arrays put in the place of its own."""

    def alter(path: Path, facts: Mapping = {}, **arrays: np.ndarray) -> Path:
        found = read_npz(path)
        told = json.loads(found["facts"].tobytes()) | dict(facts)
        found["facts"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
        copy = tmp_path / "altered.npz"
        with copy.open("wb") as file:
            np.savez(file, **(found | {name.replace("__", "/"): value for name, value in arrays.items()}))
        return copy

    return alter
