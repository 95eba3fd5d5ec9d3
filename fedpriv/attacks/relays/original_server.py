"""What the ends of the original's design agree on, and its model server's one rule."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fedpriv.errors import UserError
from fedpriv.seeding import generator
from fedpriv.serving.answers import Answer
from fedpriv.serving.image import GreyImage

RELAYS = "abcd"
BANDS = 3
Band = dict[str, Any]
"""The JSON of one band: ``id``, ``server``, ``image_arr``."""


class Slot(NamedTuple):
    """Id and servers of one image.

    Attributes:
        id: a whole number below 2^31.
        servers: three of the four relays, e.g. ``cba``; band j goes to the j-th.
    """

    id: int
    servers: str


def slot(seed: int, number: int) -> Slot:
    """Return the place of image ``number`` in the schedule that both ends derive from the seed."""
    random = generator(seed, "original design", number)
    chosen = random.permutation(len(RELAYS))[:BANDS]
    return Slot(int(random.integers(1 << 31)), "".join(RELAYS[each] for each in chosen))


def bands(image: GreyImage, where: Slot) -> list[Band]:
    """Cut an image into bands of rows, in the order in which they are sent.

    Raises:
        ValueError: when its rows cannot be cut into three equal bands.
    """
    return [
        {"id": where.id, "server": server, "image_arr": part[..., None].tolist()}
        for server, part in zip(where.servers, np.split(image, BANDS), strict=True)
    ]


def pixels(band: Band) -> GreyImage:
    """Return the rows of a band as a picture."""
    return np.array(band["image_arr"], np.int64).astype(np.uint8)[..., 0]


def read_band(body: bytes) -> Band:
    """Read the body of a post; its types are all that is looked at.

    Raises:
        ValueError: it is no band (error 422).
    """
    try:
        band = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(band, dict) or not (
        type(band.get("id")) is int
        and isinstance(band.get("server"), str)
        and _is_rows(band.get("image_arr"))
    ):
        raise ValueError("no band")
    return {name: band[name] for name in ("id", "server", "image_arr")}


def _is_rows(found: object) -> bool:
    return isinstance(found, list) and all(
        isinstance(row, list)
        and all(isinstance(pixel, list) and all(type(value) is int for value in pixel) for pixel in row)
        for row in found
    )


@dataclass(frozen=True, eq=False)
class Built:
    """An image that the model server has put together.

    Attributes:
        number: which, from 0.
        image: (height, width) uint8.
        answer: the model's; None without a model, or when the image is none for it.
    """

    number: int
    image: GreyImage
    answer: Answer | None


class OriginalModelServer:
    """Its state, and what it does with a band.

    Attributes:
        built: all images put together, in order.
        counter: which image is expected.
    """

    def __init__(self, model: Callable[[GreyImage], Answer] | None, seed: int) -> None:
        """Expect image 0; ``model`` answers every image that is put together."""
        self._model = model
        self.built: list[Built] = []
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Expect image 0 of a seed, with no band: as after a restart."""
        self._seed, self.counter = seed, 0
        self._bands: list[Any] = [None] * BANDS

    def take(self, band: Band) -> None:
        """Take a band if its id is the current image's; put the image together when there are three.

        Raises:
            ValueError: the server is none of this image's, or the bands do not fit together (error 500).
            OverflowError: a value is no 64-bit number (error 500).
        """
        where = slot(self._seed, self.counter)
        if band["id"] == where.id:
            self._bands[where.servers.index(band["server"])] = band["image_arr"]
        if any(each is None for each in self._bands):
            return
        self.counter += 1  # before the bands are joined, as there: after a failure they stay
        joined = np.concatenate([np.array(each, np.int64) for each in self._bands], axis=0)
        image = joined.astype(np.uint8)[..., 0]
        self.built.append(Built(self.counter - 1, image, self._answer(image)))
        self._bands = [None] * BANDS

    def _answer(self, image: GreyImage) -> Answer | None:
        if self._model is None:
            return None
        try:
            return self._model(image)
        except UserError:
            return None
