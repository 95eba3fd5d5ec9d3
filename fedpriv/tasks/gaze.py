"""Where does this person look: pitch and yaw of the gaze from a picture of one eye or of the face."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.metrics.angular import angular_error_deg, vector_from_pitch_yaw
from fedpriv.seeding import generator
from fedpriv.tasks.base import MetricSpec, Task
from fedpriv.tasks.batches import in_batches
from fedpriv.types import Metrics

GAZE_UNIT = 0.2
"""Radians: about the spread of gaze in MPIIGaze-like data, so that the loss is of order 1 before training."""
_KNEE = 0.5
_ZOOM, _WIDEST = 4, 240
_SMOOTH = 2
_CAPTION = 18
_TRUE, _PREDICTED = (60, 220, 90), (255, 70, 60)


class GazeTask(Task):
    """Regression of (pitch, yaw) in radians; unseen people; mean angular error in degrees.

    Grey eyes (1, 36, 60) and colour faces (3, H, W) alike: the model is built for the images it gets.

    The protocol of MPIIGaze and MPIIFaceGaze is leave-one-person-out (Zhang et al. 2015, arXiv
    1504.02863): for each of the 15 people, train on the 14 others and test on that one; the figure is
    the mean of the 15 errors. Here that is ``evaluation.protocol=one_person`` and one run per
    ``evaluation.fold``, 0 to 14; ``configs/experiment/mpiigaze_lopo.yaml`` has the sweep.
    """

    metric = MetricSpec(name="angular_error_deg", label="angular error (deg)", lower_is_better=True)
    baseline_label = "mean predictor"
    served_as = "gaze"

    def outputs(self, training: ImageDataset) -> int | None:
        """Return 2: pitch and yaw."""
        del training
        return 2

    def check(self, dataset: ImageDataset) -> None:
        """Refuse data without a pitch and a yaw per image."""
        if dataset.targets.shape != (len(dataset), 2) or dataset.targets.dtype.kind != "f":
            raise UserError(
                f"data={dataset.name}: the gaze task needs pitch and yaw per image, its targets are "
                f"{dataset.targets.dtype} {dataset.targets.shape[1:]}; choose another data or task"
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the smooth L1 loss of e = (outputs - targets) / 0.2 rad, a mean over batch and angles.

        e^2 where |e| < 0.5, |e| - 0.25 beyond (Huber 1964, knee 0.1 rad): no example's gradient grows
        without bound, so one mistaken client cannot make training diverge. The unit is fixed, so
        every client weighs errors alike.

        Args:
            outputs: (B, 2) float32 radians.
            targets: (B, 2) float32 radians.
        """
        return functional.smooth_l1_loss(outputs / GAZE_UNIT, targets / GAZE_UNIT, beta=_KNEE)

    def predict(self, backbone: nn.Module, dataset: ImageDataset) -> NDArray[np.float32]:
        """Return the predicted (N, 2) pitch and yaw in radians; the model's mode is left as found."""
        return in_batches(backbone, dataset, lambda images: backbone(self.preprocess(images)))

    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Measure the mean angular error and the mean absolute errors of pitch and yaw, in degrees."""
        return _measure(self.predict(backbone, dataset), dataset.targets)

    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Measure the mean of the training targets as the prediction for every test image."""
        mean = np.asarray(training.targets, dtype=np.float64).mean(axis=0)
        return _measure(np.broadcast_to(mean, test.targets.shape), test.targets)

    def draw(self, backbone: nn.Module, dataset: ImageDataset, count: int, seed: int) -> Image.Image:
        """Draw images with the true gaze (green), the predicted gaze (red) and the error in degrees.

        An arrow is the gaze direction in orthographic projection, from the middle of the picture.

        Raises:
            ValueError: ``count`` is below 1 or the data set is empty.
        """
        count = min(count, len(dataset))
        if count < 1:
            raise ValueError("draw: need at least one image")
        chosen = np.sort(generator(seed, "draw").permutation(len(dataset))[:count])
        shown = dataset.subset(chosen)
        predicted = self.predict(backbone, shown)
        errors = angular_error_deg(predicted, shown.targets)
        channels, height, width = dataset.image_shape
        zoom = max(1, min(_ZOOM, _WIDEST // width))
        across = min(count, max(1, round((count * 1.6) ** 0.5)))
        down = -(-count // across)
        tile = (width * zoom, height * zoom + _CAPTION)
        sheet = Image.new(
            "RGB", (across * (tile[0] + 4) + 4, down * (tile[1] + 4) + 4 + _CAPTION), (24, 26, 30)
        )
        pen = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(size=13)
        pen.text((8, 3), "green: true gaze", fill=_TRUE, font=font)
        pen.text((128, 3), "red: predicted", fill=_PREDICTED, font=font)
        for index in range(count):
            left = 4 + (index % across) * (tile[0] + 4)
            top = 4 + _CAPTION + (index // across) * (tile[1] + 4)
            pixels = np.ascontiguousarray(shown.images[index].transpose(1, 2, 0))
            image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            large = (tile[0] * _SMOOTH, height * zoom * _SMOOTH)
            image = image.resize(large, Image.Resampling.BICUBIC).convert("RGB")
            arrows = ImageDraw.Draw(image)
            _arrow(arrows, image.size, shown.targets[index], _TRUE)
            _arrow(arrows, image.size, predicted[index], _PREDICTED)
            sheet.paste(image.reduce(_SMOOTH), (left, top))
            name = shown.subject_names[int(shown.subjects[index])]
            pen.text(
                (left + 2, top + height * zoom + 1),
                f"{errors[index]:.1f} deg  {name}",
                fill="white",
                font=font,
            )
        return sheet


def _measure(predicted: NDArray[np.floating], targets: NDArray[np.floating]) -> Metrics:
    if not len(targets):
        raise ValueError("evaluate: the data set is empty")
    absolute = np.degrees(np.abs(np.asarray(predicted, dtype=np.float64) - targets).mean(axis=0))
    return {
        "angular_error_deg": float(angular_error_deg(predicted, targets).mean()),
        "pitch_mae_deg": float(absolute[0]),
        "yaw_mae_deg": float(absolute[1]),
    }


def _arrow(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    pitch_yaw: NDArray[np.floating],
    colour: tuple[int, int, int],
) -> None:
    direction = vector_from_pitch_yaw(pitch_yaw)[:2]
    start = np.array([size[0] / 2, size[1] / 2])
    tip = start + direction * 0.9 * size[1]
    pen.line([tuple(start), tuple(tip)], fill=colour, width=3)
    length = float(np.hypot(*direction))
    if length > 0.02:
        along = direction / length
        side = np.array([-along[1], along[0]])
        pen.polygon([tuple(tip + along * 16), tuple(tip + side * 9), tuple(tip - side * 9)], fill=colour)
    pen.ellipse([start[0] - 4, start[1] - 4, start[0] + 4, start[1] + 4], fill=colour)
