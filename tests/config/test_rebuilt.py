import pytest
import torch

from fedpriv.config.rebuilt import rebuilt_model
from fedpriv.errors import UserError
from fedpriv.models.emotion_cnn import EmotionCNN
from fedpriv.models.face_cnn import FaceCNN
from fedpriv.models.face_resnet import FaceResNet
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.models.small_cnn import SmallCNN

MODELS = [
    (GazeCNN, (1, 36, 60), 2, {"width": 16}),
    (EmotionCNN, (1, 48, 48), 7, {"hidden": 20}),
    (SmallCNN, (3, 20, 22), 10, {"hidden": 5}),
    (FaceCNN, (3, 48, 40), None, {"outputs": 12, "width": 4}),
    (FaceResNet, (3, 56, 56), None, {"outputs": 16, "width": 8}),
]


def settings_of(kind, arguments):
    return {"_target_": f"{kind.__module__}.{kind.__name__}", **arguments}


@pytest.mark.parametrize(("kind", "in_shape", "outputs", "arguments"), MODELS)
def test_every_model_predicts_bit_by_bit_as_the_one_that_had_the_weights(kind, in_shape, outputs, arguments):
    given = {} if outputs is None else {"outputs": outputs}
    trained = kind(in_shape, **given, **arguments).eval()
    before = torch.get_rng_state()
    again = rebuilt_model("run", settings_of(kind, arguments), in_shape, outputs, trained.state_dict())
    assert torch.equal(before, torch.get_rng_state()), "no draw is taken from the caller"
    assert not again.training
    images = torch.rand(3, *in_shape)
    with torch.no_grad():
        assert torch.equal(again(images), trained(images))


@pytest.mark.parametrize("in_shape", [(), (1, 36), (1, 0, 60), (1, 36, 1025), (1, 36, -1), (1, 36, 60, 2)])
def test_images_of_no_or_giant_size_are_refused(in_shape):
    with pytest.raises(UserError, match=r"^run: its model takes images of "):
        rebuilt_model("run", settings_of(GazeCNN, {}), in_shape, 2, {})


@pytest.mark.parametrize("size", [2**20, 2**31, 2**40, 2**62, 2**63, 10**100])
@pytest.mark.parametrize(
    ("kind", "name", "in_shape", "outputs"),
    [
        (GazeCNN, "width", (1, 1024, 1024), 2),
        (EmotionCNN, "hidden", (1, 1024, 1024), 7),
        (EmotionCNN, "width", (1, 48, 48), 7),
        (SmallCNN, "hidden", (3, 1024, 1024), 10),
        (FaceCNN, "width", (3, 48, 40), None),
        (FaceCNN, "outputs", (3, 48, 40), None),
        (FaceResNet, "width", (3, 56, 56), None),
        (FaceResNet, "outputs", (3, 56, 56), None),
    ],
)
def test_a_setting_that_no_computer_has_memory_for_is_one_line(kind, name, in_shape, outputs, size):
    weights = {"a": torch.zeros(1)}
    for value in (size, str(size)):
        with pytest.raises(UserError) as caught:
            rebuilt_model("run", settings_of(kind, {name: value}), in_shape, outputs, weights)
        assert "\n" not in str(caught.value)
