"""What compositions of one process share is what each would have read itself."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from omegaconf import OmegaConf

from fedpriv.config.compose import compose_run
from tests.composing import share

CHOICES = [(), ("task=emotion", "secure=bfv"), ("+experiment=quickstart", "federation.rounds=7")]


def unshared(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> object:
    with monkeypatch.context() as patch:
        for owner, name in (
            (ConfigRepository, "load_config"),
            (ConfigLoaderImpl, "_compose_config_from_defaults_list"),
        ):
            patch.setattr(owner, name, getattr(owner, name).__wrapped__)
        return compose_run(*overrides)


@pytest.mark.parametrize("overrides", CHOICES, ids=str)
def test_it_is_the_same_configuration_of_the_same_types(monkeypatch, overrides):
    share()
    compose_run(*overrides)
    ours, alone = compose_run(*overrides), unshared(monkeypatch, *overrides)
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(alone)
    for a, b in [(ours, alone), (ours.federation, alone.federation)]:
        assert OmegaConf.get_type(a) is OmegaConf.get_type(b)
        assert OmegaConf.is_struct(a) == OmegaConf.is_struct(b)
        assert OmegaConf.is_readonly(a) == OmegaConf.is_readonly(b)


def test_what_one_test_changes_no_other_sees():
    share()
    changed = compose_run()
    before = changed.federation.rounds
    changed.federation.rounds = before + 1
    assert compose_run().federation.rounds == before
