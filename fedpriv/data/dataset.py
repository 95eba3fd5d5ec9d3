"""The one in-memory form of a labelled set of images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.types import AnyArray, ByteImages


@dataclass(frozen=True)
class ImageDataset:
    """Images with a target and an identity each.

    Attributes:
        name: what the images are, e.g. ``synthetic_eyes``.
        images: (N, C, H, W) uint8; may be a read-only memory map.
        targets: (N, T) float32 for regression, (N,) int64 for classes.
        subjects: (N,) int64, index into ``subject_names``: whose image it is.
        subject_names: one name per identity.

    Raises:
        ValueError: when shapes or dtypes do not agree.
    """

    name: str
    images: ByteImages
    targets: AnyArray
    subjects: NDArray[np.int64]
    subject_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images: need uint8 (N, C, H, W), got {self.images.dtype} {self.images.shape}")
        if len(self.targets) != len(self.images) or self.subjects.shape != (len(self.images),):
            raise ValueError(
                f"images, targets, subjects: lengths differ: "
                f"{len(self.images)}, {len(self.targets)}, {self.subjects.shape}"
            )
        if len(self.subjects) and int(self.subjects.max()) >= len(self.subject_names):
            raise ValueError("subjects: index beyond subject_names")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    def subset(self, indices: NDArray[np.int64]) -> "ImageDataset":
        """Return the images at ``indices`` (copied), identities keeping their names."""
        return ImageDataset(
            name=self.name,
            images=np.ascontiguousarray(self.images[indices]),
            targets=self.targets[indices],
            subjects=self.subjects[indices],
            subject_names=self.subject_names,
        )

    def of_subjects(self, subjects: NDArray[np.int64]) -> "ImageDataset":
        """Return the images of these identities, in their present order."""
        return self.subset(np.flatnonzero(np.isin(self.subjects, subjects)))
