"""The face task: loss by hand, private labels, a fair baseline, and learning that generalises."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.holdout import unseen_people
from fedpriv.data.identity_folder import load
from fedpriv.errors import UserError
from fedpriv.metrics.verification import equal_error_rate
from fedpriv.models.face_cnn import FaceCNN
from fedpriv.seeding import generator
from fedpriv.tasks.face import FaceTask


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


def test_augmentation_is_determined_by_its_generator_and_differs_per_image() -> None:
    task = FaceTask()
    inputs = task.preprocess(torch.from_numpy(faces(people=1, each=1).images.repeat(6, axis=0)))
    one, two = (task.augment(inputs, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(one, two)
    assert one.shape == inputs.shape
    assert one.dtype == torch.float32
    for first in range(6):
        for second in range(first):
            assert float((one[first] - one[second]).abs().mean()) > 0.01


def test_augmentation_leaves_its_input_alone_and_takes_an_empty_batch() -> None:
    inputs = torch.rand(3, 1, 24, 20)
    before = inputs.clone()
    FaceTask().augment(inputs, torch.Generator().manual_seed(0))
    assert torch.equal(inputs, before)
    assert FaceTask().augment(torch.rand(0, 1, 24, 20), torch.Generator()).shape == (0, 1, 24, 20)


def test_augmentation_mirrors_half_of_the_images_and_moves_none_far() -> None:
    """A spot right of the centre ends left of it when mirrored, at most a few pixels from its place."""
    inputs = torch.full((400, 1, 48, 40), -1.0)
    inputs[:, :, 20:28, 28:32] = 1.0
    moved = FaceTask().augment(inputs, torch.Generator().manual_seed(0))[:, 0]
    weight = (moved - moved.amin(dim=(1, 2), keepdim=True)).square()
    across = (weight * torch.arange(40)).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    down = (weight * torch.arange(48).view(-1, 1)).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
    right = across > 19.5
    assert 0.4 < float(right.float().mean()) < 0.6
    offset = (across - 19.5).abs() - 10
    assert float(offset.abs().max()) < 4.5
    assert 0.5 < float(offset.std()) < 2.5
    assert float((down - 23.5).abs().max()) < 6


def test_rotation_keeps_distances_in_pixels_on_an_oblong_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar of 20 x 4 pixels keeps its length when only rotation is drawn."""
    uniform = torch.full((7, 1), 0.5)
    uniform[0], uniform[1] = 0.9, 1.0
    monkeypatch.setattr(torch, "rand", lambda *_, **__: uniform)
    inputs = torch.zeros(1, 1, 80, 40)
    inputs[:, :, 38:42, 10:30] = 1.0
    turned = FaceTask().augment(inputs, torch.Generator())[0, 0]
    y, x = np.mgrid[:80, :40] - np.array([39.5, 19.5]).reshape(2, 1, 1)
    mass = turned.numpy() / float(turned.sum())
    moments = np.array(
        [[(mass * x * x).sum(), (mass * x * y).sum()], [(mass * x * y).sum(), (mass * y * y).sum()]]
    )
    lengths, axes = np.linalg.eigh(moments)
    assert np.sqrt(12 * lengths[1]) == pytest.approx(20, abs=0.5)
    assert abs(np.arctan(axes[1, 1] / axes[0, 1])) == pytest.approx(0.17, abs=0.01)


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", 0.0),
        ("scale", float("nan")),
        ("margin", -0.1),
        ("margin", 2.0),
        ("codewords", 1),
        ("max_pairs", 19),
    ],
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"task\.{field}={value}: must be"):
        FaceTask(**{field: value})


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


def federate(
    task: FaceTask, training: ImageDataset, clients: int, rounds: int, epochs: int, seed: int
) -> FaceCNN:
    """FedAvg with Adam on the clients, without any of fedpriv's machinery."""
    random, noise = generator(seed, "test"), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    backbone = FaceCNN(training.image_shape)
    parts = []
    for people in np.array_split(random.permutation(np.unique(training.subjects)), clients):
        part = training.of_subjects(people)
        inputs = task.preprocess(torch.from_numpy(part.images))
        parts.append((inputs, task.client_targets(part), task.build_head(part, backbone.features)))
    for _ in range(rounds):
        models = [copy.deepcopy(backbone) for _ in parts]
        for model, (inputs, targets, head) in zip(models, parts, strict=True):
            optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
            for _ in range(epochs):
                for chosen in torch.from_numpy(random.permutation(len(inputs))).split(10):
                    loss = task.loss(head(model(task.augment(inputs[chosen], noise))), targets[chosen])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        with torch.no_grad():
            for parameters in zip(
                backbone.parameters(), *(model.parameters() for model in models), strict=True
            ):
                parameters[0].copy_(torch.stack(parameters[1:]).mean(dim=0))
    return backbone


@pytest.fixture
def one_thread():
    """Small convolutions run several times faster on one thread where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_federated_training_halves_the_errors_of_raw_pixels_on_unseen_people() -> None:
    task = FaceTask()
    training, test = unseen_people(orl_faces(), 10, seed=1)
    backbone = federate(task, training, clients=10, rounds=12, epochs=4, seed=1)
    measured, baseline = task.evaluate(backbone, test), task.baseline(training, test)
    assert measured["equal_error_rate"] < 0.5 * baseline["equal_error_rate"]
    assert 1 - measured["verification_accuracy"] < 0.5 * (1 - baseline["verification_accuracy"])
