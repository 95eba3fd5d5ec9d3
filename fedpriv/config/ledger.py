"""From a configuration to the privacy ledger that its parties charge, and what it says of them."""

from pathlib import Path

from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.schema import Mode, NoiseBy, NoiseSource, PrivacyUnit, RunConfig
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Unit
from fedpriv.privacy.example_set import ExampleSet, said_of_copies
from fedpriv.privacy.ledger import Ledger, default_folder
from fedpriv.privacy.purse import Lifetime, Purse
from fedpriv.training.data import examples_of

DEFAULT = "default"
"""The value of ``privacy.ledger`` for a folder under the state directory of whoever runs the process."""


def ledger_folder(config: RunConfig) -> Path | None:
    """Return where the ledger is; None where nothing is charged."""
    chosen = config.privacy.ledger
    if chosen is None or config.privacy.unit is PrivacyUnit.none:
        return None
    return default_folder() if chosen == DEFAULT else Path(chosen)


def build_purse(config: RunConfig, name: str) -> Purse | None:
    """Return what a run's parties pay with; None where nothing is charged.

    Guarantee:
        - No party that has a budget over all runs takes part in a run without differential privacy, which
          would pass any, or in one whose noise is seeded, which protects nobody and would pass as if it did.

    Args:
        config: of the run.
        name: of the data.

    Raises:
        UserError: when the ledger is damaged or cannot be used, and for such runs.
    """
    limit = config.privacy.lifetime_epsilon
    if limit is not None and config.privacy.unit is PrivacyUnit.none:
        raise UserError(
            f"privacy.lifetime_epsilon={limit}: a run without differential privacy passes it; take part in "
            "runs with privacy=dp_sgd or privacy=client_level"
        )
    seeded = config.privacy.noise is NoiseSource.fast
    if limit is not None and seeded:
        raise UserError(
            f"privacy.lifetime_epsilon={limit}: cannot count privacy.noise=fast, which is seeded and "
            "protects nobody; use privacy.noise=secure"
        )
    folder, delta = ledger_folder(config), config.privacy.delta
    if folder is None or delta is None:
        return None
    ledger = Ledger(folder)
    ledger.check()
    run = config.first_run_id or config.run_id or "unnamed"
    by_server = config.privacy.noise_by is NoiseBy.server
    resumed_as = "" if config.run_id in (None, run) else config.run_id
    return Purse(ledger, run, delta, name, limit, seeded, by_server, resumed_as)


def lifetime(text: str, spent: Spent | None) -> Lifetime | None:
    """Return what all runs have cost the images of a run (JSON), by the worst of its clients.

    Guarantee:
        It is at least ``spent``, what the run says of itself. With client-level privacy that is a
        bound for clients who take part in every round, and the ledger knows who did.

    Returns:
        None without a ledger or without differential privacy.

    Raises:
        UserError: when the ledger is damaged or cannot be used.
    """
    config = from_json(text)
    training = build_data(text)[1]
    purse = build_purse(config, training.name)
    if purse is None:
        return None
    shares = _shares(config, training)
    unit: Unit = "client" if config.privacy.unit is PrivacyUnit.client else "sample"
    return purse.lifetime(shares, unit, spent)


def said_of_shares(text: str) -> str | None:
    """Return what must be said before a run (JSON) that protects images: that some stand there several times.

    None where none do, or without a ledger, which knows images by what they are.
    """
    config = from_json(text)
    if config.privacy.unit is not PrivacyUnit.sample or ledger_folder(config) is None:
        return None
    return said_of_copies(_shares(config, build_data(text)[1]))


def _shares(config: RunConfig, training: ImageDataset) -> list[ExampleSet]:
    """Return what each party of a simulation trains on."""
    if config.mode is Mode.centralized:
        return [examples_of(training)]
    return [examples_of(training.subset(share)) for share in build_shares(config, training)]


def check_ledger(config: RunConfig) -> None:
    """Refuse a ledger that is damaged or cannot be kept where it is, and a budget that no ledger keeps.

    Raises:
        UserError: naming the file or the field.
    """
    check_ledger_settings(config)
    build_purse(config, "")


def check_ledger_settings(config: RunConfig) -> None:
    """Check the settings of the ledger among themselves; the ledger is not looked at.

    Raises:
        UserError: for the first that means nothing.
    """
    privacy = config.privacy
    if privacy.ledger is not None and not privacy.ledger.strip():
        raise UserError("privacy.ledger='': is empty; name a folder, default, or null to keep none")
    if privacy.lifetime_epsilon is not None:
        given = f"privacy.lifetime_epsilon={privacy.lifetime_epsilon}"
        if privacy.unit is PrivacyUnit.none:
            raise UserError(f"{given}: has no effect; add privacy=dp_sgd")
        if privacy.ledger is None:
            raise UserError(
                f"{given}: is kept by the ledger; leave privacy.ledger at default, or name a folder"
            )
        if not privacy.lifetime_epsilon > 0:
            raise UserError(f"{given}: must be positive")
