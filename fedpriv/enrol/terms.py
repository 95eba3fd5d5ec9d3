"""The terms that a federation is enrolled on, from the overrides of the runs that it is meant for."""

from collections.abc import Sequence

from fedpriv.config.check_privacy import check_privacy
from fedpriv.config.check_secure import check_secure
from fedpriv.config.check_values import check_federation, check_numbers
from fedpriv.config.given import compose_given
from fedpriv.config.schema import Mode, RunConfig
from fedpriv.errors import UserError


def run_for(overrides: Sequence[str], clients: int | None = None) -> RunConfig:
    """Compose and check what parties agree on: numbers, privacy, federation, encryption.

    Images are loaded with ``privacy.unit=client`` only, whose plan depends on the size of the model.

    Args:
        overrides: as ``fedpriv run`` takes them; ``secure.key_folder`` has no effect.
        clients: the number enrolled, which ``federation.clients`` then is; None leaves that to the overrides.

    Raises:
        UserError: for what ``fedpriv run`` would refuse of these, and for another number of clients.
    """
    counted = [] if clients is None else [f"federation.clients={clients}"]
    config = compose_given([*counted, *overrides])
    config.secure.key_folder = None
    if config.mode is not Mode.federated:
        raise UserError(f"mode={config.mode.value}: has no parties to enrol; leave it out")
    if clients is not None and config.federation.clients != clients:
        raise UserError(
            f"federation.clients={config.federation.clients}: {clients} are enrolled; leave it out, or enrol "
            "as many"
        )
    check_numbers(config)
    check_privacy(config)
    check_federation(config)
    check_secure(config)
    return config
