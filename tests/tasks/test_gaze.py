import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.tasks.gaze import GazeTask

TASK = GazeTask()


class Constant(nn.Module):
    """Predicts the same direction for every image, and records how it was called."""

    def __init__(self, pitch, yaw):
        super().__init__()
        self.answer = nn.Parameter(torch.tensor([pitch, yaw]))
        self.seen = []

    def forward(self, images):
        self.seen.append((len(images), self.training, torch.is_inference_mode_enabled(), images.dtype))
        return self.answer.expand(len(images), 2)


def dataset(targets):
    targets = np.asarray(targets, dtype=np.float32)
    images = np.random.default_rng(0).integers(0, 256, (len(targets), 1, 36, 60), dtype=np.uint8)
    return ImageDataset("eyes", images, targets, np.zeros(len(targets), dtype=np.int64), ("a",))


def eyes(people, each, first=0):
    drawn = [render_person(0, first + person, each) for person in range(people)]
    return ImageDataset(
        "synthetic_eyes",
        np.concatenate([person.images for person in drawn]),
        np.concatenate([person.gaze for person in drawn]),
        np.repeat(np.arange(people), each),
        tuple(f"p{person}" for person in range(people)),
    )


def test_the_metrics_are_the_errors_of_hand_worked_angles():
    # Predicting straight ahead, the error is the eccentricity: acos(cos p cos y).
    truth = np.radians([[10.0, 0.0], [0.0, -20.0], [10.0, 20.0]])
    found = TASK.evaluate(Constant(0.0, 0.0), dataset(truth))
    both = np.degrees(np.arccos(np.cos(np.radians(10)) * np.cos(np.radians(20))))
    assert found == pytest.approx(
        {"angular_error_deg": (10 + 20 + both) / 3, "pitch_mae_deg": 20 / 3, "yaw_mae_deg": 40 / 3}, rel=1e-5
    )


def test_the_judging_metric_is_among_those_measured():
    assert TASK.metric.name in TASK.evaluate(Constant(0.1, 0.0), dataset([[0.0, 0.0]]))
    assert TASK.metric.lower_is_better


def test_evaluation_runs_in_batches_in_inference_mode_and_restores_the_mode():
    model = Constant(0.0, 0.0)
    for training in (True, False):
        model.seen.clear()
        model.train(training)
        TASK.evaluate(model, dataset(np.zeros((1100, 2))))
        assert [size for size, *_ in model.seen] == [256] * 4 + [76]
        assert all(rest == [False, True, torch.float32] for _, *rest in model.seen)
        assert model.training is training


def test_the_mode_is_restored_when_the_model_fails():
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        TASK.evaluate(model, dataset([[0.0, 0.0]]))
    assert model.training


def test_the_baseline_predicts_the_mean_of_the_training_targets():
    training = dataset(np.radians([[4.0, 10.0], [8.0, 20.0]]))
    found = TASK.baseline(training, dataset(np.radians([[6.0, 15.0], [6.0, 12.0]])))
    assert found["pitch_mae_deg"] == pytest.approx(0.0, abs=1e-5)
    assert found["yaw_mae_deg"] == pytest.approx(1.5, rel=1e-5)
    assert found["angular_error_deg"] == pytest.approx(1.5 * np.cos(np.radians(6.0)), rel=1e-3)


@pytest.mark.parametrize(
    ("error", "loss"), [(0.0, 0.0), (0.02, 0.01), (-0.1, 0.25), (0.2, 0.75), (-2.0, 9.75)]
)
def test_the_loss_is_a_parabola_within_a_tenth_of_a_radian_and_a_line_beyond(error, loss):
    targets = torch.tensor([[0.3, -0.1], [0.0, 0.4], [0.1, 0.1]])
    assert float(TASK.loss(targets + error, targets)) == pytest.approx(loss, abs=1e-6)


def test_no_example_pulls_harder_than_the_slope_of_the_line():
    outputs = torch.tensor([[1e6, -1e6]], requires_grad=True)
    TASK.loss(outputs, torch.zeros(1, 2)).backward()
    torch.testing.assert_close(outputs.grad, torch.tensor([[2.5, -2.5]]))


def test_an_empty_data_set_cannot_be_judged():
    with pytest.raises(ValueError, match="empty"):
        TASK.evaluate(Constant(0.0, 0.0), dataset(np.zeros((0, 2))))


def test_the_task_asks_for_two_outputs_and_has_no_head():
    assert TASK.outputs(dataset([[0.0, 0.0]])) == 2
    assert TASK.build_head(dataset([[0.0, 0.0]]), 2) is None


def test_the_picture_shows_a_green_and_a_red_arrow_for_every_eye():
    data = dataset([[0.0, 0.5], [0.0, 0.5]])
    picture = np.asarray(TASK.draw(Constant(0.0, -0.5), data, 2, seed=0)).astype(int)
    body = picture[22:-20]
    green = (body[..., 1] - body[..., 0]) > 100
    red = (body[..., 0] - body[..., 1]) > 100
    middle = body.shape[1] // 4
    for tile in (slice(0, body.shape[1] // 2), slice(body.shape[1] // 2, None)):
        # Yaw +0.5 looks towards -x, the left of the picture.
        assert np.nonzero(green[:, tile])[1].mean() < middle < np.nonzero(red[:, tile])[1].mean()


def test_drawing_is_chosen_by_seed_and_never_more_than_there_is():
    data = eyes(2, 3)
    first = TASK.draw(Constant(0.0, 0.0), data, 4, seed=1)
    assert first.tobytes() == TASK.draw(Constant(0.0, 0.0), data, 4, seed=1).tobytes()
    assert first.tobytes() != TASK.draw(Constant(0.0, 0.0), data, 4, seed=2).tobytes()
    assert (
        TASK.draw(Constant(0.0, 0.0), data, 99, seed=1).size
        == TASK.draw(Constant(0.0, 0.0), data, 6, seed=1).size
    )
    with pytest.raises(ValueError, match="at least one"):
        TASK.draw(Constant(0.0, 0.0), data, 0, seed=1)


def train(data, epochs, rate=2e-3):
    torch.manual_seed(0)
    model = GazeCNN(data.image_shape)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    images, targets = torch.from_numpy(data.images), TASK.client_targets(data)
    order = np.random.default_rng(0)
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - epoch / epochs)
        for batch in np.array_split(order.permutation(len(data)), -(-len(data) // 32)):
            optimiser.zero_grad()
            TASK.loss(model(TASK.preprocess(images[batch])), targets[batch]).backward()
            optimiser.step()
    return model


def ridge(training, test, strength):
    """Angular metrics of ridge regression on raw pixels."""
    pixels = training.images.reshape(len(training), -1) / 127.5 - 1.0
    centre, mean = pixels.mean(axis=0), training.targets.mean(axis=0)
    centred = pixels - centre
    weights = np.linalg.solve(
        centred.T @ centred + strength * np.eye(centred.shape[1]), centred.T @ (training.targets - mean)
    )
    coefficients = torch.from_numpy(weights.T.astype(np.float32))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(centred.shape[1], 2))
    with torch.no_grad():
        linear[1].weight.copy_(coefficients)
        linear[1].bias.copy_(torch.from_numpy((mean - centre @ weights).astype(np.float32)))
    return TASK.evaluate(linear, test)


def test_a_few_steps_of_training_already_lower_the_loss():
    data = eyes(2, 64)
    model = train(data, 6)
    assert (
        TASK.evaluate(model, data)["angular_error_deg"] < 0.6 * TASK.baseline(data, data)["angular_error_deg"]
    )


@pytest.mark.slow
def test_on_unseen_people_the_network_does_far_better_than_a_linear_model_on_pixels():
    training, test = eyes(40, 150), eyes(10, 100, first=1000)
    mean = TASK.baseline(training, test)["angular_error_deg"]
    linear = min(ridge(training, test, strength)["angular_error_deg"] for strength in (300.0, 3000.0))
    network = TASK.evaluate(train(training, 8), test)["angular_error_deg"]
    assert linear > 0.5 * mean
    assert network < 0.35 * mean
    assert network < 0.65 * linear


@pytest.mark.parametrize("shape", [(1, 36, 60), (3, 112, 112)])
def test_eyes_and_colour_faces_are_learned_and_drawn_alike(shape):
    random = np.random.default_rng(0)
    targets = random.uniform(-0.4, 0.4, size=(6, 2)).astype(np.float32)
    images = np.full((6, *shape), 90, dtype=np.uint8)
    images[:, -1] = 200  # of a colour image the blue channel
    people = np.zeros(6, dtype=np.int64)
    data = ImageDataset("toy", images, targets, people, ("p00",))
    TASK.check(data)
    model = GazeCNN(data.image_shape)
    assert np.isfinite(TASK.evaluate(model, data)["angular_error_deg"])
    sheet = np.asarray(TASK.draw(model, data, 2, seed=0)).astype(int)
    blue = (sheet[..., 2] - sheet[..., 0]) > 100
    assert bool(blue.any()) == (shape[0] == 3)
    assert max(sheet.shape[:2]) < 800
