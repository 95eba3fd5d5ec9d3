"""Every data set has a card, a loader and a YAML; adding one costs one file and one YAML."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from fedpriv.data.registry import cards

CONFIGS = Path(__file__).parents[2] / "configs" / "data"


def test_every_choice_of_data_has_a_card_and_every_card_is_a_choice():
    assert set(cards()) == {path.stem for path in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(cards()))
def test_the_yaml_calls_the_loader_with_arguments_it_has(name):
    spec = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert spec.pop("_target_") == f"fedpriv.data.{name}.load"
    loader = importlib.import_module(f"fedpriv.data.{name}").load
    inspect.signature(loader).bind(**spec)


@pytest.mark.parametrize("name", sorted(cards()))
def test_every_card_says_licence_source_and_protocol(name):
    card = cards()[name]
    assert all(str(value).strip() for value in vars(card).values())
    assert card.source == "rendered" or card.source.startswith(("https://", "http://"))
    assert set(card.tasks) <= {"gaze", "emotion", "face", "classification"}
    if card.source != "rendered":
        with pytest.raises(Exception, match=r"data\.root=/nowhere/at/all: .*") as refused:
            importlib.import_module(f"fedpriv.data.{name}").load(root="/nowhere/at/all")
        assert type(refused.value).__name__ == "UserError"
        assert "\n" not in str(refused.value)
