"""The jobs of a sweep, before any of them starts."""

from collections.abc import Mapping
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from fedpriv.sweeps.keys import job_key
from fedpriv.sweeps.reuse import chosen


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        number: its place in the sweep, from 0.
        settings: what the sweep varies, as ``name=value``, in the order of the command line.
        config: as composed for it, with Hydra's settings.
        key: of what it computes.
        choices: what is chosen for it of groups of the configuration, by group.
    """

    number: int
    settings: tuple[str, ...]
    config: DictConfig
    key: str
    choices: Mapping[str, str]


def is_grid(config: DictConfig) -> bool:
    """Tell whether Hydra's own sweeper makes the jobs: they are known before they start."""
    return str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")


def grid_jobs(config: DictConfig) -> list[Job]:
    """Return the jobs that Hydra's own sweeper makes of a command.

    Args:
        config: of the command, with Hydra's settings.

    Raises:
        HydraException: when a job cannot be composed.
        OmegaConfBaseException: when a job does not obey the schema.
    """
    loader = GlobalHydra.instance().config_loader()
    params = config.hydra.sweeper.get("params") or {}
    lines = [f"{name}={value}" for name, value in params.items()] + list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(lines)
    (grid,) = BasicSweeper.split_arguments(overrides, None)
    varied = {each.get_key_element() for each in overrides if each.is_sweep_override()}
    found = []
    for number, given in enumerate(grid):
        composed = loader.load_sweep_config(config, given)
        settings = tuple(line for line in given if line.partition("=")[0] in varied)
        choices = chosen(given, composed.hydra.runtime.choices)
        found.append(Job(number, settings, composed, job_key(composed), choices))
    return found
