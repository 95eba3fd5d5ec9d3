"""The models of one server, and which of them answers an image."""

import math
from collections.abc import Collection, Sequence

import numpy as np

from fedpriv.errors import UserError
from fedpriv.serving.answers import KINDS, Answer, Emotion, Gaze
from fedpriv.serving.image import GreyImage, fit
from fedpriv.serving.models import ServedModel


class ModelSet:
    """Models that answer together; the one path for an image, in a server and beside it.

    Where several models answer the same question, say the emotion of an eye and that of a face, the one
    whose images have the aspect nearest to the picture's does, by |log(W/H) - log(W'/H')|; the first given
    of two as near.

    Guarantee:
        :meth:`answer` gives each image what it gives it alone, see :class:`ServedModel`.

    Attributes:
        models: in the order given.
        kinds: the questions that there is a model for.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Keep the models.

        Raises:
            UserError: there are none.
        """
        if not models:
            raise UserError("models: none given; name at least one")
        self.models = tuple(models)
        self.kinds = frozenset(model.kind for model in models)

    @property
    def digests(self) -> dict[str, tuple[str, ...]]:
        """Digests of the models of each kind."""
        return {
            kind: tuple(model.digest for model in self.models if model.kind == kind)
            for kind in KINDS
            if kind in self.kinds
        }

    def check(self, wanted: Collection[str]) -> None:
        """Refuse questions that no model answers, and no question at all.

        Raises:
            UserError: naming it.
        """
        for kind in wanted:
            if kind not in self.kinds:
                raise UserError(f"{kind}: is not answered here; ask for {', '.join(sorted(self.kinds))}")
        if not wanted:
            raise UserError(f"nothing is asked of the image; ask for {', '.join(sorted(self.kinds))}")

    def choose(self, kind: str, height: int, width: int) -> ServedModel:
        """Return the model of a kind that answers pictures of this size.

        Raises:
            UserError: there is none of that kind.
        """
        self.check([kind])
        aspect = math.log(width / height)
        return min(
            (model for model in self.models if model.kind == kind),
            key=lambda model: abs(math.log(model.in_shape[2] / model.in_shape[1]) - aspect),
        )

    def answer(self, images: Sequence[GreyImage], wanted: Sequence[Collection[str]]) -> list[Answer]:
        """Answer images together, every model inferring once for all that are its.

        Args:
            images: N pictures, of any sizes.
            wanted: N collections of kinds.

        Raises:
            UserError: a question that no model answers.
            ValueError: the lengths differ.
        """
        if len(images) != len(wanted):
            raise ValueError(f"answer: {len(images)} images, {len(wanted)} questions")
        asked: dict[ServedModel, list[int]] = {}
        for index, (image, kinds) in enumerate(zip(images, wanted, strict=True)):
            self.check(kinds)
            for kind in kinds:
                asked.setdefault(self.choose(kind, *image.shape), []).append(index)
        gazes: dict[int, Gaze] = {}
        emotions: dict[int, Emotion] = {}
        for model, indices in asked.items():
            _, height, width = model.in_shape
            fitted = np.stack([fit(images[index], height, width) for index in indices])
            for index, said in zip(indices, model.predict(fitted), strict=True):
                if isinstance(said, Gaze):
                    gazes[index] = said
                else:
                    emotions[index] = said
        return [Answer(gazes.get(index), emotions.get(index)) for index in range(len(images))]
