"""The joint key as clients take it, and every forgery of it."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import assemble, check_joint_key
from fedpriv.he.registry import build_codec
from tests.he.members import HOLDERS, refused
from tests.he.parties import RUN, ceremony, new_run

FUZZ = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_everybody_gets_the_same_key_and_digest(party):
    reveals, endorsements = ceremony(party.members)
    client = party.codec.with_public_key(assemble(reveals, endorsements), RUN, party.enrolment)
    assert {party.codec.holder(folder).digest for folder in party.folders} == {client.digest}
    assert client.digest != party.codec.digest


def test_clients_take_a_key_only_with_every_holders_signature_for_this_run(party):
    reveals, endorsements = ceremony(party.members)
    made, data = party.ceremony, assemble(reveals, endorsements)
    signatures, packed = [blob[:64] for blob in endorsements], endorsements[0][64:]
    strangers = Enrolment({}, {i: SigningKey.generate().public for i in range(HOLDERS)})
    extended = Enrolment({0: SigningKey.generate().public}, party.enrolment.keyholders)
    zero = bytes(len(packed))
    forged = {
        "another key": (b"".join(signatures) + zero, RUN, party.enrolment),
        "another run": (data, new_run(), party.enrolment),
        "other holders": (data, RUN, strangers),
        "another enrolment": (data, RUN, extended),
        "swapped": (b"".join([signatures[1], signatures[0], signatures[2]]) + packed, RUN, party.enrolment),
        "one twice": (b"".join([signatures[0], signatures[0], signatures[2]]) + packed, RUN, party.enrolment),
        "empty signature": (b"".join(signatures[:2]) + bytes(64) + packed, RUN, party.enrolment),
    }
    for lie in forged.values():
        refused("forged", party.codec.with_public_key, *lie)
    missing = b"".join(signatures[:2]) + packed
    for bad in (missing, data[:-1], data + b"\0", b"", data[: 3 * 64]):
        refused("malformed", party.codec.with_public_key, bad, RUN, party.enrolment)
    assert check_joint_key(memoryview(data), made).digest


def test_a_key_outside_the_ring_is_refused_even_with_all_signatures(party):
    made = party.ceremony
    packed = made.wire.pack(np.zeros((len(made.wire.moduli), 8192), np.uint64) + made.wire.moduli)
    digest = made.key_digest(packed)
    signatures = [s.sign(made.statement("endorse", i, digest)) for i, s in enumerate(party.signers)]
    refused("malformed", check_joint_key, b"".join(signatures) + packed, made)


def test_the_server_notices_when_holders_endorse_different_keys(party):
    reveals, endorsements = ceremony(party.members)
    other = endorsements[2][:64] + bytes(len(endorsements[2]) - 64)
    refused("wrong_key", assemble, reveals, [*endorsements[:2], other])
    refused("wrong_key", assemble, reveals[:2], endorsements)
    refused("wrong_key", assemble, [], [])


def test_one_key_of_one_holder_for_another_number_of_holders_is_not_taken(party):
    """Two of the three make a key among themselves: not one that the three have signed."""
    two = build_codec("bfv", 16, keys="committee", holders=2)
    fewer = Enrolment({}, {number: party.enrolment.keyholders[number] for number in range(2)})
    members = [two.member(party.folders[i], i, RUN, party.signers[i], fewer) for i in range(2)]
    data = assemble(*ceremony(members))
    refused("malformed", party.codec.with_public_key, data, RUN, party.enrolment)
    signatures, packed = data[:128], data[128:]
    refused(
        "forged", party.codec.with_public_key, signatures + signatures[:64] + packed, RUN, party.enrolment
    )


@FUZZ
@given(data=st.data())
def test_random_damage_of_a_joint_key_is_refused(party, data):
    size = HOLDERS * 64 + party.ceremony.wire.polynomial_bytes
    key = bytearray(size)
    for offset in data.draw(st.lists(st.integers(0, size - 1), max_size=20)):
        key[offset] = data.draw(st.integers(0, 255))
    refused("forged", party.codec.with_public_key, bytes(key), RUN, party.enrolment)
