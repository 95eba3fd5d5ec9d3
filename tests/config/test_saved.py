import pytest
from omegaconf import OmegaConf

from fedpriv.config.builders import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.saved import restored
from fedpriv.config.schema import Protocol
from fedpriv.errors import UserError
from tests.config.small import SMALL


@pytest.fixture
def saved():
    config = compose_run(*SMALL, "secure=bfv", "training.batch_size=7", "seed=4")
    return OmegaConf.to_container(config, resolve=True, enum_to_str=True)


def test_what_decides_data_model_and_test_is_kept_and_the_rest_is_not(saved):
    saved["secure"]["key_file"] = "<hidden>"
    config = restored("a run", saved)
    assert (config.seed, config.evaluation.test_subjects, config.data.people) == (4, 3, 10)
    assert config.model == saved["model"]
    assert config.task == saved["task"]
    assert config.secure.key_file is None
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
    ],
)
def test_what_an_evaluation_cannot_change_is_refused(saved, override, message):
    with pytest.raises(UserError) as caught:
        restored("a run", saved, [override])
    assert str(caught.value).startswith(message)
