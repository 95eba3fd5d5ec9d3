"""The Hydra entry: one experiment, or many with ``-m``.

python -m experiments.run task=gaze privacy=dp_sgd secure=bfv federation.clients=8
python -m experiments.run -m seed=0,1,2 strategy=fedavg,fedprox
"""

import atexit
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from fedpriv.config.compose import CONFIGS
from fedpriv.config.explain import explain, explain_group
from fedpriv.config.schema import register
from fedpriv.config.tracking_address import refusal_of_address
from fedpriv.errors import UserError
from fedpriv.sweeps.callback import launched
from fedpriv.sweeps.plugin import register as register_search

register()
register_search()


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def _run(config: Any) -> float:
    if not gc.isenabled():  # see main; what is imported by now stays to the end
        gc.freeze()
        gc.enable()
    settings = HydraConfig.get()
    if settings.mode is RunMode.MULTIRUN:
        from fedpriv.sweeps.job import run_job
        from fedpriv.sweeps.search.pruning import watcher

        report = run_job(config, settings, on_round=watcher(settings, config.federation.rounds))
        return float("nan") if report.value is None or report.state == "failed" else report.value
    from fedpriv.runner import run

    logging.getLogger("flwr").handlers.clear()  # it writes its lines itself and again through the root
    if sys.stderr.isatty():
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                # the progress display counts clients' failures; the log file has all
                handler.setLevel(logging.WARNING)
                handler.addFilter(lambda record: record.name != "fedpriv.client")
    try:
        done = run(config, list(settings.overrides.task), Path(settings.runtime.output_dir), Console())
    except UserError as error:
        sys.exit(_refuse(str(error)))  # as SystemExit, so that Hydra adds no lines of its own
    return done.history[-1].metrics.get(done.metric, float("nan"))


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    for argument in sys.argv[1:]:
        # before Hydra writes it to its files, or repeats it as what it cannot read
        for part, field in (("tracking", "tracking.uri"), ("hydra.sweeper", "hydra.sweeper.storage")):
            if part in argument and (said := refusal_of_address(argument, field)) is not None:
                sys.exit(_refuse(said))
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that errors reach us instead of being printed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that keys, runs and workers are put away
    gc.disable()  # looking for garbage among what is imported takes a sixth of the start, and there is none
    atexit.register(gc.freeze)  # nor among all that a process leaves when it ends, which takes a second
    try:
        with launched():
            _run()
    except KeyboardInterrupt:
        sys.exit(130)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        # before the others: Hydra's are OSErrors and OmegaConf's are ValueErrors too
        sys.exit(_refuse(explain(error)))
    except OSError as error:
        sys.exit(_refuse(f"{error.filename or 'file'}: {error.strerror or error}; choose another place"))
    except ValueError as error:
        line = explain_group(error, sys.argv[1:], CONFIGS)
        if line is None:
            raise
        sys.exit(_refuse(line))
    finally:
        gc.enable()


def _refuse(message: str) -> int:
    print(f"fedpriv: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
