"""What Hydra sees of the search: a sweeper by the name ``hydra_plugins.fedpriv.Search``."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fedpriv.errors import UserError
from fedpriv.sweeps import joblib_launcher, sweep
from fedpriv.sweeps.search.pruning import NAME


class Search(Sweeper):
    """Runs the jobs that Optuna proposes: ``hydra/sweeper=search``."""

    def __init__(self, **settings: Any) -> None:
        """Keep the settings of ``configs/hydra/sweeper/search.yaml``; :meth:`sweep` checks them."""
        self._settings: Mapping[str, Any] = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a launcher is made of."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Run the search; a mistake ends the command with one line and status 2."""
        from fedpriv.sweeps.search.command import search  # on use: a run needs no Optuna

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task, config=self._config
        )
        try:
            search(self._config, self._context.config_loader, launcher, self._settings, arguments)
        except UserError as error:
            if sweep.current is not None:
                raise
            print(f"fedpriv: {error}", file=sys.stderr)  # noqa: T201
            sys.exit(2)
        return []


def register() -> None:
    """Let Hydra know the sweeper, and the launcher that takes the place of joblib's.

    Hydra takes plugins by names below ``hydra_plugins`` only, and looks for them in the folders of that
    package. Here there is no such folder: the name leads to the class where it is.
    """
    plugins = Plugins.instance()
    plugins.register(Search)
    plugins.class_name_to_class[NAME] = Search
    joblib_launcher.register()
