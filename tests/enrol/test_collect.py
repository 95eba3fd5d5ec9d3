"""From cards to an enrolment: everybody once, numbered without gaps, on terms that a run could have."""

import pytest

from fedpriv.config.secure import policy_of
from fedpriv.enrol.collect import collect
from fedpriv.errors import UserError
from fedpriv.he.cards import Card
from fedpriv.he.identity import SigningKey
from tests.conftest import TINY

FINGERPRINT = "0123456789abcdef" * 2
TERMS = {
    "plain": (0, None, ("secure=none",)),
    "authority": (1, FINGERPRINT, ("secure=bfv",)),
    "approximate": (1, FINGERPRINT, ("secure=ckks", "secure.smudging_bits=60")),
    "committee": (2, None, ("secure=bfv_committee", "secure.holders=2")),
    "strict": (
        2,
        None,
        ("secure=bfv_committee", "secure.holders=2", "secure.min_clients=3", "federation.min_replies=3"),
    ),
    "private": (0, None, ("secure=none", "privacy=dp_sgd", "privacy.epsilon=3")),
}


@pytest.mark.parametrize("name", TERMS)
def test_the_enrolment_has_everybodys_key_and_the_policy_of_the_run(federation, tiny, name):
    holders, shared, overrides = TERMS[name]
    cards = [card for _, card in federation(3, holders)]
    enrolment = collect(list(reversed(cards)), overrides, shared)
    loaded = [Card.load(card) for card in cards]
    assert enrolment.clients == {card.number: card.public for card in loaded if card.role == "client"}
    assert enrolment.keyholders == {card.number: card.public for card in loaded if card.role == "holder"}
    assert enrolment.shared_key == shared
    assert enrolment.policy == policy_of(tiny("federation.clients=3", *overrides))


def test_the_order_of_the_cards_is_nothing(federation):
    cards = [card for _, card in federation(3, 0)]
    digests = {collect(cards[n:] + cards[:n], ["secure=none"], None).digest for n in range(3)}
    assert len(digests) == 1


def test_client_level_privacy_is_enrolled_with_the_runs_model(federation):
    overrides = [*TINY, "secure=bfv_committee", "secure.holders=2", "privacy=client_level"]
    enrolment = collect([card for _, card in federation(4, 2)], overrides, None)
    assert (enrolment.policy.unit, enrolment.policy.epsilon) == ("client", 8.0)


def refused(cards, overrides=("secure=none",), shared=None):
    with pytest.raises(UserError) as error:
        collect(cards, overrides, shared)
    return str(error.value)


def test_a_party_with_two_cards_is_refused(federation, site):
    (_, first), (_, second) = federation(2, 0)
    _, again = site("client", 0, "elsewhere")
    said = refused([first, second, again])
    assert said == f"{again}: is of client 0, as {first} is; give one of each party"
    assert (
        refused([first, second, first]) == f"{first}: is of client 0, as {first} is; give one of each party"
    )


def test_one_key_for_two_parties_is_refused(tmp_path):
    key, cards = SigningKey.generate(), []
    for number in range(2):
        cards.append(tmp_path / f"{number}.card.json")
        Card.of("client", number, key).save(cards[-1])
    assert refused(cards) == f"{cards[1]}: has the key of {cards[0]}; every party needs a key of its own"


def test_a_gap_in_the_numbers_is_named(federation):
    cards = [card for _, card in federation(4, 3)]
    assert refused(cards[1:]).startswith("client 0: there is no card of it, but of client 3; ")
    assert refused(cards[:2] + cards[3:]).startswith("client 2: there is no card of it, but of client 3; ")
    assert refused(cards[:5] + cards[6:]).startswith("holder 1: there is no card of it, but of holder 2; ")


def test_no_clients_are_no_federation(federation):
    cards = [card for _, card in federation(0, 1)]
    assert refused(cards).startswith("no client's card is among them")
    assert refused([]).startswith("no client's card is among them")


@pytest.mark.parametrize(
    ("holders", "overrides", "said"),
    [
        (1, ("secure=none",), "no key holders are needed, cards of 1 are given"),
        (0, ("secure=bfv",), "1 key holder is needed, cards of 0 are given"),
        (2, ("secure=bfv",), "1 key holder is needed, cards of 2 are given"),
        (2, ("secure=bfv_committee",), "3 key holders are needed, cards of 2 are given"),
    ],
)
def test_key_holders_are_as_many_as_the_scheme_has(federation, holders, overrides, said):
    assert said in refused([card for _, card in federation(2, holders)], overrides)


def test_a_shared_key_is_named_where_there_is_one_and_nowhere_else(federation):
    cards = [card for _, card in federation(2, 1)]
    assert "fedpriv enrol shared-key" in refused(cards, ["secure=bfv"])
    assert "leave it out" in refused(cards[:2], ["secure=none"], FINGERPRINT)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("federation.clients=4",), "federation.clients=4: 3 are enrolled"),
        (("secure.min_clients=1", "secure=bfv"), "secure.min_clients=1: a sum of one update hides nothing"),
        (("secure.min_clients=4", "secure=bfv"), "secure.min_clients=4: only 3 clients are asked per round"),
        (("secure=ckks", "secure.smudging_bits=8"), "secure.smudging_bits=8: hides too little of the key"),
        (("privacy=dp_sgd", "privacy.delta=null"), "privacy.delta: is missing"),
        (("mode=centralized",), "mode=centralized: has no parties to enrol"),
        (("secure=nothing",), "secure=nothing: "),
        (("secure.min_client=3",), "did you mean secure.min_clients?"),
        (("seed=1,2",), "seed=1,2: are several values"),
    ],
)
def test_terms_that_no_run_could_have_enrol_nobody(federation, overrides, said):
    cards = [card for _, card in federation(3, 1)]
    assert said in refused(cards, overrides, FINGERPRINT)


def test_a_damaged_card_is_named(federation):
    (_, first), (_, second) = federation(2, 0)
    second.write_text(second.read_text().replace('"number": 1', '"number": 2'))
    assert refused([first, second]).startswith(
        f"{second}: signature: is not that of this role, number and key"
    )
