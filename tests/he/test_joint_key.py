"""Making the joint key: what comes out of it, and every lie on the way."""

import copy
import hashlib
import pickle
import stat
import struct
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.codec import KeyRefused
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import STEPS, Ceremony, assemble, check_joint_key, key_digest, load_share
from fedpriv.he.parameters import SealParameters
from fedpriv.he.registry import build_codec
from fedpriv.he.ring import Ring, add, expand, multiply, negate
from fedpriv.he.sealio import SealBuffer
from tests.he.parties import RUN, ceremony, committee, lift, new_run

HOLDERS = 3
FUZZ = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Party:
    """Three holders that have not begun yet."""

    codec: object
    folders: list
    signers: list
    enrolment: Enrolment
    members: list

    @property
    def ceremony(self) -> Ceremony:
        return self.other()

    def other(self, **changes) -> Ceremony:
        fields = {"holders": HOLDERS, "run_id": RUN, "enrolment": self.enrolment}
        return Ceremony(self.codec._encoding.parameters, **{**fields, **changes})

    def step(self, step, blobs=()):
        return [member.step(step, blobs) for member in self.members]


@pytest.fixture
def party(tmp_path):
    codec = build_codec("bfv", 16, keys="committee", holders=HOLDERS)
    folders, signers, enrolment = committee(tmp_path, HOLDERS)
    members = [codec.member(own, i, RUN, signers[i], enrolment) for i, own in enumerate(folders)]
    return Party(codec, folders, signers, enrolment, members)


def refused(cause, call, *arguments):
    with pytest.raises(KeyRefused) as refusal:
        call(*arguments)
    assert refusal.value.cause == cause


def secrets_of(party):
    parameters = party.codec._encoding.parameters
    return [load_share(folder, parameters, HOLDERS).secret for folder in party.folders]


# ------------------------------------------------------------------ an honest run


def test_the_joint_key_is_that_of_the_sum_of_ternary_shares_with_fresh_errors(party):
    """Every b_j + a s_j is an error of the variance 10.5, and b the sum of the b_j."""
    reveals, endorsements = ceremony(party.members)
    made, parameters = party.ceremony, party.codec._encoding.parameters
    ring = Ring(parameters)
    joint = made.wire.unpack(endorsements[0][64:])
    shares = [made.wire.unpack(reveal[32:]) for reveal in reveals]
    assert np.array_equal(
        joint.astype(object), sum(s.astype(object) for s in shares) % made.wire.moduli.astype(object)
    )
    common = made.common[:-1]
    secrets = secrets_of(party)
    with SealBuffer() as buffer:
        for share, secret in zip(shares, secrets, strict=True):
            ternary = np.array(lift(ring.from_ntt(buffer, secret), ring.moduli))
            assert set(np.unique(ternary)) == {-1, 0, 1}
            assert abs(np.mean(ternary == 0) - 1 / 3) < 0.03
            residual = share[:-1].copy()
            add(residual, multiply(common, secret, ring.moduli), ring.moduli)
            error = np.array(lift(ring.from_ntt(buffer, residual), ring.moduli), float)
            assert np.abs(error).max() <= 21
            assert abs(error.var() / 10.5 - 1) < 0.1
    assert len({secret.tobytes() for secret in secrets}) == HOLDERS


def test_everybody_gets_the_same_key_and_digest(party):
    reveals, endorsements = ceremony(party.members)
    client = party.codec.with_public_key(assemble(reveals, endorsements), RUN, party.enrolment)
    assert {party.codec.holder(folder).digest for folder in party.folders} == {client.digest}
    assert client.digest != party.codec.digest


def test_the_common_polynomial_belongs_to_run_and_parameters(party):
    parameters = party.codec._encoding.parameters
    made = party.ceremony
    by_hand = expand(b"fedpriv-common-1" + parameters.fingerprint + RUN, made.wire.moduli, 8192)
    assert np.array_equal(made.common, by_hand)
    assert not np.array_equal(party.other(run_id=new_run()).common, made.common)


def test_files_are_private_and_only_the_share_is_left(party):
    blobs = []
    for step in STEPS:
        blobs = party.step(step, blobs)
        for folder in party.folders:
            files = list(folder.iterdir())
            assert files
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert [[file.name for file in folder.iterdir()] for folder in party.folders] == [["share.key"]] * HOLDERS


def test_no_secret_is_in_any_blob_nor_in_another_holders_folder(party):
    """Its words, in the NTT domain and as coefficients, packed or not: none stands anywhere else."""
    commitments = party.step("commit")
    drafts = [b"".join(file.read_bytes() for file in folder.iterdir()) for folder in party.folders]
    reveals = party.step("reveal", commitments)
    endorsements = party.step("endorse", reveals)
    public = b"".join([*commitments, *reveals, *endorsements, assemble(reveals, endorsements)])
    own = [(folder / "share.key").read_bytes() for folder in party.folders]
    ring, wire = Ring(party.codec._encoding.parameters), party.codec._encoding.wire()
    for number, secret in enumerate(secrets_of(party)):
        with SealBuffer() as buffer:
            plain = ring.from_ntt(buffer, secret)
        windows = [secret.tobytes()[start : start + 16] for start in range(0, 8 * secret.size, 1024)]
        packed = wire.pack(secret)
        windows += [packed[start : start + 16] for start in range(0, len(packed), 1024)]
        windows += [plain.tobytes()[:64], wire.pack(plain)[:64]]
        others = b"".join(own[:number] + own[number + 1 :])
        assert not any(window in public or window in others for window in windows)
        # so that the search itself is known to find what is there
        assert secret.tobytes()[:16] in own[number]
        assert secret.tobytes()[:16] in drafts[number]


def test_shares_and_members_neither_show_nor_copy_their_secrets(party):
    ceremony(party.members)
    share = load_share(party.folders[0], party.codec._encoding.parameters, HOLDERS)
    assert repr(share) == str(share) == f"KeyShare(number=0, digest={share.digest.hex()})"
    assert "secret" not in repr(party.members[0])
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="KeyShare"):
            copying(share)
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="KeyShare"):
            copying(party.codec.holder(party.folders[0]))
    with pytest.raises(TypeError, match="SigningKey"):
        pickle.dumps(party.members[0])


# ------------------------------------------------------------------ commitments


def test_a_commitment_must_be_signed_by_its_holder_for_this_run(party):
    honest = party.step("commit")
    stranger, made = SigningKey.generate(), party.ceremony

    def committed(signer, content, place=made):
        return content + signer.sign(place.statement("commit", 1, content))

    fake, content = bytes(32), honest[1][:32]
    others = Enrolment({7: stranger.public}, party.enrolment.keyholders)
    lies = {
        "replaced": fake + honest[1][32:],
        "signature replaced": content + bytes(64),
        "another signer": committed(stranger, content),
        "another holder's": honest[0],
        "another run": committed(party.signers[1], content, party.other(run_id=new_run())),
        "another enrolment": committed(party.signers[1], content, party.other(enrolment=others)),
        "another step": content + party.signers[1].sign(made.statement("endorse", 1, content)),
    }
    two = Enrolment({}, {number: party.enrolment.keyholders[number] for number in range(2)})
    smaller = party.other(holders=2, enrolment=two)
    lies["smaller committee"] = committed(party.signers[1], content, smaller)
    for lie in lies.values():
        refused("forged", party.members[0].step, "reveal", [honest[0], lie, honest[2]])
    # nothing of this stopped the honest ones
    party.step("endorse", party.step("reveal", honest))


@pytest.mark.parametrize("size", [0, 95, 97])
def test_commitments_of_another_size_are_malformed(party, size):
    honest = party.step("commit")
    refused("malformed", party.members[0].step, "reveal", [*honest[:2], honest[2].ljust(size, b"\0")[:size]])


def test_a_holder_knows_its_own_commitment(party):
    """An old one of its own, with its own signature, is not the one that its share was drawn for."""
    old = party.members[0].step("commit", ())
    honest = party.step("commit")
    refused("wrong_commitment", party.members[0].step, "reveal", [old, *honest[1:]])


def test_a_second_reveal_is_given_for_the_same_commitments_only(party):
    honest = party.step("commit")
    first = party.members[0].step("reveal", honest)
    assert party.members[0].step("reveal", honest) == first
    again = party.members[2].step("commit", ())
    refused("wrong_commitment", party.members[0].step, "reveal", [*honest[:2], again])


# ------------------------------------------------------------------ shares


def test_the_last_to_reveal_cannot_choose_the_joint_key(party):
    """The rogue key: b_N = target - (b_1 + ... + b_(N-1)), of which it would know the secret."""
    reveals = party.step("reveal", party.step("commit"))
    wire = party.ceremony.wire
    target = wire.unpack(reveals[2][32:]).copy()
    for reveal in reveals[:2]:
        add(target, negate(wire.unpack(reveal[32:]), wire.moduli), wire.moduli)
    rogue = reveals[2][:32] + wire.pack(target)
    refused("wrong_share", party.members[0].step, "endorse", [*reveals[:2], rogue])


def test_only_the_shares_that_were_committed_to_are_added(party):
    reveals = party.step("reveal", party.step("commit"))
    flipped = bytearray(reveals[1])
    flipped[40] ^= 1
    other_nonce = bytearray(reveals[1])
    other_nonce[0] ^= 1
    lies = {
        "swapped": [reveals[1], reveals[0], reveals[2]],
        "twice": [reveals[0], reveals[0], reveals[2]],
        "flipped": [reveals[0], bytes(flipped), reveals[2]],
        "nonce": [reveals[0], bytes(other_nonce), reveals[2]],
        "zero": [reveals[0], bytes(len(reveals[1])), reveals[2]],
        "mine": [bytes(flipped), *reveals[1:]],
    }
    for lie in lies.values():
        refused("wrong_share", party.members[0].step, "endorse", lie)
    for bad in (reveals[1][:-1], reveals[1] + b"\0", b""):
        refused("malformed", party.members[0].step, "endorse", [reveals[0], bad, reveals[2]])
    assert not (party.folders[0] / "share.key").exists()
    party.members[0].step("endorse", reveals)


def test_a_copied_commitment_does_not_open(party):
    """Commitments name their holder: to copy another's and reveal what it reveals gives nothing."""
    honest = party.step("commit")
    copied = honest[0][:32] + party.signers[2].sign(party.ceremony.statement("commit", 2, honest[0][:32]))
    shown = [*honest[:2], copied]
    reveals = [member.step("reveal", shown) for member in party.members[:2]]
    refused("wrong_share", party.members[1].step, "endorse", [*reveals, reveals[0]])


def test_a_share_outside_the_ring_is_refused_even_if_it_was_committed_to(party):
    made = party.ceremony
    words = np.zeros((len(made.wire.moduli), 8192), np.uint64) + made.wire.moduli
    share, nonce = made.wire.pack(words), bytes(32)
    content = made.commitment(2, share, nonce)
    lie = content + party.signers[2].sign(made.statement("commit", 2, content))
    shown = [*(member.step("commit", ()) for member in party.members[:2]), lie]
    reveals = [member.step("reveal", shown) for member in party.members[:2]]
    refused("wrong_share", party.members[0].step, "endorse", [*reveals, nonce + share])


# ------------------------------------------------------------------ order


def test_steps_out_of_order_are_refused(party):
    member = party.members[0]
    honest = party.step("commit")
    refused("malformed", member.step, "endorse", [bytes(32)] * HOLDERS)
    for step, blobs in (
        ("reveal", honest[:2]),
        ("reveal", []),
        ("commit", honest),
        ("decrypt", []),
        ("", honest),
    ):
        refused("malformed", member.step, step, blobs)
    reveals = party.step("reveal", honest)
    party.step("endorse", reveals)
    refused("malformed", member.step, "endorse", reveals)
    refused("malformed", member.step, "reveal", honest)


def test_reveal_without_a_commitment_of_this_run(party):
    """Properly signed commitments, but this holder never drew a share."""
    honest = party.step("commit")
    next(party.folders[0].iterdir()).unlink()
    refused("malformed", party.members[0].step, "reveal", honest)


def test_what_a_broken_run_has_left_is_removed_by_the_next(party):
    party.step("reveal", party.step("commit"))
    codec, run = party.codec, new_run()
    later = [
        codec.member(own, i, run, party.signers[i], party.enrolment) for i, own in enumerate(party.folders)
    ]
    ceremony(later)
    assert [[file.name for file in folder.iterdir()] for folder in party.folders] == [["share.key"]] * HOLDERS


def test_beginning_again_draws_a_new_share_and_leaves_no_old_one(party):
    first = ceremony(party.members)
    second = ceremony(party.members)
    assert first[0] != second[0]
    assert [[file.name for file in folder.iterdir()] for folder in party.folders] == [["share.key"]] * HOLDERS
    codec = party.codec.with_public_key(assemble(*second), RUN, party.enrolment)
    assert codec.digest == party.codec.holder(party.folders[0]).digest


# ------------------------------------------------------------------ endorsements


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
    digest = key_digest(made, packed)
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


def test_every_holder_must_be_enrolled_and_the_run_named_in_full(party):
    with pytest.raises(UserError, match="key holder 3 is not enrolled"):
        party.other(holders=4)
    with pytest.raises(UserError, match="key holder 2 is enrolled too"):
        party.other(holders=2)
    for run in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 expected"):
            party.other(run_id=run)


# ------------------------------------------------------------------ the file of a share


@pytest.fixture
def share_file(party):
    ceremony(party.members)
    return party.folders[0] / "share.key"


def loads(share_file, holders=HOLDERS, parameters=None):
    parameters = parameters or build_codec("bfv", 16, keys="committee")._encoding.parameters
    return load_share(share_file.parent, parameters, holders)


@pytest.mark.parametrize("offset", [0, 8, 12, 28, 32, 40, 70, 110, 5000, -33, -1])
def test_a_changed_byte_anywhere_is_refused(share_file, offset):
    data = bytearray(share_file.read_bytes())
    data[offset] ^= 1
    share_file.write_bytes(data)
    with pytest.raises(UserError, match=r"share\.key: damaged"):
        loads(share_file)


def test_a_share_of_something_else_is_refused(share_file, tmp_path):
    with pytest.raises(UserError, match="another committee"):
        loads(share_file, holders=2)
    other = SealParameters(1_099_511_922_689, 8192, (56, 56, 56))
    with pytest.raises(UserError, match="other parameters"):
        loads(share_file, parameters=other)
    with pytest.raises(UserError, match="share"):
        load_share(tmp_path / "nowhere", other, HOLDERS)
    data = share_file.read_bytes()
    for bad in (data[:-1], data[:50], b""):
        share_file.write_bytes(bad)
        with pytest.raises(UserError, match="damaged"):
            loads(share_file)


@pytest.mark.parametrize(("magic", "version"), [(b"FPSHARE\0", 2), (b"FPSECKEY", 1)])
def test_another_version_is_named_as_such(share_file, magic, version):
    content = struct.pack("<8sI", magic, version) + share_file.read_bytes()[12:-32]
    share_file.write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(UserError, match="version"):
        loads(share_file)


def test_a_share_that_others_may_read_is_refused(share_file):
    share_file.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        loads(share_file)


def test_a_draft_that_was_cut_is_refused(party):
    honest = party.step("commit")
    draft = next(party.folders[0].iterdir())
    draft.write_bytes(draft.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged; start the run again"):
        party.members[0].step("reveal", honest)


# ------------------------------------------------------------------ fuzz


@FUZZ
@given(blobs=st.lists(st.binary(max_size=200), min_size=HOLDERS, max_size=HOLDERS), step=st.text(max_size=8))
def test_random_blobs_are_refused_at_every_step(party, blobs, step):
    party.step("commit")
    for name in ("reveal", "endorse", step):
        with pytest.raises(KeyRefused):
            party.members[1].step(name, blobs)


@FUZZ
@given(data=st.data())
def test_random_damage_of_a_joint_key_is_refused(party, data):
    size = HOLDERS * 64 + party.ceremony.wire.polynomial_bytes
    key = bytearray(size)
    for offset in data.draw(st.lists(st.integers(0, size - 1), max_size=20)):
        key[offset] = data.draw(st.integers(0, 255))
    refused("forged", party.codec.with_public_key, bytes(key), RUN, party.enrolment)
