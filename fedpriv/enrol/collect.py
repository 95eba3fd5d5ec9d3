"""From everybody's cards to one enrolment: what a coordinator, who holds no secret, puts together."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.config.secure import policy_of
from fedpriv.enrol.shared import shares_key
from fedpriv.enrol.terms import run_for
from fedpriv.errors import UserError
from fedpriv.he.cards import CLIENT, HOLDER, ROLES, Card
from fedpriv.he.identity import MOST_PARTIES, Enrolment
from fedpriv.he.policy import Policy


def collect(cards: Sequence[Path], overrides: Sequence[str], shared_key: str | None) -> Enrolment:
    """Check all cards and return the enrolment, which is not yet written.

    Args:
        cards: everybody's, in any order.
        overrides: of the runs that the federation is meant for; they make the policy.
        shared_key: fingerprint of the key that clients and key holder share; None where they share none.

    Raises:
        UserError: for a card that does not check, a party with two or with none, a number of parties that
            the overrides do not have, and a fingerprint that is missing or means nothing.
    """
    found = _load(cards)
    numbers = {role: sorted(number for each, number in found if each == role) for role in ROLES}
    for role, present in numbers.items():
        missing = next((number for number, at in enumerate(present) if number != at), None)
        if missing is not None:
            raise UserError(
                f"{role} {missing}: there is no card of it, but of {role} {present[-1]}; numbers go from 0 "
                "without gaps"
            )
    if not numbers[CLIENT]:
        raise UserError("no client's card is among them; give everybody's, e.g. client-0.card.json")
    policy = policy_of(run_for(overrides, len(numbers[CLIENT])))
    if len(numbers[HOLDER]) != policy.holders:
        raise UserError(
            f"secure.scheme={policy.scheme}, secure.keys={policy.keys}: {_count(policy.holders)} needed, "
            f"cards of {len(numbers[HOLDER])} are given; give as many, or set secure=... and secure.holders"
        )
    _check_shared_key(policy, shared_key)
    public = {role: {number: found[role, number].public for number in numbers[role]} for role in ROLES}
    return Enrolment(public[CLIENT], public[HOLDER], shared_key, policy)


def _load(paths: Sequence[Path]) -> dict[tuple[str, int], Card]:
    if len(paths) > 2 * MOST_PARTIES:
        raise UserError(f"{len(paths)} cards: at most {MOST_PARTIES} of a role can be enrolled")
    cards: dict[tuple[str, int], Card] = {}
    sources: dict[tuple[str, int], Path] = {}
    keys: dict[bytes, Path] = {}
    for path in paths:
        card = Card.load(path)
        party = card.role, card.number
        if party in cards:
            raise UserError(
                f"{path}: is of {card.role} {card.number}, as {sources[party]} is; give one of each party"
            )
        if card.public in keys:
            raise UserError(f"{path}: has the key of {keys[card.public]}; every party needs a key of its own")
        cards[party], sources[party], keys[card.public] = card, path, path
    return cards


def _check_shared_key(policy: Policy, shared_key: str | None) -> None:
    if shares_key(policy) and shared_key is None:
        raise UserError(
            "--shared-key-fingerprint: is missing; key holder 0 gets it from `fedpriv enrol shared-key`, for "
            f"secure.keys={policy.keys}"
        )
    if not shares_key(policy) and shared_key is not None:
        raise UserError(
            f"--shared-key-fingerprint: has no effect, with secure.scheme={policy.scheme} and "
            f"secure.keys={policy.keys} no key is shared; leave it out"
        )


def _count(holders: int) -> str:
    return "1 key holder is" if holders == 1 else f"{holders or 'no'} key holders are"
