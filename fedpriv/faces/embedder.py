"""From pictures of faces to embeddings of unit length, whatever makes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.faces.false_accepts import FalseAccepts
from fedpriv.formats.files import read_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES, decode_image

Embeddings = NDArray[np.float64]
"""(n, d), every row of length 1."""
Inputs = NDArray[np.uint8]
"""(n, C, H, W) as the model takes them."""

MOST_DIMENSIONS = 1024


@dataclass(frozen=True)
class Embedder:
    """Makes embeddings of pictures.

    Attributes:
        source: where the model is from, for messages.
        in_shape: (C, H, W) of the pictures that ``function`` takes; C is 1 or 3.
        dimension: of an embedding.
        digest: SHA-256 of what decides an embedding, 64 hexadecimal digits: embeddings of two models with
            the same digest can be compared, of others not.
        function: (n, C, H, W) uint8 to (n, dimension) float64, of any length but 0.
        false_accepts: what was measured on people whom the model was not trained on; None where nothing was.
    """

    source: str
    in_shape: tuple[int, int, int]
    dimension: int
    digest: str
    function: Callable[[Inputs], NDArray[np.float64]]
    false_accepts: FalseAccepts | None = None

    def embed(self, images: Inputs) -> Embeddings:
        """Return one embedding of unit length for each picture.

        Raises:
            UserError: when a picture has none, as one of a single grey may.
        """
        found = self.function(images)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise UserError(f"{self.source}: has no embedding for picture {int(np.argmin(lengths > 0))}")
        return np.asarray(found / lengths)

    def read(self, paths: Sequence[Path]) -> Embeddings:
        """Return one embedding for each picture file, cropped and resized as the data loaders do it.

        Raises:
            UserError: when a file cannot be read, naming it.
        """
        channels, height, width = self.in_shape
        images = [
            decode_image(read_input(path, MAX_FILE_BYTES), path, height, width, colour=channels == 3)
            for path in paths
        ]
        return self.embed(np.stack(images))
