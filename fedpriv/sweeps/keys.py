"""Names of what a job computes, so that it is computed once."""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fedpriv import __version__
from fedpriv.config.schema import PrivacyUnit, RunConfig

_DIGITS = 32
_WHERE = (
    ("tracking",),
    ("run_id",),
    ("first_run_id",),
    ("engine", "workers"),
    ("engine", "threads"),
    ("secure", "key_folder"),
)
"""What only says where a run writes and with how many cores."""


def job_key(config: DictConfig | RunConfig) -> str:
    """Return the name of what a configuration computes: 32 hexadecimal digits of a SHA-256.

    Hashed are fedpriv's version and the resolved configuration with the schema's defaults, as JSON with
    sorted names. Left out is what says where: Hydra's own settings, tracking, run ids, workers and threads,
    the folder of keys.

    Edge cases:
        - The ledger's folder is in it where the run is charged to one: what one ledger has been charged with
          is no other's, and a run that was charged to none is not one that is. ``default`` is the folder
          that it stands for here and now.
        - The data is in it by its settings only: other files under the same ``data.root`` are the same key.
        - ``privacy.epsilon=inf`` and ``privacy=none`` compute the same and have different keys, for they are
          recorded as what was asked for.

    Args:
        config: as composed, with or without Hydra's settings.

    Raises:
        OmegaConfBaseException: when it does not obey the schema, or cannot be resolved.
    """
    plain = plain_config(config)
    if not plain["relays"]["enabled"]:
        del plain["relays"]  # nothing of the run depends on it
    if isinstance(root := plain["data"].get("root") if isinstance(plain["data"], dict) else None, str):
        plain["data"]["root"] = _resolved(root)
    privacy = plain["privacy"]
    if privacy["unit"] == PrivacyUnit.none.name or privacy["epsilon"] == math.inf:
        del privacy["ledger"]  # nothing is charged
    elif privacy["ledger"] is not None:
        privacy["ledger"] = _ledger(privacy["ledger"])
    for *groups, name in _WHERE:
        group = plain
        for each in groups:
            group = group[each]
        del group[name]
    return _digest({"version": __version__, "config": plain})


def sweep_key(kind: str, parts: Iterable[str]) -> str:
    """Return the name of a sweep: 32 digits as :func:`job_key` has, of its kind and jobs, in order."""
    return _digest({"kind": kind, "jobs": list(parts)})


def plain_config(config: DictConfig | RunConfig) -> dict[str, Any]:
    """Return a configuration with the schema's defaults as nested plain values, without Hydra's settings."""
    own = cast(DictConfig, config)
    own = OmegaConf.masked_copy(own, [str(name) for name in own if name != "hydra"])
    merged = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.to_container(own, resolve=True))
    return cast(dict[str, Any], OmegaConf.to_container(merged, resolve=True, enum_to_str=True))


def _ledger(chosen: str) -> str:
    from fedpriv.config.ledger import DEFAULT  # on use: it loads much
    from fedpriv.privacy.ledger import default_folder

    return _resolved(str(default_folder()) if chosen == DEFAULT else chosen)


def _resolved(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (RuntimeError, OSError, ValueError):  # no path; the job is refused for it
        return path


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
