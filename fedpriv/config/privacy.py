"""From a configuration to what differential privacy costs and adds: of images, or of clients."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TypedDict

from fedpriv.config.as_json import from_json, shared
from fedpriv.config.models import layout_of
from fedpriv.config.schema import Clipping, Correlation, NoiseBy, NoiseSource, Order, PrivacyUnit, RunConfig
from fedpriv.errors import UserError
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.adaptive_clipping import AdaptiveClipping, vote_of
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.matrix_mechanism import INDEPENDENT, MOST_BANDS, square_root
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client
from fedpriv.privacy.sum_plan import SumPlan, plan_sum
from fedpriv.results import RoundResult


def build_privacy(config: RunConfig) -> PrivacySettings | None:
    """Return the sample-level settings, or None without differential privacy at that level.

    Raises:
        UserError: when delta is missing, or the settings contradict each other.
    """
    privacy = config.privacy
    if privacy.unit is not PrivacyUnit.sample:
        return None
    try:
        return PrivacySettings(
            clipping_norm=privacy.clipping_norm,
            noise=privacy.noise.value,
            gradients=privacy.gradients.value,
            **_target_of(config),
        )
    except ValueError as error:
        raise UserError(f"privacy.{error}") from error


def plan_of(config: RunConfig) -> Callable[[int], SamplePlan] | None:
    """Return the plan of a client of so many images, as a function; None without sample-level privacy.

    Raises:
        UserError: see :func:`build_privacy`.
    """
    settings, training = build_privacy(config), config.training
    if settings is None:
        return None
    return lambda images: plan_for_client(
        settings, images, training.batch_size, training.local_epochs, config.federation.rounds
    )


def stated(config: RunConfig, last: RoundResult) -> Spent | None:
    """Return what a run states to be spent after a round; None without differential privacy.

    Edge cases:
        - Where no party has released anything, 0 is spent: before round 1, or where budgets allow none.
    """
    privacy = config.privacy
    if privacy.unit is PrivacyUnit.none or privacy.delta is None:
        return None
    accountant = "zcdp" if privacy.unit is PrivacyUnit.client else "prv"
    return Spent(last.epsilon or 0.0, last.delta or privacy.delta, last.accountant or accountant)


def build_client_level(config: RunConfig) -> ClientLevel | None:
    """Return the client-level privacy of a run, or None without.

    Raises:
        UserError: when the target is out of reach, or the settings contradict each other.
    """
    plan = sum_plan_of(config)
    if plan is None:
        return None
    seed = config.seed if config.privacy.noise is NoiseSource.fast else None
    return ClientLevel(plan, seed, _adaptive(config))


def _adaptive(config: RunConfig) -> AdaptiveClipping | None:
    privacy = config.privacy
    if privacy.clipping is Clipping.fixed:
        return None
    try:
        return AdaptiveClipping(privacy.clipping_norm, privacy.target_quantile, privacy.clipping_rate)
    except ValueError as error:
        raise UserError(f"privacy.{error}") from error


def turns_of(config: RunConfig) -> int | None:
    """Return how many groups of clients take turns; None where cohorts are drawn at random."""
    federation = config.federation
    if federation.order is Order.random:
        return None
    return -(-federation.clients // (federation.cohort or federation.clients))


def bands_of(config: RunConfig) -> int:
    """Return over how many rounds noise is correlated: ``privacy.bands``, or as many as there are groups."""
    if config.privacy.correlation is Correlation.none:
        return 1
    return config.privacy.bands or min(turns_of(config) or 1, MOST_BANDS)


def relation_of(config: RunConfig) -> str | None:
    """Return which neighbours a run's epsilon tells apart, for records and people; None without one."""
    plans: dict[PrivacyUnit, type[SamplePlan | SumPlan]]
    plans = {PrivacyUnit.sample: SamplePlan, PrivacyUnit.client: SumPlan}
    plan = plans.get(config.privacy.unit)
    return None if plan is None else plan.relation


def sum_plan_of(config: RunConfig) -> SumPlan | None:
    """Return the plan of a run's noisy sums; None without client-level privacy.

    With ``privacy.noise_by=clients`` every round has the noise of at least ``federation.min_replies``
    clients.

    Raises:
        UserError: see :func:`build_client_level`.
    """
    if config.privacy.unit is not PrivacyUnit.client:
        return None
    # the run's name has no part in it: one plan, and one table of its noise, for a whole process
    return _sum_plan(json.dumps({**shared(config), "run_id": None}))


@lru_cache(maxsize=2)
def _sum_plan(text: str) -> SumPlan:
    from fedpriv.he.packing_plan import quantisation_step  # on use: a plain run needs no encryption

    config = from_json(text)
    privacy, federation = config.privacy, config.federation
    adaptive, step = _adaptive(config), quantisation_step(config.secure.bits, config.secure.value_range)
    bands = bands_of(config)
    try:
        return plan_sum(
            clipping_norm=privacy.clipping_norm,
            step=step,
            dimension=layout_of(text).size + (adaptive is not None),
            contributors=federation.min_replies if privacy.noise_by is NoiseBy.clients else 1,
            rounds=federation.rounds,
            where=privacy.noise_by.value,
            vote=0 if adaptive is None else vote_of(privacy.clipping_norm, step),
            matrix=INDEPENDENT if bands == 1 else square_root(bands),
            separation=turns_of(config) or 1,
            **_target_of(config),
        )
    except ValueError as error:
        raise UserError(f"privacy.{error}") from error


class _Target(TypedDict):
    """What is asked for: an epsilon or a noise multiplier, at a delta."""

    epsilon: float | None
    delta: float
    noise_multiplier: float | None


def _target_of(config: RunConfig) -> _Target:
    """Return the target, once it is one.

    Raises:
        UserError: when delta is missing, or not exactly one of the others is given.
    """
    privacy = config.privacy
    if privacy.delta is None:
        raise UserError(
            "privacy.delta: is missing; epsilon means nothing without it, e.g. privacy.delta=1e-5"
        )
    if (privacy.epsilon is None) == (privacy.noise_multiplier is None):
        raise UserError(
            f"privacy.epsilon={privacy.epsilon}, privacy.noise_multiplier={privacy.noise_multiplier}: "
            "need exactly one; set the other to null"
        )
    return {
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "noise_multiplier": privacy.noise_multiplier,
    }
