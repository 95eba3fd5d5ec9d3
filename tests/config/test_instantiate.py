import importlib
import pkgutil
import sys
import types

import pytest
from torch import nn

import fedpriv
from fedpriv.config.instantiate import ALLOWED_PREFIXES, instantiate
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.federated.strategy.base import Strategy
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.models.small_cnn import SmallCNN
from fedpriv.tasks.base import Task

CNN = "fedpriv.models.small_cnn.SmallCNN"


def test_a_target_is_called_with_its_arguments_and_what_is_given():
    made = instantiate(
        "model", {"_target_": CNN, "hidden": 7}, kind=nn.Module, in_shape=(1, 20, 20), outputs=2
    )
    assert isinstance(made, SmallCNN)
    assert (made.hidden.out_features, made.features) == (7, 2)


def test_numbers_are_converted_to_what_the_signature_says():
    made = instantiate(
        "strategy", {"_target_": "fedpriv.federated.strategy.fedavg.FedAvg", "server_learning_rate": 2}
    )
    assert isinstance(made, FedAvg)
    assert type(made.server_learning_rate) is float


OUTSIDE = [
    "os.system",
    "builtins.eval",
    "torch.hub.load",
    "fedpriv.runner.run",
    "fedpriv.modelsx.small_cnn.SmallCNN",
    "fedpriv.he.keys.load_key",
]
THROUGH = [
    "fedpriv.models.small_cnn.torch.hub.load",
    "fedpriv.models.gaze_cnn.torch.hub.load",
    "fedpriv.models.small_cnn.torch",
    "fedpriv.models.small_cnn.nn",
    "fedpriv.models.small_cnn.nn.Linear",
    "fedpriv.models.small_cnn.SmallCNN.load_state_dict",
    "fedpriv.models.small_cnn.SmallCNN.__init__",
    "fedpriv.models.small_cnn.__builtins__",
    "fedpriv.models.small_cnn.__doc__",
    "fedpriv.data.partition.iid.np.save",
    "fedpriv.data.partition.iid.generator",
    "fedpriv.data.partition.people.UserError",
    "fedpriv.data.partition.dirichlet._labels",
    "fedpriv.data.cache.os.system",
    "fedpriv.data.synthetic_patterns.ImageDataset",
    "fedpriv.models.",
    "fedpriv.models..small_cnn",
    "fedpriv.models.small_cnn.",
    "fedpriv.models.nope.X",
]


@pytest.mark.parametrize("target", OUTSIDE + THROUGH)
def test_guarantee_what_is_not_defined_in_an_allowed_module_is_out_of_reach(target):
    with pytest.raises(UserError, match=r"not allowed|no such object") as caught:
        instantiate("model", {"_target_": target})
    assert str(caught.value).startswith(f"model._target_={target}: ")


def test_guarantee_an_object_smuggled_into_an_allowed_module_is_refused(monkeypatch):
    called = []

    def harm():
        called.append(1)

    monkeypatch.setattr(sys.modules["fedpriv.models.small_cnn"], "harm", harm, raising=False)
    with pytest.raises(UserError, match="not allowed; name a public class or function where it is defined"):
        instantiate("model", {"_target_": "fedpriv.models.small_cnn.harm"})
    assert not called


KINDS = {"task": Task, "data": ImageDataset, "model": nn.Module, "strategy": Strategy}


@pytest.mark.parametrize(
    ("field", "target"),
    [
        ("model", "fedpriv.tasks.gaze.GazeTask"),
        ("task", CNN),
        ("task", "fedpriv.tasks.base.Task"),
        ("strategy", "fedpriv.federated.strategy.base.Strategy"),
        ("data", "fedpriv.data.cache.cached_arrays"),
        ("data", "fedpriv.data.partition.iid.iid"),
        ("data", CNN),
    ],
)
def test_guarantee_what_makes_another_kind_is_refused_uncalled(field, target):
    with pytest.raises(UserError) as caught:
        instantiate(field, {"_target_": target}, kind=KINDS[field])
    assert (
        str(caught.value)
        == f"{field}._target_={target}: makes no {field}; choose one of configs/{field}/*.yaml"
    )


def reachable(kind):
    """Every target that a configuration could name for ``kind``."""
    found = []
    for prefix in ALLOWED_PREFIXES:
        package = importlib.import_module(prefix.rstrip("."))
        for info in pkgutil.walk_packages(package.__path__, prefix):
            for name in vars(importlib.import_module(info.name)):
                target = f"{info.name}.{name}"
                try:
                    instantiate("x", {"_target_": target, "no_such_argument": 1}, kind=kind)
                except UserError as error:
                    if "has no such key" in str(error):
                        found.append(target)
    return found


def test_all_that_a_configuration_can_reach_is_ours_and_of_its_kind():
    assert set(reachable(ImageDataset)) >= {
        "fedpriv.data.synthetic_eyes.load",
        "fedpriv.data.identity_folder.load",
    }
    for target in reachable(ImageDataset):
        assert target.startswith("fedpriv.data."), target
    for kind, package in (
        (nn.Module, "fedpriv.models."),
        (Task, "fedpriv.tasks."),
        (Strategy, "fedpriv.federated."),
    ):
        targets = reachable(kind)
        assert targets
        for target in targets:
            assert target.startswith(package), target


@pytest.mark.parametrize(
    "value", [{"_target_": "os.system"}, {"inner": {"_target_": "os.system"}}, [{"_target_": "os.system"}]]
)
def test_edge_a_nested_target_is_refused_at_any_depth(value):
    with pytest.raises(UserError, match=r"_target_=os\.system: not allowed inside an argument; remove it"):
        instantiate("model", {"_target_": CNN, "hidden": value}, in_shape=(1, 20, 20), outputs=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "inf", "-inf", "nan", [1.0, float("nan")]])
def test_edge_numbers_that_are_not_finite_are_refused(value):
    target = "fedpriv.federated.strategy.fedavg.FedAvg"
    with pytest.raises(UserError, match=r"^strategy\.server_learning_rate.*: needs a finite number"):
        instantiate("strategy", {"_target_": target, "server_learning_rate": value})


@pytest.mark.parametrize("key", ["_partial_", "_args_", "_recursive_", "_convert_"])
def test_hydras_own_switches_are_not_arguments(key):
    with pytest.raises(UserError, match=f"model.{key}=True: model has no such key"):
        instantiate("model", {"_target_": CNN, key: True}, in_shape=(1, 20, 20), outputs=2)


@pytest.mark.parametrize("spec", [{}, {"_target_": 3}, {"_target_": None}, None, "x", []])
def test_a_group_without_a_target_is_refused(spec):
    with pytest.raises(UserError, match=r"model: names no _target_; choose one of configs/model/\*\.yaml"):
        instantiate("model", spec)


def test_a_missing_argument_is_named_with_the_way_to_give_it():
    with pytest.raises(
        UserError, match=r"^data\.root: is missing; give it on the command line as data\.root=\.\.\.$"
    ):
        instantiate("data", {"_target_": "fedpriv.data.identity_folder.load"})


def test_what_the_run_sets_cannot_be_set_twice():
    with pytest.raises(UserError, match=r"^model\.outputs=3: is set by the run itself; remove it$"):
        instantiate("model", {"_target_": CNN, "outputs": 3}, in_shape=(1, 20, 20), outputs=2)


def test_a_value_that_the_target_refuses_is_a_user_error():
    with pytest.raises(UserError, match=r"^strategy: server_learning_rate=-1\.0 must be positive$"):
        instantiate(
            "strategy", {"_target_": "fedpriv.federated.strategy.fedavg.FedAvg", "server_learning_rate": -1}
        )


def test_the_whitelist_names_only_packages_of_ours():
    for prefix in ALLOWED_PREFIXES:
        assert isinstance(importlib.import_module(prefix.rstrip(".")), types.ModuleType)
        assert prefix.startswith(f"{fedpriv.__name__}.")
        assert prefix.endswith(".")
