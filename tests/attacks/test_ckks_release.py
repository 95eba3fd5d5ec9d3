"""The very same attacks on what fedpriv's key holders release: they recover nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.attacks.ckks_averaging import (
    average,
    average_shares,
    error_power,
    key_power,
    openings_needed,
    rounds_until_power_shows,
)
from fedpriv.attacks.ckks_key_recovery import Opened, decrypt, key_of_product, recover_key
from fedpriv.attacks.ckks_low_bits import explained
from fedpriv.he.authority import AuthorityCodec
from fedpriv.he.ckks import DEGREE, FloatEncoding
from fedpriv.he.codec import Encoded, Holder, UpdateCodec
from fedpriv.he.committee import CommitteeCodec, CommitteeHolder
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import assemble
from fedpriv.he.key_files import SHARED_KEY
from fedpriv.he.key_share import KeyShare, load_share
from fedpriv.he.keys import load_key
from fedpriv.he.noise_bounds import ERROR_VARIANCE
from fedpriv.he.ring import Ring, add
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.symmetric import uniform
from fedpriv.he.wire import Words, dump_plaintext

CLIENTS, HOLDERS, BITS, RANGE, SMUDGING = 4, 3, 16, 0.5, 40
RUN = bytes(16)


@dataclass(frozen=True)
class View:
    """What the server sees of a round, and what passes through its hands."""

    opened: Opened
    single: list[tuple[Words, Words]]
    answers: list[bytes]


@dataclass
class Federation:
    """Clients and key holders; ``shares`` add up to the secret key, and are there to judge attacks."""

    encoding: FloatEncoding
    codec: UpdateCodec
    holders: Sequence[Holder]
    key_shares: Sequence[Words]
    shares: list[np.ndarray] = field(init=False)

    def __post_init__(self):
        self.ring, self.wire = Ring(self.encoding.parameters), self.encoding.wire()
        self.length, self.bound = self.encoding.values_per_plaintext, len(self.holders)
        self.shares = [self._coefficients(share) for share in self.key_shares]
        self.secret = np.sum(self.shares, axis=0, dtype=np.int8)

    def run_round(self, updates, openings=1) -> list[View]:
        """Return what the server sees, once for each time that the holders open the sum."""
        encoded, aggregator = self.encode(updates), self.codec.aggregator(self.length)
        for item in encoded:
            aggregator.add(item.body)
        single = self.ciphertexts(encoded)
        c0, c1 = (self.total([pair[part] for pair in single]) for part in range(2))
        masks, views = [item.mask for item in encoded], []
        for _ in range(openings):
            answers = [holder.open(masks, aggregator.body_sum(), self.length) for holder in self.holders]
            opened = Opened(c0, c1, aggregator.open(answers), self.encoding.scale)
            views.append(View(opened, single, answers))
        return views

    def encode(self, updates) -> list[Encoded]:
        random = np.random.default_rng(0)
        return [self.codec.encode(update.astype(np.float32), random) for update in updates]

    def ciphertexts(self, encoded) -> list[tuple[Words, Words]]:
        """Return c0 and c1 of every client; anybody can expand the seeds of c1."""
        pairs = []
        with SealBuffer() as buffer:
            for item in encoded:
                c0 = self.wire.unpack(item.body)
                if len(item.mask) == self.wire.polynomial_bytes:
                    pairs.append((c0, self.wire.unpack(item.mask)))
                else:
                    c1 = uniform(bytes(item.mask), 0, self.wire.moduli, DEGREE)
                    pairs.append((self.ring.to_ntt(buffer, c0), self.ring.to_ntt(buffer, c1)))
        return pairs

    def total(self, polynomials) -> Words:
        result = np.zeros(self.wire.shape, np.uint64)
        for polynomial in polynomials:
            add(result, polynomial, self.ring.moduli)
        return result

    def attack(self, opened, most_tries=8):
        return recover_key(self.ring, opened, self.bound, most_tries)

    def decrypt(self, key, ciphertext):
        return decrypt(self.ring, key, *ciphertext, self.encoding.scale)

    def divide(self, product, c1, bound):
        """Return the key s of c1 s = product, product in coefficients."""
        with SealBuffer() as buffer:
            return key_of_product(self.ring, self.ring.to_ntt(buffer, product), c1, bound)

    def _coefficients(self, share) -> np.ndarray:
        with SealBuffer() as buffer:
            words = self.ring.from_ntt(buffer, share)[0]
        return np.where(words > DEGREE, -1, words.view(np.int64)).astype(np.int8)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Federation:
    folder = tmp_path_factory.mktemp("authority")
    encoding = FloatEncoding(CLIENTS, BITS, RANGE, SMUDGING)
    AuthorityCodec(encoding).make_shared_key(folder / SHARED_KEY)
    codec = AuthorityCodec(encoding).with_key_folder(folder)
    wire, plaintext = encoding.wire(), sealapi.Plaintext()
    zero, one = np.zeros(wire.shape, np.uint64), np.ones(wire.shape, np.uint64)
    with SealBuffer() as buffer:
        # the ciphertext (0, 1) decrypts to s
        decryptor = load_key(folder / SHARED_KEY, encoding.parameters).decryptor()
        decryptor.decrypt(wire.join(buffer, zero, one), plaintext)
        secret = dump_plaintext(buffer, plaintext, zero.size).reshape(zero.shape)
    return Federation(encoding, codec, [codec.holder(folder)], [secret])


@pytest.fixture(scope="module")
def joint_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("committee")


@pytest.fixture(scope="module")
def committee(joint_folder) -> Federation:
    encoding = FloatEncoding(CLIENTS, BITS, RANGE, SMUDGING, HOLDERS)
    codec = CommitteeCodec(encoding, HOLDERS, encoding.smudge_log2)
    signers = [SigningKey.generate() for _ in range(HOLDERS)]
    enrolment = Enrolment({}, {number: signer.public for number, signer in enumerate(signers)})
    folders = [joint_folder / str(number) for number in range(HOLDERS)]
    members = []
    for number, (folder, signer) in enumerate(zip(folders, signers, strict=True)):
        folder.mkdir()
        members.append(codec.member(folder, number, RUN, signer, enrolment))
    commitments = [member.step("commit", ()) for member in members]
    reveals = [member.step("reveal", commitments) for member in members]
    joint = assemble(reveals, [member.step("endorse", reveals) for member in members])
    shares = [share_of(folder, encoding).secret for folder in folders]
    client = codec.with_public_key(joint, RUN, enrolment)
    return Federation(encoding, client, [codec.holder(folder) for folder in folders], shares)


def share_of(folder, encoding) -> KeyShare:
    return load_share(folder, encoding.parameters, HOLDERS)


@pytest.fixture(params=["authority", "committee"])
def federation(request) -> Federation:
    return request.getfixturevalue(request.param)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def updates(federation, random, size=0.05):
    return [random.normal(0, size, federation.length) for _ in range(2)]


def zeros(federation):
    return [np.zeros(federation.length)] * 2


def assert_no_better_than_chance(result, secret, bound):
    """A guess that is ``bound`` or ``-bound`` by the toss of a coin is right this often."""
    chance = np.mean(np.abs(secret) == bound) / 2
    assert not result.certain
    assert abs(result.fraction(secret) - chance) < 5 * math.sqrt(chance / len(secret))


def assert_nothing(federation, opened):
    result = federation.attack(opened)
    assert_no_better_than_chance(result, federation.secret, federation.bound)
    return result


def test_without_flooding_the_same_attack_takes_the_key(federation, random):
    """What the tests below run does work: on sums of zeros, whose exact slots fit a float64."""
    opened = []
    for _ in range(2):
        flooded = federation.run_round(zeros(federation))[0].opened
        exact = federation.decrypt(federation.secret, (flooded.c0, flooded.c1))
        opened.append(replace(flooded, values=exact))
    result = federation.attack(opened)
    assert result.certain
    np.testing.assert_array_equal(result.key, federation.secret)
    sent = updates(federation, random)
    another = federation.run_round(sent)[0].single[1]
    np.testing.assert_allclose(federation.decrypt(result.key, another), sent[1], atol=1e-6)


@pytest.mark.parametrize("size", [0.05, 1e-6, 0.0])
def test_released_sums_give_nothing(federation, size, random):
    opened = [federation.run_round(updates(federation, random, size))[0].opened for _ in range(4)]
    result = assert_nothing(federation, opened)
    sent = updates(federation, random)
    another = federation.run_round(sent)[0].single[1]
    assert np.median(np.abs(federation.decrypt(result.key, another) - sent[1])) > 0.5


def test_sums_kept_as_float32_give_nothing(federation, random):
    opened = [federation.run_round(updates(federation, random))[0].opened for _ in range(2)]
    assert_nothing(federation, [replace(item, values=item.values.astype(np.float32)) for item in opened])


def test_single_ciphertexts_beside_what_is_known_of_their_plaintexts_give_nothing(federation, random):
    """The server with all clients but one: the release less the others' updates, or the update itself."""
    from_release, from_update = [], []
    for _ in range(2):
        sent = updates(federation, random)
        view = federation.run_round(sent)[0]
        last = view.opened.values - sent[1].astype(np.float32)
        from_release.append(Opened(*view.single[0], last, view.opened.scale))
        from_update.append(Opened(*view.single[0], sent[0].astype(np.float32), view.opened.scale))
    assert_nothing(federation, from_release)
    assert_nothing(federation, from_update)


def test_many_rounds_of_the_same_update_average_to_nothing(federation, random):
    sent, rounds = updates(federation, random), 20
    opened = [federation.run_round(sent)[0].opened for _ in range(rounds)]
    mean = np.mean([item.values for item in opened], axis=0)
    deviation = federation.encoding.release_deviation / math.sqrt(rounds)
    assert np.std(mean - np.sum(sent, axis=0)) < 1.2 * deviation
    added = Opened(
        federation.total([item.c0 for item in opened]),
        federation.total([item.c1 for item in opened]),
        rounds * mean,
        federation.encoding.scale,
    )
    guessed = [replace(item, values=mean) for item in opened]
    for equations in (opened, guessed, [added, opened[0]]):
        assert_nothing(federation, equations)


def test_one_sum_opened_again_and_again_averages_to_nothing(federation, random):
    """Key holders refuse a second opening; the size of their flooding does not rest on that alone."""
    opened = []
    for _ in range(2):
        views = federation.run_round(updates(federation, random), openings=20)
        assert len({view.opened.values.tobytes() for view in views}) == 20
        opened.append(average([view.opened for view in views]))
    assert_nothing(federation, opened)


def test_the_power_of_the_released_noise_does_not_show_the_key(federation, random):
    sent = [update.astype(np.float32) for update in updates(federation, random)]
    released = np.array([federation.run_round(sent)[0].opened.values for _ in range(30)])
    power = error_power(released, np.sum(sent, axis=0, dtype=np.float64))
    deviation = federation.encoding.release_deviation
    np.testing.assert_allclose(np.sqrt(power.mean()), deviation, rtol=0.02)
    correlation = np.corrcoef(power, key_power(federation.secret))[0, 1]
    assert abs(correlation) < 5 / math.sqrt(federation.length)


def test_shares_of_key_holders_give_nothing(committee, random):
    views = committee.run_round(updates(committee, random), openings=20)
    c1 = views[0].opened.c1
    answers = [[committee.wire.unpack(answer) for answer in view.answers] for view in views]
    for number, secret in enumerate(committee.shares):
        often = [answer[number] for answer in answers]
        for product in (often[0], average_shares(committee.ring, often)):
            assert_no_better_than_chance(committee.divide(product, c1, 1), secret, 1)
    whole = committee.divide(committee.total(answers[0]), c1, HOLDERS)
    assert_no_better_than_chance(whole, committee.secret, HOLDERS)


def test_shares_with_too_little_smudging_are_averaged_out(committee, joint_folder, random):
    """The attack on shares is real: smudging on {-2, ..., 1} falls to 200 openings."""
    share = share_of(joint_folder / "0", committee.encoding)
    weak = CommitteeHolder(committee.encoding, share, 2, b"", joint_folder / "0")
    encoded = committee.encode(updates(committee, random))
    c1 = committee.total([pair[1] for pair in committee.ciphertexts(encoded)])
    masks = [item.mask for item in encoded]
    answers = [committee.wire.unpack(weak.open(masks, b"", committee.length)) for _ in range(200)]
    assert_no_better_than_chance(committee.divide(answers[0], c1, 1), committee.shares[0], 1)
    often = committee.divide(average_shares(committee.ring, answers), c1, 1)
    np.testing.assert_array_equal(often.key, committee.shares[0])


def test_the_last_bits_of_an_answer_do_not_tell_the_error(authority):
    """On a sum of zeros, as frozen layers send it; see fedpriv.attacks.ckks_low_bits."""
    opened = authority.run_round(zeros(authority))[0].opened
    right = authority.decrypt(authority.secret, (opened.c0, opened.c1))
    factor = authority.encoding.release_deviation
    shares = [explained(opened.values, candidate, factor) for candidate in (right, right[::-1].copy())]
    assert shares[0] - shares[1] < 0.05
    grid = 2.0 ** (math.floor(math.log2(factor)) - 20)
    np.testing.assert_array_equal(np.rint(opened.values / grid) * grid, opened.values)


@pytest.mark.parametrize("smudging", [40, 56])
@pytest.mark.parametrize("clients", [2, 100])
@pytest.mark.parametrize("holders", [0, HOLDERS])
def test_the_figures_of_averaging_are_those_that_are_stated(smudging, clients, holders):
    encoding = FloatEncoding(clients, BITS, RANGE, smudging, holders)
    flooding = encoding.release_deviation
    variance = 1 / 12 + DEGREE * holders * (2 / 3) / 12 if holders else ERROR_VARIANCE
    error = math.sqrt(variance * clients * DEGREE / 2) / encoding.scale
    assert 2 ** (2 * smudging + 7) < (flooding / error) ** 2 < 2 ** (2 * smudging + 9)
    assert openings_needed(flooding, encoding.scale, DEGREE) > 2 ** (2 * smudging + 17)
    assert rounds_until_power_shows(flooding, error) > 2 ** (4 * smudging + 15)
    if holders:
        one_share = 2.0**encoding.smudge_log2 / math.sqrt(12)
        # the tolerated error of slots at scale 1, back on coefficients
        assert openings_needed(one_share * math.sqrt(DEGREE) / 2, 1.0, DEGREE) > 2 ** (2 * smudging + 17)
