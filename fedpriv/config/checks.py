"""Refusals before anything starts: one line that names the key and the mend."""

from fedpriv.config.as_json import to_json
from fedpriv.config.audit import check_audit, check_audit_fits
from fedpriv.config.check_personal import check_personal
from fedpriv.config.check_privacy import check_plan, check_privacy
from fedpriv.config.check_relays import check_relays, check_served
from fedpriv.config.check_secure import check_opening, check_secure
from fedpriv.config.check_values import check_federation, check_numbers, check_places
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.ledger import check_ledger
from fedpriv.config.models import build_largest_head, layout_of
from fedpriv.config.privacy import sum_plan_of
from fedpriv.config.schema import Mode, RunConfig, Scheme
from fedpriv.config.secure import update_codec_of
from fedpriv.config.training import build_centralized, build_personalisation, build_strategy
from fedpriv.errors import UserError
from fedpriv.privacy.sum_plan import update_length


def check(config: RunConfig) -> None:
    """Check a whole configuration, cheap checks first; builds everything but trains nothing.

    Raises:
        UserError: for the first impossible value or combination.
    """
    check_numbers(config)
    check_privacy(config)
    check_audit(config)
    check_places(config)
    check_ledger(config)
    check_relays(config)
    check_personal(config)
    if config.mode is not Mode.federated:
        _check_alone(config)
    else:
        check_federation(config)
        check_secure(config)
        build_strategy(config)
    text = to_json(config)
    task, training, test = build_data(text)
    if not len(training):
        raise UserError(
            f"data._target_={config.data['_target_']}: all of it is test data; train on another data set and "
            "use `fedpriv evaluate`"
        )
    check_served(config, task, test)
    layout = layout_of(text)  # refuses parts of a model that cannot be averaged
    check_audit_fits(config, layout.size)
    if config.mode is Mode.federated:
        check_opening(config, update_length(layout.size, sum_plan_of(config)))
    if config.mode is Mode.centralized:
        whose, smallest = "the training set's", len(training)
    else:
        shares = build_shares(config, training)
        whose, smallest = "the smallest client's", min(map(len, shares))
        if config.mode is Mode.federated:
            update_codec_of(text)  # names of layers that do not exist
        build_largest_head(text, shares)  # one client's people may be more than the task can tell apart
    check_plan(config, whose, smallest)
    if config.mode is Mode.centralized:
        build_centralized(text)  # one head for all people may be more than the task can make
    build_personalisation(text)  # a task whose clients cannot judge by themselves


def _check_alone(config: RunConfig) -> None:
    if config.secure.scheme is not Scheme.plain:
        raise UserError(
            f"secure.scheme={config.secure.scheme.value}: has no effect, mode={config.mode.value} sends no "
            "updates; use secure=none or mode=federated"
        )
    if config.mode is Mode.local and config.federation.clients < 1:
        raise UserError(f"federation.clients={config.federation.clients}: must be positive")
