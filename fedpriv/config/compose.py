"""Compose a configuration without the command line: for tests, benchmarks and notebooks."""

from pathlib import Path
from typing import cast

from hydra import compose, initialize_config_dir

from fedpriv.config.schema import RunConfig, register

CONFIGS = Path(__file__).parents[2] / "configs"


def compose_run(*overrides: str) -> RunConfig:
    """Return the configuration that ``python -m experiments.run OVERRIDES`` would run."""
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return cast(RunConfig, compose("config", overrides=list(overrides)))
