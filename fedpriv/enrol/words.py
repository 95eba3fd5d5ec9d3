"""An enrolment in plain words, for people who have to agree to it."""

import re
from collections.abc import Iterator

from fedpriv.errors import UserError
from fedpriv.he.cards import CLIENT, HOLDER, fingerprint
from fedpriv.he.identity import Enrolment
from fedpriv.he.policy import Policy


def grouped(digits: str) -> str:
    """Return hexadecimal digits in groups of four, to be read aloud."""
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def ungrouped(field: str, text: str, digits: int) -> str:
    """Return the hexadecimal digits that somebody typed, with or without groups.

    Raises:
        UserError: unless there are as many as ``digits``.
    """
    joined = "".join(text.split()).lower()
    if not re.fullmatch("[0-9a-f]*", joined) or len(joined) != digits:
        raise UserError(f"{field} {text[:80]!r}: need {digits} hexadecimal digits")
    return joined


def whole(enrolment: Enrolment) -> Iterator[str]:
    """Yield the lines of :func:`roster` and :func:`terms`, and the digest."""
    yield from roster(enrolment)
    if enrolment.policy is not None:  # what is loaded has one
        yield from (f"- {line}" for line in terms(enrolment.policy))
    yield f"digest {grouped(enrolment.digest.hex())}"


def roster(enrolment: Enrolment) -> Iterator[str]:
    """Yield a line for each party with its fingerprint, and one for the key that is shared."""
    for role, parties in ((CLIENT, enrolment.clients), (HOLDER, enrolment.keyholders)):
        for number in sorted(parties):
            yield f"{role} {number}".ljust(13) + grouped(fingerprint(role, number, parties[number]))
    if enrolment.shared_key is not None:
        yield "shared key".ljust(13) + grouped(enrolment.shared_key)


def terms(policy: Policy) -> Iterator[str]:
    """Yield what a party agrees to, a line for each point."""
    if policy.scheme == "plain":
        yield "the server reads every client's update"
    else:
        yield from _encryption(policy)
    if policy.unit == "none":
        yield "differential privacy is not demanded: models may tell about the images"
        return
    whose = "single images" if policy.unit == "sample" else "whole clients"
    yield f"differential privacy protects {whose}; {_budget(policy)}"
    yield "that is for one run; runs are not counted"
    if policy.unit == "client":
        drawn = (
            "its clients" if policy.noise_by == "clients" else "the server, against which it does not protect"
        )
        yield f"its noise is drawn by {drawn}"
    if policy.noise == "fast":
        yield "its noise may follow from the run's seed, and then PROTECTS NOBODY"


def _encryption(policy: Policy) -> Iterator[str]:
    least = f"at least {policy.min_clients} clients"
    yield f"updates are encrypted ({policy.scheme}), and opened as sums only, of {least}"
    if policy.keys == "committee":
        yield f"a sum is opened by all {policy.holders} key holders together; nobody has the whole key"
    else:
        yield "a sum is opened by 1 key holder; clients have the key too, and must not give it to the server"
    if policy.keys == "committee" or policy.scheme == "ckks":
        yield f"key holders add noise, 2^{policy.smudging_bits} times that which could tell about their key"
    if policy.clear:
        yield "PART OF EVERY UPDATE may travel in clear, which the server reads"
    else:
        yield "no part of an update travels in clear"


def _budget(policy: Policy) -> str:
    if policy.epsilon is not None:
        return f"a run may state epsilon {policy.epsilon:g} at delta {policy.delta:g} at most"
    if policy.delta is not None:
        return f"epsilon is NOT BOUNDED, delta at most {policy.delta:g}"
    return "epsilon and delta are NOT BOUNDED"
