"""Checks a single run before Hydra makes its output folder, so that a refusal leaves nothing behind."""

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.explain import explain
from fedpriv.errors import UserError


class EarlyCheck(Callback):
    """Ends the process with one line and status 2 when the configuration is impossible.

    A Hydra callback, named in ``configs/config.yaml``. For sweeps see :mod:`fedpriv.sweeps.callback`.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See the class."""
        if (message := refusal(config)) is None:
            return
        print(f"fedpriv: {message}", file=sys.stderr)  # noqa: T201 - Hydra turns exceptions of callbacks into warnings
        sys.exit(2)


def refusal(config: DictConfig) -> str | None:
    """Return in one line why a run cannot begin; None where it can.

    Args:
        config: as composed, with or without Hydra's settings.
    """
    from fedpriv.config.as_json import typed
    from fedpriv.config.check_baseline import check_asked
    from fedpriv.config.checks import check

    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        check_asked(own)
        check(typed(own))
    except UserError as error:
        return str(error)
    except OmegaConfBaseException as error:
        return explain(error)
    return None
