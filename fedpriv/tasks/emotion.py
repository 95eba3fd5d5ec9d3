"""Which emotion does this face show? Seven expressions, on people never trained on."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.metrics.classification import accuracy, class_recalls, confusion_matrix, macro_f1
from fedpriv.seeding import generator
from fedpriv.tasks.augment import Draw, augmented
from fedpriv.tasks.base import MetricSpec, Task
from fedpriv.tasks.batches import in_batches
from fedpriv.tasks.emotion_picture import draw_expressions
from fedpriv.types import Metrics


class EmotionTask(Task):
    """Softmax classification of named expressions; judged by macro F1, for classes are unbalanced.

    Faces and eye regions alike: the classes of Ekman's basic emotions do not tell left from right, so a
    mirrored face keeps its class, and a mirrored left eye is a right eye of the same class.

    Args:
        label_smoothing: share of each target spread evenly over all classes (Szegedy et al. 2016,
            arXiv 1512.00567, section 7); of use where labels are noisy, as FER2013's are.
        mirror: mirror half of the training images.
        augmentation: strength of their other changes, see
            :func:`~fedpriv.tasks.augment.augmented`.

    Raises:
        UserError: when a setting is out of range.
    """

    metric = MetricSpec(name="macro_f1", label="macro F1", lower_is_better=False)
    baseline_label = "majority class"
    served_as = "emotion"

    def __init__(self, label_smoothing: float = 0.0, mirror: bool = True, augmentation: float = 0.5) -> None:
        """Check and keep the settings."""
        if not 0 <= label_smoothing < 1:
            raise UserError(f"task.label_smoothing={label_smoothing}: must be from 0 to below 1")
        if not 0 <= augmentation <= 2:
            raise UserError(f"task.augmentation={augmentation}: must be from 0 to 2")
        self.label_smoothing, self.mirror, self.augmentation = label_smoothing, mirror, augmentation

    def check(self, dataset: ImageDataset) -> None:
        """Refuse data without one named class per image."""
        super().check(dataset)
        if len(dataset.class_names) < 2:
            raise UserError(
                f"data={dataset.name}: the emotion task needs classes with names, it has "
                f"{len(dataset.class_names)}; choose another data or task=classification"
            )

    def outputs(self, training: ImageDataset) -> int:
        """Return the number of classes that have a name, whether or not an image shows them."""
        return len(training.class_names)

    def augment(self, inputs: Tensor, draw: Draw) -> Tensor:
        """Mirror, move and light each image anew, see :func:`~fedpriv.tasks.augment.augmented`."""
        return augmented(inputs, draw, self.mirror, self.augmentation)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy with smoothed targets; an empty batch has loss 0.

            -sum_k q_k log softmax(outputs)_k,   q_k = (1 - a) [k = target] + a / K

        Args:
            outputs: (B, K) logits.
            targets: (B,) int64 below K.
        """
        total = functional.cross_entropy(
            outputs, targets, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / max(1, len(targets))

    def predict(self, backbone: nn.Module, dataset: ImageDataset) -> NDArray[np.int64]:
        """Return the most likely class of every image, (N,); the model's mode is left as found."""
        return in_batches(backbone, dataset, lambda images: backbone(self.preprocess(images)).argmax(dim=1))

    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Measure macro F1, accuracy and the recall of each class that the images show.

        Returns:
            ``macro_f1``, ``accuracy`` and ``recall_<class>``, all in [0, 1].
        """
        return _measure(self.predict(backbone, dataset), dataset)

    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Measure always answering the class most frequent in training."""
        return _measure(np.full(len(test), np.bincount(training.targets).argmax(), dtype=np.int64), test)

    def draw(self, backbone: nn.Module, dataset: ImageDataset, count: int, seed: int) -> Image.Image:
        """Draw the confusion matrix of all images beside ``count`` of them with prediction and truth.

        Raises:
            ValueError: ``count`` is below 1 or the data set is empty.
        """
        count = min(count, len(dataset))
        if count < 1:
            raise ValueError("draw: need at least one image")
        predicted = self.predict(backbone, dataset)
        counts = confusion_matrix(dataset.targets, predicted, len(dataset.class_names))
        chosen = np.sort(generator(seed, "draw").permutation(len(dataset))[:count])
        return draw_expressions(counts, dataset.subset(chosen), predicted[chosen])


def _measure(predicted: NDArray[np.int64], dataset: ImageDataset) -> Metrics:
    targets, names = dataset.targets, dataset.class_names
    recalls = class_recalls(targets, predicted, len(names))
    return {
        "macro_f1": macro_f1(targets, predicted, len(names)),
        "accuracy": accuracy(targets, predicted),
    } | {f"recall_{names[shown]}": float(recalls[shown]) for shown in np.unique(targets)}
