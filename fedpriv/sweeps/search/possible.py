"""Which trials of a search can be run: asked before one is launched, and when one was refused."""

from collections.abc import Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.datasets import forget_data
from fedpriv.config.early_check import refusal
from fedpriv.config.explain import explain
from fedpriv.errors import UserError
from fedpriv.sweeps.keys import job_key
from fedpriv.sweeps.search.space import Space, Value


class Possible:
    """Composes the configurations of a search's trials."""

    def __init__(self, config: DictConfig, loader: ConfigLoader, space: Space) -> None:
        """Take the command's configuration, with Hydra's settings, and the space."""
        self._config, self._loader, self._space = config, loader, space

    def require(self) -> None:
        """Refuse a search of which the two ends of the space are refused.

        Raises:
            UserError: with the first one's reason.
            HydraException: when they cannot be composed.
        """
        said = [self._said(corner) for corner in self._space.corners()]
        if all(said):
            raise UserError(f"both ends of the space are refused: {said[0]}")

    def refused(self, params: Mapping[str, Value]) -> str | None:
        """Say why a trial cannot be composed: a launcher would end the whole search with it.

        Raises:
            UserError: when that is no fault of its settings: configurations were changed meanwhile.
        """
        why = self._composed(self._space.overrides(params))
        if why is not None and (common := self._composed(self._space.fixed)) is not None:
            raise UserError(f"no trial can be composed any more: {common}")
        return why

    def possible(self, params: Mapping[str, Value]) -> bool:
        """Tell whether the settings of a trial that can be composed are such that it could begin."""
        return self._said(params) is None

    def _said(self, params: Mapping[str, Value]) -> str | None:
        said = refusal(self._loader.load_sweep_config(self._config, self._space.overrides(params)))
        if not str(self._config.hydra.launcher.get("_target_")).endswith(".BasicLauncher"):
            forget_data()  # jobs are run in other processes
        return said

    def _composed(self, overrides: Sequence[str]) -> str | None:
        try:
            job_key(self._loader.load_sweep_config(self._config, list(overrides)))
        except (HydraException, OmegaConfBaseException) as error:
            return explain(error)
        return None
