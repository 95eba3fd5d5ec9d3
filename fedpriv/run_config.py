"""A run's configuration before it begins and as it is kept: resolved, as plain values, read again."""

import secrets
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.as_json import typed
from fedpriv.config.ledger import DEFAULT
from fedpriv.config.schema import RunConfig
from fedpriv.errors import StaleCheckpoint, UserError


def resolved(config: RunConfig) -> RunConfig:
    """Return a copy with a fresh run id and with paths that hold in any process."""
    own = typed(cast(DictConfig, config))
    own.run_id = secrets.token_hex(16)
    if isinstance(own.data.get("root"), str):
        own.data.root = _absolute("data.root", own.data.root)
    keys = own.secure.key_folder
    if keys is not None and keys.strip():  # an empty one is the check's to refuse
        own.secure.key_folder = _absolute("secure.key_folder", keys)
    ledger = own.privacy.ledger
    if ledger is not None and ledger != DEFAULT and ledger.strip():
        own.privacy.ledger = _absolute("privacy.ledger", ledger)
    return own


def plain_values(config: RunConfig) -> dict[str, Any]:
    """Return it as nested plain values, without what nothing of the run depends on."""
    plain = cast(
        dict[str, Any], OmegaConf.to_container(cast(DictConfig, config), resolve=True, enum_to_str=True)
    )
    if not config.relays.enabled:
        del plain["relays"]  # nothing of a run that asks no relays depends on it
    if not config.evaluation.personalise.enabled:
        del plain["evaluation"]["personalise"]  # nor on these settings
    return plain


def recorded(record: RunRecord, checkpoint: Checkpoint) -> RunConfig:
    """Return the configuration that a run was begun with.

    Raises:
        StaleCheckpoint: when it is damaged.
    """
    try:
        return typed(OmegaConf.create(record.config))
    except (OmegaConfBaseException, ValueError, TypeError, AttributeError) as error:
        raise StaleCheckpoint(
            f"{checkpoint.folder / 'run.json'}: is damaged; run the experiment again"
        ) from error


def _absolute(field: str, path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{field}={path}: is no path ({error}); mend it") from error
