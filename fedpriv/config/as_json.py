"""A run's configuration as the text that every node of the run is given, and its digest."""

import hashlib
import json
from functools import cache, lru_cache
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fedpriv.config.baseline import without_infinity
from fedpriv.config.schema import RunConfig
from fedpriv.errors import UserError


@cache
def _schema() -> DictConfig:
    """Return the schema with its defaults, to merge into: a merge copies, and half its time went in this."""
    return cast(DictConfig, OmegaConf.structured(RunConfig))


def typed(config: DictConfig) -> RunConfig:
    """Return a resolved copy of ``config`` that obeys the schema; an infinite epsilon is no privacy."""
    plain = OmegaConf.to_container(config, resolve=True)
    return without_infinity(cast(RunConfig, OmegaConf.merge(_schema(), plain)))


def to_json(config: RunConfig) -> str:
    """Serialise a resolved configuration: what every node of a run gets, whatever the engine.

    Where the run is tracked, and what is asked of the model after it, stays with the server: nodes get the
    defaults.
    """
    plain = cast(
        dict[str, Any], OmegaConf.to_container(cast(DictConfig, config), resolve=True, enum_to_str=True)
    )
    del plain["relays"]
    return json.dumps({**plain, "tracking": {}})


@lru_cache(maxsize=2)
def from_json(text: str) -> RunConfig:
    """Read what :func:`to_json` wrote, checked against the schema again.

    Raises:
        UserError: for an interpolation. It could read a node's environment, and come out otherwise on
            every node, or every time.
    """
    plain = json.loads(text)
    if "${" in json.dumps(plain):
        raise UserError("configuration: holds ${...}; a node takes values only, resolve it before it is sent")
    return cast(RunConfig, OmegaConf.merge(_schema(), plain))


def shared(config: RunConfig) -> dict[str, Any]:
    """Return what all parties of a run are told alike, as plain values.

    Left out is what is each party's own: where its keys and its privacy ledger lie, what its examples may
    spend over all runs, where the run is tracked, and the relays that the model is asked through after it.
    """
    plain = cast(dict[str, Any], json.loads(to_json(config)))
    plain["secure"]["key_folder"] = None
    plain["privacy"] |= {"ledger": None, "lifetime_epsilon": None}
    return plain


def run_digest(config: RunConfig) -> bytes:
    """Return SHA-256 of all that a node is told of a run, 32 bytes: equal for nodes that train alike.

    Hashed are a domain and :func:`shared`, with the schema's defaults, as JSON: sorted names, ASCII, no
    spaces.
    """
    text = json.dumps(shared(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"fedpriv-run-1\0" + text.encode()).digest()
