"""The models that ``--model`` can name.

Another kind of model costs one function and one line in :data:`EMBEDDERS`.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.faces.embedder import MOST_DIMENSIONS, Embedder, Inputs
from fedpriv.faces.face_models import held_out_of, load_face_model

_PIXELS = re.compile(r"pixels(?::([0-9]{1,4}))?")


def _from_run(source: str, tracking_uri: str | None) -> Embedder | None:
    """Load a run's output folder, an MLflow run id, or a file that ``fedpriv faces export`` wrote."""
    return load_face_model(source, tracking_uri).embedder()


def _from_pixels(source: str, _: str | None) -> Embedder | None:
    """Load ``pixels`` or ``pixels:D``: a random projection of the pixels to D numbers, 128 without.

    No model at all: a baseline, and a way to try the services before there is a model.
    """
    found = _PIXELS.fullmatch(source)
    if found is None:
        return None
    dimension, (height, width) = int(found[1] or 128), (56, 46)
    if not 2 <= dimension <= MOST_DIMENSIONS:
        raise UserError(f"{source}: choose 2 to {MOST_DIMENSIONS} numbers")
    matrix = np.random.default_rng(0).standard_normal((height * width, dimension))

    def function(images: Inputs) -> NDArray[np.float64]:
        pixels = images.reshape(len(images), -1).astype(np.float64)
        pixels -= pixels.mean(axis=1, keepdims=True)
        return np.asarray(pixels @ matrix)

    digest = hashlib.sha256(f"pixels {height} {width} {dimension}".encode()).hexdigest()
    return Embedder(source, (1, height, width), dimension, digest, function)


EMBEDDERS: tuple[Callable[[str, str | None], Embedder | None], ...] = (_from_pixels, _from_run)
"""Each returns the embedder that a source names, or None where the source is not its own; asked in order."""


def load_embedder(source: str, tracking_uri: str | None = None) -> Embedder:
    """Load what ``--model`` names.

    Args:
        source: a run's output folder, an MLflow run id, a ``.npz`` file, or ``pixels:D``.
        tracking_uri: the MLflow store of a run id; None is the default one.

    Raises:
        UserError: when it is none of these, damaged, or no model of faces.
    """
    for each in EMBEDDERS:
        found = each(source, tracking_uri)
        if found is not None:
            return found
    raise UserError(f"--model {source}: no such model; name a run's output folder")


def export(source: str, path: Path, tracking_uri: str | None = None) -> None:
    """Write a run's face model into one ``.npz`` file, mode 0600, which needs neither its data nor MLflow.

    From a run's output folder false accepts are measured, on the people whom the run held out.

    Raises:
        UserError: as :func:`load_embedder`, or when it cannot be written.
    """
    if path.suffix != ".npz":
        raise UserError(f"{path}: is written as .npz; end its name so")
    model = load_face_model(source, tracking_uri)
    held_out = held_out_of(source)
    if held_out is not None:
        model.measure(held_out)
    model.save(path)
