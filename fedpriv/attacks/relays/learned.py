"""What somebody learns of images from the pieces of them that it holds, beside what chance would give.

Two measures, each against the same null: the pieces of one image beside another, as a random permutation of
the images has it. The null keeps all that is true of eye images as such (dark irises in the middle,
light skin around), so only what is particular to an image counts as learned.

- Mutual information between a pixel and the byte at its place in a piece, in bits:
  I = sum p(x, b) log2 p(x, b) / (p(x) p(b)), with the frequencies over all pixels of all images (plug-in
  estimate). It is biased upwards, by at most 255^2 / (2 N ln 2) for N independent pairs; so is the null.
- SSIM between the image and the best picture that can be made of the pieces.

These are tests of the code as it is, not proofs: that n - 1 additive shares are independent of the image is
proved by their construction, and that sealed bytes are is the cipher's assumption.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.attacks.relays.holdings import bands_read, eye_images, readings_of_pieces, shared
from fedpriv.attacks.relays.similarity import ssim
from fedpriv.seeding import generator

__all__ = ["Learned", "Measured", "eye_images", "leaks", "learned", "readings_of_pieces"]

FAR = 5.0
"""Standard deviations of the null: chance lies beyond them with probability 3e-7."""
_PERMUTATIONS = 100
_LEAST_IMAGES = 8
_LEAST_SPREAD = 1e-9
_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """A measure beside its null.

    Attributes:
        value: of each image with its own pieces.
        null_mean: of each image with another's, over random permutations.
        null_p95: their 95th percentile: by chance alone ``value`` lies above it one time in twenty.
        z: (value - null_mean) in standard deviations of the null.
    """

    value: float
    null_mean: float
    null_p95: float
    z: float


@dataclass(frozen=True)
class Learned:
    """What is learned from some pieces.

    Attributes:
        what: is held.
        images: how many it was measured on.
        information: mutual information of pixel and byte, bits.
        likeness: SSIM of the best picture.
    """

    what: str
    images: int
    information: Measured
    likeness: Measured

    @property
    def better_than_chance(self) -> bool:
        """Whether either measure lies more than 5 standard deviations above its null."""
        return max(self.information.z, self.likeness.z) > FAR

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "what": self.what,
            "images": self.images,
            "mutual_information_bits": asdict(self.information),
            "ssim": asdict(self.likeness),
            "better_than_chance": self.better_than_chance,
        }


def leaks(images: _Bytes, *, shares: int = 3, seed: int = 0) -> dict[str, Learned]:
    """Measure what relays learn here, and in the original's design.

    Every image is shared and sealed as clients do, in a session of its own opening.

    Args:
        images: (N, height, width) uint8, at least 8, all different; height a multiple of 3.
        shares: n.
        seed: of the permutations; shares and keys come from the operating system.

    Returns:
        By name: ``sealed``, what n - 1 relays hold; ``sealed_all``, what all n do; ``opened``, n - 1 shares
        as if their seal were broken; ``bands``, what n - 1 relays of the original hold; and ``opened_all``,
        all n shares, which are the image (a control: both measures must see that).
    """
    sealed, opened = shared(images, shares)
    height, width = images.shape[1:]
    readings = {
        "sealed": (f"{shares - 1} of {shares} sealed pieces", _coalition(sealed, height, width)),
        "sealed_all": (f"all {shares} sealed pieces", readings_of_pieces(sealed, height, width)[:, -1:]),
        "opened": (f"{shares - 1} of {shares} opened shares", _coalition(opened, height, width)),
        "bands": ("2 of 3 row bands of the original", bands_read(images)),
        "opened_all": (f"all {shares} opened shares", readings_of_pieces(opened, height, width)[:, -1:]),
    }
    return {name: learned(what, images, found, seed) for name, (what, found) in readings.items()}


def learned(what: str, images: _Bytes, readings: _Bytes, seed: int = 0) -> Learned:
    """Measure what pictures made of pieces tell of the images.

    Mutual information is the mean over the readings; SSIM is that of the best reading, or of the best linear
    guess from them (:func:`linear_guess`) if that is better.

    Args:
        what: is held.
        images: (N, height, width) uint8.
        readings: (N, K, height, width) uint8: K pictures made of what is held of each image.
        seed: of the permutations.

    Raises:
        ValueError: shapes do not fit, or there are fewer than 8 images.
    """
    fits = readings.ndim == 4 and (len(readings), *readings.shape[2:]) == images.shape and readings.shape[1]
    if images.ndim != 3 or len(images) < _LEAST_IMAGES or not fits:
        raise ValueError(
            f"learned: images {images.shape}, readings {readings.shape}; give (N, height, width) and "
            f"(N, K, height, width), N at least {_LEAST_IMAGES}"
        )
    random = generator(seed, "what is learned", what)
    orders = [_shuffled(len(images), random) for _ in range(_PERMUTATIONS)]
    pixels, held = images.reshape(len(images), -1), readings.reshape(*readings.shape[:2], -1)

    def information(order: NDArray[np.intp]) -> float:
        return float(np.mean([mutual_information(pixels[order], each) for each in held.swapaxes(0, 1)]))

    made = np.concatenate([readings, linear_guess(images, readings)[:, None]], axis=1)
    tables = [ssim(each, images) for each in made.swapaxes(0, 1)]
    rows = np.arange(len(images))

    def likeness(order: NDArray[np.intp]) -> float:
        return max(float(table[rows, order].mean()) for table in tables)

    return Learned(what, len(images), _against(information, rows, orders), _against(likeness, rows, orders))


def mutual_information(first: _Bytes, second: _Bytes) -> float:
    """Return the plug-in estimate of the mutual information of two arrays of bytes, pair by pair, in bits.

    Args:
        first: uint8.
        second: uint8 of the same shape.
    """
    pairs = first.astype(np.intp).ravel() << 8 | second.ravel()
    joint = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
    return _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1)) - _entropy(joint)


def linear_guess(images: _Bytes, readings: _Bytes) -> _Bytes:
    """Guess images as their mean plus the best linear combination of readings, by least squares.

    Every half of the images is guessed with mean and coefficients learned on the other half: an attacker
    can share as many images of its own as it likes.

    Args:
        images: (N, height, width) uint8, at least 2.
        readings: (N, K, height, width) uint8.

    Returns:
        (N, height, width) uint8.
    """
    guessed = np.empty_like(images)
    half = np.arange(len(images)) % 2 == 0
    for known, wanted in ((half, ~half), (~half, half)):
        mean, offsets = images[known].mean(axis=0), readings[known].mean(axis=0)
        held = (readings[known] - offsets).swapaxes(0, 1).reshape(readings.shape[1], -1)
        weights = np.linalg.lstsq(held.T, (images[known] - mean).ravel(), rcond=None)[0]
        guess = mean + np.tensordot(readings[wanted] - offsets, weights, axes=(1, 0))
        guessed[wanted] = np.clip(np.rint(guess), 0, 255)
    return guessed


def _coalition(pieces: _Bytes, height: int, width: int) -> _Bytes:
    """Return each piece of n - 1, and their sum; the one that they lack is another from image to image.

    Not all coalitions side by side: x - s is as random as s, but both beside x are one observation, not two,
    and its chance deviations would count twice.
    """
    count, shares = pieces.shape[:2]
    kept = np.arange(shares) != (np.arange(count) % shares)[:, None]
    return readings_of_pieces(pieces[kept].reshape(count, shares - 1, -1), height, width)


def _against(
    measure: Callable[[NDArray[np.intp]], float], own: NDArray[np.intp], orders: list[NDArray[np.intp]]
) -> Measured:
    value, null = measure(own), np.array([measure(order) for order in orders])
    mean, spread = float(null.mean()), max(float(null.std(ddof=1)), _LEAST_SPREAD)
    return Measured(value, mean, float(np.quantile(null, 0.95)), (value - mean) / spread)


def _shuffled(count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Permute even and odd numbers among themselves: no image stands beside a guess learned from it."""
    order = np.arange(count)
    order[::2], order[1::2] = random.permutation(order[::2]), random.permutation(order[1::2])
    return order


def _entropy(counts: NDArray[np.intp]) -> float:
    total, found = int(counts.sum()), counts[counts > 0]
    return float(np.log2(total) - np.sum(found * np.log2(found)) / total)
