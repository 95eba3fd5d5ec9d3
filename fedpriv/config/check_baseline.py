"""What is asked for beside ``privacy.epsilon=inf``: refused as beside a finite one, before it is dropped."""

from typing import cast

from omegaconf import DictConfig, OmegaConf

from fedpriv.config.as_json import typed
from fedpriv.config.baseline import asked_privacy
from fedpriv.config.check_privacy import check_privacy
from fedpriv.config.check_values import check_federation, check_numbers
from fedpriv.config.ledger import check_ledger_settings
from fedpriv.config.privacy import build_client_level
from fedpriv.config.schema import Mode, RunConfig
from fedpriv.errors import UserError

_FINITE = 1e6
"""Stands for infinity in the checks: what is within reach of a smaller epsilon is within reach of this."""


def check_asked(config: DictConfig | RunConfig) -> None:
    """Check what :func:`fedpriv.config.baseline.without_infinity` is about to drop.

    A sweep of which the finite runs pass passes, but for the two settings that only a finite epsilon obeys: a
    budget over all runs, and an audit.

    Edge cases:
        - What depends on the data, as delta does on its size, is left to the finite runs.

    Args:
        config: as composed; without an infinite epsilon nothing is checked.

    Raises:
        UserError: for the first setting that is impossible, contradicts another or would be passed over.
    """
    if asked_privacy(cast(RunConfig, config)) is None:
        return
    finite = typed(cast(DictConfig, OmegaConf.merge(config, {"privacy": {"epsilon": _FINITE}})))
    limit = finite.privacy.lifetime_epsilon
    if limit is not None:
        raise UserError(
            f"privacy.epsilon=inf: passes privacy.lifetime_epsilon={limit}; choose a finite epsilon, or set "
            "privacy.lifetime_epsilon=null"
        )
    if finite.audit.enabled:
        raise UserError(
            "audit.enabled=true: a run with privacy.epsilon=inf claims nothing; choose a finite epsilon"
        )
    check_numbers(finite)
    check_privacy(finite)
    check_ledger_settings(finite)
    if finite.mode is Mode.federated:
        check_federation(finite)
        build_client_level(finite)
