"""Hydra's compositions share what they read: hundreds of tests compose from the same unchanging files."""

import pickle
from collections.abc import Iterable
from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.plugins.config_source import ConfigSource

from fedpriv.config.compose import CONFIGS


def share() -> None:
    """Have every composition in this process start from copies of what another one has read and merged.

    Both steps depend on nothing but the files in question and which of them were chosen. Parsing overrides,
    choosing files and checking values stay as they are. A search path that is not our own is read anew.
    """
    if hasattr(ConfigRepository.load_config, "__wrapped__"):
        return
    load, merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list
    kept: dict[tuple[Any, ...], bytes] = {}

    @wraps(load)
    def load_config(self: ConfigRepository, config_path: str) -> Any:
        places = _places(self.sources)
        if places is None:
            return load(self, config_path)
        key = (places, config_path)
        if key not in kept:
            kept[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(kept[key])  # noqa: S301 - made above

    @wraps(merge)
    def compose(self: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
        places = _places(repo.get_sources())
        if places is None:
            return merge(self, defaults, repo)
        key = (places, repr(defaults))
        if key not in kept:
            kept[key] = pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(kept[key])  # noqa: S301 - made above

    ConfigRepository.load_config = load_config  # type: ignore[method-assign]
    ConfigLoaderImpl._compose_config_from_defaults_list = compose  # type: ignore[method-assign]


def _places(sources: Iterable[ConfigSource]) -> tuple[str, ...] | None:
    """Return where these sources look, or None if one is a folder that a test may change."""
    places = tuple(source.full_path() for source in sources)
    fixed = all(place == f"file://{CONFIGS}" or not place.startswith("file://") for place in places)
    return places if fixed else None
