"""The one in-memory form of a labelled set of images."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.rows import ImageRows
from fedpriv.pairs import VerificationPairs
from fedpriv.types import AnyArray, ByteImages


@dataclass(frozen=True)
class ImageDataset:
    """Images with a target and an identity each.

    Attributes:
        name: what the images are, e.g. ``synthetic_eyes``.
        images: (N, C, H, W) uint8; may be a read-only memory map, or rows of one.
        targets: (N, T) float32 for regression, (N,) int64 for classes.
        subjects: (N,) int64, index into ``subject_names``: whose image it is.
        subject_names: one name per identity.
        class_names: one name per class, where targets are classes that have names.
        held_out: (N,) bool, True for the test part of the split that the data set's authors
            published; None where they published none.
        pairs: the published verification pairs, indices into these images; None without any.
        origins: (N,) uint64, what each image was made from, see :mod:`fedpriv.data.origins`; (N, K) where
            each shows what K images of another view of the set do (a face: both eyes); None where
            the loader does not tell, so that images are known by their pixels.

    Raises:
        ValueError: when shapes or dtypes do not agree.
    """

    name: str
    images: ByteImages | ImageRows
    targets: AnyArray
    subjects: NDArray[np.int64]
    subject_names: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    held_out: NDArray[np.bool_] | None = None
    pairs: VerificationPairs | None = None
    origins: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        count = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images: need uint8 (N, C, H, W), got {self.images.dtype} {self.images.shape}")
        if len(self.targets) != count or self.subjects.shape != (count,):
            raise ValueError(
                f"images, targets, subjects: lengths differ: "
                f"{count}, {len(self.targets)}, {self.subjects.shape}"
            )
        if count and not 0 <= int(self.subjects.min()) <= int(self.subjects.max()) < len(self.subject_names):
            raise ValueError("subjects: index beyond subject_names")
        if self.held_out is not None and (self.held_out.shape != (count,) or self.held_out.dtype != np.bool_):
            raise ValueError(
                f"held_out: need bool ({count},), got {self.held_out.dtype} {self.held_out.shape}"
            )
        if self.origins is not None and (
            self.origins.ndim not in (1, 2) or len(self.origins) != count or self.origins.dtype != np.uint64
        ):
            raise ValueError(
                f"origins: need uint64 ({count},) or ({count}, K), "
                f"got {self.origins.dtype} {self.origins.shape}"
            )
        if self.class_names and count:
            if self.targets.ndim != 1 or self.targets.dtype.kind not in "iu":
                raise ValueError("class_names: targets are no classes")
            if not 0 <= int(self.targets.min()) <= int(self.targets.max()) < len(self.class_names):
                raise ValueError("targets: class beyond class_names")
        if self.pairs is not None and len(self.pairs):
            both = np.concatenate([self.pairs.left, self.pairs.right])
            if not 0 <= int(both.min()) <= int(both.max()) < count:
                raise ValueError("pairs: index beyond the images")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    def subset(self, indices: NDArray[np.int64]) -> "ImageDataset":
        """Return the images at ``indices``, identities keeping their names.

        Images in memory are copied; of a memory map only the choice of rows is kept. Published
        pairs belong to the whole set and are dropped.
        """
        images: ByteImages | ImageRows
        if isinstance(self.images, ImageRows):
            images = self.images.rows(indices)
        elif isinstance(self.images, np.memmap):
            images = ImageRows(self.images, indices)
        else:
            images = np.ascontiguousarray(self.images[indices])
        return replace(
            self,
            images=images,
            targets=self.targets[indices],
            subjects=self.subjects[indices],
            held_out=None if self.held_out is None else self.held_out[indices],
            pairs=None,
            origins=None if self.origins is None else self.origins[indices],
        )

    def of_subjects(self, subjects: NDArray[np.int64]) -> "ImageDataset":
        """Return the images of these identities, in their present order."""
        return self.subset(np.flatnonzero(np.isin(self.subjects, subjects)))
