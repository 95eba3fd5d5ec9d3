import pytest
from omegaconf import OmegaConf

from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.saved import restored
from fedpriv.config.schema import Protocol
from fedpriv.errors import UserError
from tests.config.small import SMALL


def nested(depth):
    inner = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


@pytest.fixture
def saved():
    config = compose_run(
        *SMALL, "secure=bfv", "privacy=dp_sgd", "privacy.epsilon=3", "training.batch_size=7", "seed=4"
    )
    return OmegaConf.to_container(config, resolve=True, enum_to_str=True)


def test_what_decides_data_model_and_test_is_kept_and_the_rest_is_not(saved):
    saved["secure"]["key_folder"] = "<hidden>"
    config = restored("a run", saved)
    assert (config.seed, config.evaluation.test_subjects, config.data.people) == (4, 3, 10)
    assert config.model == saved["model"]
    assert config.task == saved["task"]
    assert config.secure.key_folder is None
    assert config.privacy.epsilon == 3.0
    assert config.training.batch_size != 7
    to_json(config)


def test_overrides_change_values_groups_first(saved):
    config = restored(
        "a run", saved, ["data.people=6", "evaluation.protocol=one_person", "data=synthetic_eyes"]
    )
    assert config.data == {
        "_target_": "fedpriv.data.synthetic_eyes.load",
        **{name: compose_run("data=synthetic_eyes").data[name] for name in ("images_per_person", "seed")},
        "people": 6,
    }
    assert config.evaluation.protocol is Protocol.one_person
    assert saved["data"]["people"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": 3}, "a run: data is no group of settings"),
        ({"data": None}, "a run: data is no group of settings"),
        ({"evaluation": {"unheard_of": 1}}, "a run: evaluation.unheard_of: there is no such key"),
        ({"seed": "x"}, "a run: seed=x: needs a whole number"),
        ({"data": {"root": "${nope}"}}, "a run: data.root: Interpolation key 'nope' not found"),
        (
            {"model": {"_target_": "x", "hidden": "${nope:}"}},
            "a run: model.hidden: Unsupported interpolation",
        ),
        ({"task": nested(500)}, "a run: its settings are nested too deeply"),
        ({"privacy": [1]}, "a run: Merge error: list is not a subclass of PrivacyConfig"),
    ],
)
def test_a_configuration_that_is_none_is_refused_with_its_source(saved, change, message):
    with pytest.raises(UserError) as caught:
        restored("a run", {**saved, **change})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=../../etc/passwd", "data=../../etc/passwd: name one data set"),
        ("data._target_=os.system", "data._target_=os.system: bears on no evaluation"),
        ("data=a,b", "data=a,b: one value is needed here"),
        ("~data.seed", "~data.seed: one value is needed here"),
        ("model.hidden=3", "model.hidden=3: bears on no evaluation"),
        ("evaluation=3", "evaluation=3: bears on no evaluation"),
        ("evaluation.every=x", "evaluation.every=x: needs a whole number"),
        ("data.region=${nope}", "data.region: Interpolation key 'nope' not found"),
        ("data.seed=${data.seed}", "data.seed: Recursive interpolation detected"),
        ("data.root=${oc.env:NO_SUCH_VARIABLE}", "data.root: KeyError raised while resolving"),
    ],
)
def test_what_an_evaluation_cannot_change_is_refused(saved, override, message):
    with pytest.raises(UserError) as caught:
        restored("a run", saved, [override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_nothing_is_left_to_interpolate(saved):
    config = restored("a run", saved, ["data.people=${data.seed}", "data.seed=5"])
    assert OmegaConf.to_container(config.data) == {**saved["data"], "seed": 5, "people": 5}


@pytest.mark.parametrize(
    ("in_shape", "overrides", "asked"),
    [
        ((3, 56, 48), ["data=lfw"], {"height": 56, "width": 48, "colour": True}),
        ((1, 56, 56), ["data=verification_bin"], {"height": 56, "width": 56, "colour": False}),
        ((3, 112, 92), ["data=orl"], {"height": 112, "width": 92}),
        ((3, 64, 64), ["data=raf_db"], {"size": 64, "colour": True}),
        ((1, 36, 60), ["data=affectnet", "data.region=eye"], {"size": 48, "colour": False}),
        ((1, 48, 48), ["data=fer2013"], {}),
        ((1, 56, 56), ["data=lfw", "data.height=20"], {"height": 20, "width": 56, "colour": False}),
        ((1, 56, 56), ["data.colour=true", "data=lfw"], {"height": 56, "width": 56, "colour": True}),
        ((2, 56, 56), ["data=lfw"], {"height": 56, "width": 56}),
        ((3, 10**9, 10**9), ["data=lfw"], {"height": 112, "width": 112}),
        ((), ["data=lfw"], {"height": 112, "width": 112}),
        ((1, 64, 64), ["data.people=6"], {"size": 20}),
    ],
    ids=str,
)
def test_named_data_are_asked_for_the_images_that_the_model_takes(saved, in_shape, overrides, asked):
    config = restored("a run", saved, overrides, in_shape)
    fitted = ("height", "width", "size", "colour")
    assert {name: config.data[name] for name in fitted if name in config.data} == asked
