"""The face task: loss by hand, private labels, a fair baseline, and learning that generalises."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from fedpriv.data import synthetic_faces
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.holdout import unseen_people
from fedpriv.data.identity_folder import load
from fedpriv.errors import UserError
from fedpriv.metrics.verification import equal_error_rate
from fedpriv.models.face_cnn import FaceCNN
from fedpriv.models.face_resnet import FaceResNet
from fedpriv.pairs import VerificationPairs
from fedpriv.tasks.face import FaceTask
from tests.tasks.averaging import federate


def faces(
    people: int = 4, each: int = 5, noise: float = 30.0, seed: int = 0, channels: int = 1
) -> ImageDataset:
    """Smooth random patterns, one per person, with noise."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 215, size=(people, channels, 4, 4))
    pattern = coarse.repeat(6, axis=2).repeat(5, axis=3).repeat(each, axis=0)
    images = np.clip(pattern + noise * random.normal(size=pattern.shape), 0, 255).astype(np.uint8)
    subjects = np.repeat(np.arange(people, dtype=np.int64), each)
    return ImageDataset("patterns", images, subjects.copy(), subjects, tuple(f"p{i}" for i in range(people)))


class Flat(nn.Module):
    """The pixels themselves as embedding."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_loss_equals_cosface_written_out() -> None:
    cosines, targets = np.array([[0.5, -0.2, 0.1], [0.3, 0.9, -0.4]]), np.array([0, 2])
    expected = []
    for row, target in zip(cosines, targets, strict=True):
        own = np.exp(10 * (row[target] - 0.3))
        others = sum(np.exp(10 * row[k]) for k in range(3) if k != target)
        expected.append(-np.log(own / (own + others)))
    loss = FaceTask(scale=10, margin=0.3).loss(torch.from_numpy(cosines), torch.from_numpy(targets))
    assert float(loss) == pytest.approx(np.mean(expected))


def test_loss_of_a_single_class_and_its_gradient_are_zero() -> None:
    cosines = torch.tensor([[0.2], [-0.7]], requires_grad=True)
    loss = FaceTask().loss(cosines, torch.tensor([0, 0]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert cosines.grad is not None
    assert cosines.grad.tolist() == [[0.0], [0.0]]


def test_loss_of_an_empty_batch_is_zero() -> None:
    assert float(FaceTask().loss(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))) == 0.0


def test_client_targets_number_the_clients_own_people_from_zero() -> None:
    client = faces(people=6, each=2).of_subjects(np.array([1, 4, 5]))
    targets = FaceTask().client_targets(client)
    assert targets.dtype == torch.int64
    assert targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_head_rows_of_a_person_are_the_same_in_every_client_and_the_codebook_is_complete() -> None:
    task, everyone = FaceTask(codewords=64), faces(people=6)
    one = task.build_head(everyone.of_subjects(np.array([1, 4])), 16).classes.weight
    two = task.build_head(everyone.of_subjects(np.array([4, 5])), 16).classes.weight
    torch.testing.assert_close(one[1], two[0])
    torch.testing.assert_close(one.norm(dim=1), torch.ones(64))
    assert {tuple(row) for row in one.tolist()} == {tuple(row) for row in two.tolist()}
    assert len({tuple(row) for row in one.tolist()}) == 64


def test_head_depends_on_names_and_not_on_images() -> None:
    one, two = (FaceTask().build_head(faces(seed=seed), 8).classes.weight for seed in (1, 2))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("trainable", [True, False])
def test_head_is_learned_only_when_asked(trainable: bool) -> None:
    head = FaceTask(trainable_head=trainable).build_head(faces(), 8)
    assert all(parameter.requires_grad == trainable for parameter in head.parameters())


def test_people_of_one_client_never_share_a_codeword() -> None:
    head = FaceTask(codewords=4).build_head(faces(people=4), 8)
    assert len({tuple(row) for row in head.classes.weight[:4].tolist()}) == 4


def test_more_people_than_codewords_are_refused() -> None:
    with pytest.raises(UserError, match=r"task\.codewords=3: a client has 4 people"):
        FaceTask(codewords=3).build_head(faces(people=4), 8)


def test_a_client_with_one_person_learns_without_nan() -> None:
    torch.manual_seed(0)
    task, client = FaceTask(), faces(people=1)
    backbone = FaceCNN(client.image_shape, outputs=16)
    head = task.build_head(client, backbone.features)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.05)
    inputs, targets = task.preprocess(torch.from_numpy(client.images)), task.client_targets(client)
    losses = []
    for _ in range(10):
        loss = task.loss(head(backbone(inputs)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_per_sample_gradients_of_the_whole_task_equal_those_of_single_images() -> None:
    torch.manual_seed(0)
    task, client = FaceTask(codewords=16, trainable_head=True), faces(people=3, each=2)
    model = nn.Sequential(FaceCNN(client.image_shape, outputs=6, width=2), task.build_head(client, 6))
    inputs, targets = task.preprocess(torch.from_numpy(client.images)), task.client_targets(client)
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="mean")
    task.loss(wrapped(inputs), targets).backward()
    for index in range(len(client)):
        model.zero_grad()
        task.loss(model(inputs[index : index + 1]), targets[index : index + 1]).backward()
        for per_sample, alone in zip(wrapped.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(per_sample.grad_sample[index], alone.grad, rtol=1e-3, atol=1e-5)


def test_evaluation_of_pixels_equals_cosine_of_mirrored_pixels_by_hand() -> None:
    task, test = FaceTask(), faces(noise=60)
    pixels = test.images.astype(np.float64) / 127.5 - 1
    embeddings = (pixels + pixels[..., ::-1]).reshape(len(test), -1)
    pairs = task.pairs(test)
    left, right = embeddings[pairs.left], embeddings[pairs.right]
    scores = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    assert task.evaluate(Flat(), test)["equal_error_rate"] == pytest.approx(
        equal_error_rate(scores, pairs.same)
    )


def test_baseline_and_model_are_measured_under_the_same_names_on_the_same_pairs() -> None:
    task, test = FaceTask(), faces(noise=60)
    measured, baseline = task.evaluate(FaceCNN(test.image_shape), test), task.baseline(test, test)
    assert set(measured) == set(baseline)
    assert task.metric.name in measured
    pairs = task.pairs(test)
    assert np.array_equal(task.pairs(test).left, pairs.left)
    pixels = (test.images.astype(np.float64) + test.images[..., ::-1]).reshape(len(test), -1)
    distance = np.linalg.norm(pixels[pairs.left] - pixels[pairs.right], axis=1)
    assert baseline["equal_error_rate"] == pytest.approx(equal_error_rate(-distance, pairs.same))


def test_evaluation_leaves_the_mode_of_the_model_as_found() -> None:
    task, test = FaceTask(), faces()
    for mode in (True, False):
        backbone = FaceCNN(test.image_shape).train(mode)
        task.evaluate(backbone, test)
        assert backbone.training is mode


def test_too_few_unseen_images_name_the_field() -> None:
    with pytest.raises(UserError, match=r"evaluation\.test_subjects: .*hold out more people"):
        FaceTask().evaluate(Flat(), faces(people=1))


def test_loss_equals_arcface_written_out() -> None:
    cosines, targets = np.array([[0.5, -0.2, 0.1], [0.3, 0.9, -0.4]]), np.array([0, 2])
    expected = []
    for row, target in zip(cosines, targets, strict=True):
        own = np.exp(10 * np.cos(np.arccos(row[target]) + 0.5))
        others = sum(np.exp(10 * row[k]) for k in range(3) if k != target)
        expected.append(-np.log(own / (own + others)))
    task = FaceTask(loss="arcface", scale=10, margin=0.5)
    assert float(task.loss(torch.from_numpy(cosines), torch.from_numpy(targets))) == pytest.approx(
        np.mean(expected)
    )


def insightface(embeddings: np.ndarray, mirrored: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """``calculate_roc`` of arcface_torch's verification.py: pairs interleaved, squared L2, a grid of 400."""
    both = embeddings + mirrored
    both = both / np.linalg.norm(both, axis=1, keepdims=True)
    distance = np.sum(np.square(both[0::2] - both[1::2]), axis=1)
    thresholds = np.arange(0, 4, 0.01)
    right = np.less(distance[None], thresholds[:, None]) == same[None]
    folds = np.array_split(np.arange(len(same)), 10)
    accuracies = []
    for test in folds:
        train = np.setdiff1d(np.arange(len(same)), test)
        best = int(np.argmax(right[:, train].mean(axis=1)))
        accuracies.append(right[best, test].mean())
    return float(np.mean(accuracies)), float(np.std(accuracies))


class Learned(nn.Module):
    """Embeddings that were made elsewhere: the image holds its number, mirrored or not."""

    def __init__(self, embeddings: np.ndarray, mirrored: np.ndarray) -> None:
        super().__init__()
        self.tables = [torch.from_numpy(table) for table in (embeddings, mirrored)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = ((images[:, 0, 0] + 1) * 127.5).round().long()
        turned = values[:, 0] == 255
        plain = torch.where(turned, values[:, 3], values[:, 0])
        high = torch.where(turned, values[:, 2], values[:, 1])
        numbers = 250 * high + plain
        return torch.where(turned[:, None], self.tables[1][numbers], self.tables[0][numbers])


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_published_pairs_are_judged_as_insightface_does_but_for_its_grid_of_thresholds(spread) -> None:
    """The same embeddings: every threshold for us, a step of 0.01 in squared distance for InsightFace."""
    random, pairs = np.random.default_rng(int(10 * spread)), 2000
    same = np.tile(np.repeat([True, False], pairs // 20), 10)
    first = random.normal(size=(pairs, 8))
    second = np.where(same[:, None], first, random.normal(size=(pairs, 8)))
    centres = np.stack([first, second], axis=1).reshape(-1, 8)
    embeddings, mirrored = (
        (centres + spread * random.normal(size=centres.shape)).astype(np.float32) for _ in range(2)
    )
    numbers = np.arange(2 * pairs)
    images = np.zeros((2 * pairs, 1, 1, 4), dtype=np.uint8)
    images[:, 0, 0] = np.stack([numbers % 250, numbers // 250, numbers * 0, numbers * 0 + 255], axis=1)
    published = ImageDataset(
        "bin",
        images,
        numbers,
        numbers,
        tuple(map(str, numbers)),
        pairs=VerificationPairs(left=numbers[0::2], right=numbers[1::2], same=same),
    )
    found = FaceTask().evaluate(Learned(embeddings, mirrored), published)
    accuracy, deviation = insightface(embeddings, mirrored, same)
    assert found["verification_accuracy"] == pytest.approx(accuracy, abs=0.01)
    assert found["verification_accuracy_std"] == pytest.approx(deviation, abs=0.01)
    assert 0.55 < accuracy < 0.999
    assert "rank1_identification" not in found
    assert "rank1_identification" not in FaceTask().baseline(published, published)
    picture = FaceTask().draw(Learned(embeddings, mirrored), published, 4, seed=0)
    assert picture.width > picture.height


@pytest.mark.parametrize(("each", "resolved"), [(5, set()), (20, {"1e-2"}), (60, {"1e-2", "1e-3"})])
def test_rates_that_too_few_impostors_resolve_are_left_out(each: int, resolved: set[str]) -> None:
    """4 people x 5: 40 impostor pairs; x 20: 760; x 60: 3,000 of 6,000."""
    found = FaceTask().evaluate(Flat(), faces(each=each))
    assert {name.removeprefix("tar_at_far_") for name in found if "tar_at" in name} == resolved


def test_identification_takes_the_first_image_of_everybody_as_gallery() -> None:
    """Without noise every probe equals its gallery image; shuffled labels find about one in four."""
    clear = faces(noise=0.0, each=20)
    assert FaceTask().evaluate(Flat(), clear)["rank1_identification"] == 1.0
    assert FaceTask().baseline(clear, clear)["rank1_identification"] == 1.0
    mixed = np.random.default_rng(0).permutation(clear.subjects)
    guessed = ImageDataset("mixed", clear.images, clear.targets, mixed, clear.subject_names)
    assert FaceTask().evaluate(Flat(), guessed)["rank1_identification"] < 0.6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "softmax"),
        ("scale", 0.0),
        ("scale", float("nan")),
        ("margin", -0.1),
        ("margin", 2.0),
        ("codewords", 1),
        ("augmentation", -0.5),
        ("max_pairs", 19),
    ],
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"task\.{field}={value}: must be"):
        FaceTask(**{field: value})


def test_the_margin_of_arcface_is_an_angle() -> None:
    with pytest.raises(UserError, match=r"task\.margin=1\.6: must be from 0 to below pi/2 radians"):
        FaceTask(loss="arcface", margin=1.6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 7, 10_000])
def test_the_drawing_is_reproducible_and_shows_both_verdicts(channels: int, count: int) -> None:
    task, test = FaceTask(), faces(noise=200, channels=channels)
    first, second = (task.draw(Flat(), test, count, seed=5) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    colours = {colour for _, colour in first.getcolors(maxcolors=2**24)}
    assert (60, 220, 90) in colours
    if count == 10_000:
        assert (255, 70, 60) in colours


def test_no_pairs_to_draw_are_refused() -> None:
    with pytest.raises(ValueError, match="count=0: draw at least one pair"):
        FaceTask().draw(Flat(), faces(), 0, seed=0)


def orl_faces() -> ImageDataset:
    data = Path(os.environ.get("FEDPRIV_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    if not (data / "orl_faces").is_dir():
        pytest.skip("no ORL faces: set FEDPRIV_REAL_DATA to the folder that holds orl_faces")
    return load(str(data / "orl_faces"))


@pytest.mark.slow
def test_federated_training_halves_the_errors_of_raw_pixels_on_unseen_people() -> None:
    torch.manual_seed(1)
    task = FaceTask()
    training, test = unseen_people(orl_faces(), 10, seed=1)
    backbone = federate(
        task,
        FaceCNN(training.image_shape),
        training,
        clients=10,
        rounds=48,
        steps=3,
        rate=1e-3,
        batch=10,
        seed=1,
    )
    measured, baseline = task.evaluate(backbone, test), task.baseline(training, test)
    assert measured["equal_error_rate"] < 0.5 * baseline["equal_error_rate"]
    assert 1 - measured["verification_accuracy"] < 0.5 * (1 - baseline["verification_accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cosface", "arcface"])
def test_the_residual_network_learns_faces_that_pixels_cannot_tell_apart(loss: str) -> None:
    """Synthetic faces, four clients of eight people each, ten unseen ones."""
    torch.manual_seed(0)
    task = FaceTask(loss=loss, margin=0.1, augmentation=0.4)
    training, test = unseen_people(synthetic_faces.load(people=42, images_per_person=14), 10, seed=0)
    backbone = federate(
        task, FaceResNet(training.image_shape, width=16), training, clients=4, rounds=30, steps=6
    )
    measured, baseline = task.evaluate(backbone, test), task.baseline(training, test)
    assert baseline["verification_accuracy"] < 0.65
    assert measured["verification_accuracy"] > baseline["verification_accuracy"] + 0.1
    assert measured["rank1_identification"] > 1.5 * baseline["rank1_identification"]
