"""The data sets there are: every module of :mod:`fedpriv.data` that has a ``CARD`` and a ``load``."""

import importlib
import pkgutil
from functools import cache

import fedpriv.data
from fedpriv.data.card import DatasetCard


@cache
def cards() -> dict[str, DatasetCard]:
    """Return every data set's card by name, in alphabetical order.

    Raises:
        ValueError: when a card is not named like its module.
    """
    found: dict[str, DatasetCard] = {}
    for module in pkgutil.iter_modules(fedpriv.data.__path__):
        card = getattr(importlib.import_module(f"fedpriv.data.{module.name}"), "CARD", None)
        if card is None:
            continue
        if card.name != module.name:
            raise ValueError(f"fedpriv.data.{module.name}: its card is named {card.name}")
        found[card.name] = card
    return dict(sorted(found.items()))
