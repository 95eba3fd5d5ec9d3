"""Making the joint key: what comes out of it, and every lie on the way."""

import stat

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.codec import KeyRefused
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import assemble
from fedpriv.he.key_share import load_share
from fedpriv.he.key_steps import STEPS
from fedpriv.he.ring import Ring, add, multiply, negate
from fedpriv.he.sealio import SealBuffer
from tests.he.members import HOLDERS, KEPT, draft, kept, refused, signed_commitment
from tests.he.parties import ceremony, lift, new_run

FUZZ = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# an honest run


def test_the_joint_key_is_that_of_the_sum_of_ternary_shares_with_fresh_errors(party):
    """Every b_j + a s_j is an error of the variance 10.5, and b the sum of the b_j."""
    reveals, endorsements = ceremony(party.members)
    made, parameters = party.ceremony, party.parameters
    ring = Ring(parameters)
    joint = made.wire.unpack(endorsements[0][64:])
    shares = [made.wire.unpack(reveal[32:]) for reveal in reveals]
    assert np.array_equal(
        joint.astype(object), sum(s.astype(object) for s in shares) % made.wire.moduli.astype(object)
    )
    common = made.common[:-1]
    secrets = party.secrets()
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


def test_files_are_private_and_only_the_share_is_left(party):
    blobs = []
    for step in STEPS:
        blobs = party.step(step, blobs)
        for folder in party.folders:
            files = list(folder.iterdir())
            assert files
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert kept(party) == [KEPT] * HOLDERS


def test_no_secret_is_in_any_blob_nor_in_another_holders_folder(party):
    """Its words, in the NTT domain and as coefficients, packed or not: none stands anywhere else."""
    commitments = party.step("commit")
    drafts = [b"".join(file.read_bytes() for file in folder.iterdir()) for folder in party.folders]
    reveals = party.step("reveal", commitments)
    endorsements = party.step("endorse", reveals)
    public = b"".join([*commitments, *reveals, *endorsements, assemble(reveals, endorsements)])
    own = [(folder / "share.key").read_bytes() for folder in party.folders]
    ring, wire = Ring(party.parameters), party.codec._encoding.wire()
    for number, secret in enumerate(party.secrets()):
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


# commitments


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
    """Another with its own signature, such as an old one, is not the one that its share was drawn for."""
    honest = party.step("commit")
    refused("wrong_commitment", party.members[0].step, "reveal", [signed_commitment(party, 0), *honest[1:]])


def test_a_second_reveal_is_given_for_the_same_commitments_only(party):
    honest = party.step("commit")
    first = party.members[0].step("reveal", honest)
    assert party.members[0].step("reveal", honest) == first
    for member in (party.members[0], party.started_again()[0]):
        refused("wrong_commitment", member.step, "reveal", [*honest[:2], signed_commitment(party, 2)])
        assert member.step("reveal", honest) == first


# shares


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


# order


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
    for again in (member, party.started_again()[0]):
        refused("already_made", again.step, "endorse", reveals)
        refused("already_made", again.step, "reveal", honest)


def test_reveal_without_a_commitment_of_this_run(party):
    """Properly signed commitments, but this holder never drew a share."""
    honest = [signed_commitment(party, number) for number in range(HOLDERS)]
    refused("malformed", party.members[0].step, "reveal", honest)


def test_what_a_broken_run_has_left_is_removed_by_the_next(party):
    party.step("reveal", party.step("commit"))
    ceremony(party.started_again(new_run()))
    assert kept(party) == [KEPT] * HOLDERS


def test_a_damaged_share_of_an_earlier_run_does_not_stop_the_next(party):
    ceremony(party.members)
    for folder in party.folders:
        (folder / "share.key").write_bytes(b"damaged")
    run = new_run()
    ceremony(party.started_again(run))
    assert load_share(party.folders[0], party.parameters, HOLDERS).run_id == run


def test_a_draft_that_was_cut_is_refused(party):
    honest = party.step("commit")
    file = draft(party.folders[0])
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged; start the run again"):
        party.members[0].step("reveal", honest)


# fuzz


@FUZZ
@given(blobs=st.lists(st.binary(max_size=200), min_size=HOLDERS, max_size=HOLDERS), step=st.text(max_size=8))
def test_random_blobs_are_refused_at_every_step(party, blobs, step):
    party.step("commit")
    for name in ("reveal", "endorse", step):
        with pytest.raises(KeyRefused):
            party.members[1].step(name, blobs)
