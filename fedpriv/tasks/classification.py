"""Which class is this image: accuracy on people never trained on."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.seeding import generator
from fedpriv.tasks.base import MetricSpec, Task
from fedpriv.tasks.batches import in_batches
from fedpriv.types import Metrics

_ZOOM = 3


class ClassificationTask(Task):
    """Softmax classification of integer targets with cross entropy."""

    metric = MetricSpec(name="accuracy", label="accuracy", lower_is_better=False)
    baseline_label = "most frequent class"

    def outputs(self, training: ImageDataset) -> int:
        """Return the number of classes: the largest training target plus one."""
        return int(training.targets.max()) + 1

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy of logits (B, classes) against int64 targets (B,)."""
        return nn.functional.cross_entropy(outputs, targets)

    def predict(self, backbone: nn.Module, dataset: ImageDataset) -> NDArray[np.int64]:
        """Return the most likely class of every image, (N,)."""
        return in_batches(backbone, dataset, lambda images: backbone(self.preprocess(images)).argmax(dim=1))

    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Return ``accuracy``."""
        return {"accuracy": float(np.mean(self.predict(backbone, dataset) == dataset.targets))}

    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Return the accuracy of always answering the training set's most frequent class."""
        return {"accuracy": float(np.mean(test.targets == np.bincount(training.targets).argmax()))}

    def draw(self, backbone: nn.Module, dataset: ImageDataset, count: int, seed: int) -> Image.Image:
        """Draw images with their true and predicted class, green where they agree, red elsewhere."""
        chosen = generator(seed, "draw").permutation(len(dataset))[:count]
        shown = dataset.subset(np.sort(chosen))
        predictions = self.predict(backbone, shown)
        channels, height, width = shown.image_shape
        columns = min(6, max(1, len(shown)))
        rows = -(-len(shown) // columns)
        cell_width, cell_height = max(width * _ZOOM, 90) + 8, height * _ZOOM + 24
        sheet = Image.new("RGB", (columns * cell_width, rows * cell_height), "white")
        pen = ImageDraw.Draw(sheet)
        for index, (image, target, guess) in enumerate(
            zip(shown.images, shown.targets, predictions, strict=True)
        ):
            left, top = index % columns * cell_width + 4, index // columns * cell_height + 2
            pixels = image[0] if channels == 1 else np.moveaxis(image, 0, -1)
            picture = Image.fromarray(pixels).convert("RGB")
            sheet.paste(
                picture.resize((width * _ZOOM, height * _ZOOM), Image.Resampling.NEAREST), (left, top)
            )
            colour = (20, 140, 60) if target == guess else (190, 40, 30)
            pen.text((left, top + height * _ZOOM + 4), f"is {target}, said {guess}", fill=colour)
        return sheet
