"""Which models a server has when it is told nothing, or a part."""

from collections.abc import Sequence

from fedpriv.serving.loading import load_model
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.weights import SHIPPED, read_weights

_FILES = ("gaze.npz", "emotion_eye.npz", "emotion_face.npz")


def default_models() -> ModelSet:
    """Return the models shipped with the package: gaze of eyes, emotion of eyes, emotion of faces.

    They were trained on rendered images only and know nothing of photographs: they show that a service
    works, and are no measure of anybody.
    """
    return ModelSet([read_weights(SHIPPED / name) for name in _FILES])


def load_models(sources: Sequence[str] = (), tracking_uri: str | None = None) -> ModelSet:
    """Return the models of ``sources``, and the shipped ones for the questions that none of these answers.

    Args:
        sources: each as for :func:`fedpriv.serving.loading.load_model`.
        tracking_uri: the MLflow store of run ids among them.

    Raises:
        UserError: one cannot be loaded.
    """
    given = [load_model(source, tracking_uri) for source in sources]
    kinds = {model.kind for model in given}
    return ModelSet([*given, *(model for model in default_models().models if model.kind not in kinds)])
