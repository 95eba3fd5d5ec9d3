"""A split key: any n - 1 shares say nothing, all n decrypt, and what a holder answers hides the noise."""

import copy
import os
import pickle
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedpriv.errors import FormatError, UserError
from fedpriv.he.ring import add, multiply, negate
from fedpriv.he.users import shares
from fedpriv.he.users.bodies import polynomials
from fedpriv.he.users.combining import combine_floats, combine_integers
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import KeyHead
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.levels import LevelRing
from fedpriv.he.users.public_keys import PUBLIC_FILE
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.sets import SETS
from fedpriv.he.users.shapes import Shape
from fedpriv.he.users.shares import SHARE_FILE, UserShare, split, split_words
from fedpriv.he.users.smudging_room import noise_log2, require_room, smudging_deviation

SPLIT = [name for name, each in SETS.items() if each.splits]


@pytest.fixture(scope="module")
def holders(owner, tmp_path_factory):
    """Three shares of an owner's key, by the name of its set."""
    made = {}

    def find(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("shares")
            made[name] = [UserShare.load(path) for path in split(owner(name), folder, 3)]
        return made[name]

    return find


def secret_of(keys):
    return KeyBodies(keys.set).secret_words(keys.secret_key())[:-1]


def total(parts, moduli):
    summed = np.zeros_like(parts[0])
    for part in parts:
        add(summed, part, moduli)
    return summed


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(3, (1 << 60) - 1), min_size=1, max_size=3), st.integers(2, 7), st.integers(0, 99))
def test_the_shares_sum_to_the_secret_modulo_every_prime(primes, holders, seed):
    moduli = np.array(primes, np.uint64)[:, np.newaxis]
    secret = np.random.default_rng(seed).integers(0, moduli, (len(primes), 32), dtype=np.uint64)
    parts = split_words(secret, moduli, holders)
    assert len(parts) == holders
    assert all((part < moduli).all() for part in parts)
    expected = sum(part.astype(object) for part in parts) % moduli.astype(object)
    assert (expected == secret).all()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_for_any_other_secret_some_equally_likely_draw_gives_the_others_the_same_shares(monkeypatch, missing):
    """What n - 1 holders have fits every secret, each by exactly one draw of the uniform polynomials."""
    moduli = SETS["images-split"].moduli()
    random = np.random.default_rng(4)

    def uniform():
        return random.integers(0, moduli, (2, 64), dtype=np.uint64)

    mine, other, draws = uniform(), uniform(), [uniform(), uniform()]
    gap = total([other, negate(mine, moduli)], moduli)
    moved = [total([draw, gap], moduli) if number == missing else draw for number, draw in enumerate(draws)]
    queue = [*draws, *moved]
    monkeypatch.setattr(shares, "_uniform", lambda *_: queue.pop(0).copy())
    first, second = split_words(mine, moduli, 3), split_words(other, moduli, 3)
    for number in range(3):
        assert (first[number] == second[number]).all() == (number != missing)


def test_shares_of_the_zero_secret_and_of_a_real_one_look_the_same(owner):
    keys = owner("images-split")
    moduli, secret = keys.set.moduli(), secret_of(keys)
    for which in (secret, np.zeros_like(secret)):
        for part in split_words(which, moduli, 3):
            for row, modulus in zip(part, moduli[:, 0], strict=True):
                # two secrets, three shares, two primes: together one run in eight million
                assert stats.kstest(row / float(modulus), "uniform").pvalue > 1e-8
    parts = split_words(secret, moduli, 3)
    for pair in ((0, 1), (0, 2), (1, 2)):
        partial = total([parts[each] for each in pair], moduli) / moduli
        # of 8,192 independent pairs the correlation has standard deviation 1/90
        assert abs(np.corrcoef(partial[0], (secret / moduli)[0])[0, 1]) < 6 / 90


def test_the_uniform_polynomials_come_from_the_system_and_never_twice(monkeypatch):
    moduli, asked, real = SETS["images-split"].moduli(), [], os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: (asked.append(size), real(size))[1])
    first, second = (split_words(np.zeros((2, 64), np.uint64), moduli, 2)[0] for _ in range(2))
    assert sum(asked) >= 2 * 2 * 64 * 8
    assert not (first == second).any()


@pytest.mark.parametrize("name", SPLIT)
def test_all_holders_decrypt_and_fewer_or_doubled_ones_are_refused(owner, holders, name):
    keys = owner(name)
    values = np.random.default_rng(5).integers(-99, 99, keys.set.slots)
    encryptor = keys.public.encryptor()
    body = encryptor.floats(values / 100) if keys.set.ckks else encryptor.integers(values)
    ciphertext = encryptor.ciphertext(body)
    # fresh noise is below 2^18 even with the largest degree
    answers = [holder.partial(ciphertext, 18) for holder in holders(name)]

    def combine(given):
        if keys.set.ckks:
            return combine_floats(keys.set, ciphertext, given, limit=1.1) * 100
        return combine_integers(keys.set, ciphertext, given)

    for order in ([0, 1, 2], [2, 0, 1]):
        assert np.abs(combine([answers[each] for each in order]) - values).max() < 0.1
    other = encryptor.ciphertext(encryptor.constant(1))
    foreign = [*answers[:2], holders(name)[2].partial(other, 18)]
    for wrong in (
        answers[:2],
        answers[1:],
        [],
        [answers[0], answers[0], answers[1]],
        [*answers, answers[0]],
        foreign,
    ):
        with pytest.raises(UserError, match="do not belong together"):
            combine(wrong)


def test_a_product_is_opened_at_a_lower_level(owner, holders):
    keys = owner("table")
    values = np.random.default_rng(6).integers(-(1 << 20), 1 << 20, keys.set.slots)
    evaluation, encryptor = Evaluation(keys.public), keys.public.encryptor()
    product = evaluation.relinearise(evaluation.square(encryptor.ciphertext(encryptor.integers(values))))
    product = evaluation.switch_down(product, 3)
    bound = noise_log2(keys.set, 3, keys.noise_budget(product)) + 1
    answers = [holder.partial(product, bound) for holder in holders("table")]
    assert (combine_integers(keys.set, product, answers) == values * values).all()


def test_a_score_opened_by_holders_has_the_noise_that_was_told(owner, holders):
    keys = owner("faces-split")
    evaluation, encryptor = Evaluation(keys.public), keys.public.encryptor()
    fresh = encryptor.ciphertext(encryptor.constant(0.5))
    score = evaluation.rescale(evaluation.relinearise(evaluation.square(fresh)))
    answers = [holder.partial(score, 40) for holder in holders("faces-split")]
    error = combine_floats(keys.set, score, answers, limit=1.1) - 0.25
    expected = smudging_deviation(keys.set, evaluation.shape(score), 3, 40)
    assert expected < 1e-7
    assert abs(error.std() / expected - 1) < 0.06
    # the exact decryption has none of it
    assert np.abs(keys.decrypt_floats(score) - 0.25).max() < 1e-12


@pytest.mark.parametrize("name", ["images-split", "faces-split"])
def test_an_answer_is_c1_times_the_share_and_uniform_noise_of_41_bits_more(owner, holders, name):
    keys, holder, bound = owner(name), holders(name)[0], 12
    encryptor = keys.public.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1))
    moduli, degree = keys.set.moduli(), keys.set.seal.poly_degree
    ring, one = LevelRing(keys.set.seal, keys.set.primes), np.ones((keys.set.primes, degree), np.uint64)
    answer = RowPacking(moduli, degree).unpack(holder.partial(ciphertext, bound))
    c1 = polynomials(keys.set, ciphertext)[1]
    exact = multiply(c1 if keys.set.ckks else ring.to_ntt(one, c1)[1], holder._words, moduli)
    if keys.set.ckks:
        noise = ring.from_ntt(total([answer, negate(exact, moduli)], moduli), one)[0]
    else:
        noise = total([answer, negate(ring.from_ntt(exact, one)[0], moduli)], moduli)
    # 2^53 is far below one prime, so the first row has the integer
    signed = noise[0].astype(np.int64)
    signed[signed > int(moduli[0, 0]) // 2] -= int(moduli[0, 0])
    assert np.abs(signed).max() <= 1 << (bound + 40)
    assert stats.kstest(signed / 2.0 ** (bound + 41) + 0.5, "uniform").pvalue > 1e-6


@pytest.mark.parametrize("damage", [b"", b"\0", None])
def test_an_answer_of_another_size_or_range_is_refused(owner, holders, damage):
    keys = owner("images-split")
    encryptor = keys.public.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1))
    answer = holders("images-split")[0].partial(ciphertext, 12)
    wrong = b"\xff" * len(answer) if damage is None else answer[:-1] if not damage else answer + damage
    with pytest.raises(UserError, match="ask the key holder again"):
        combine_integers(keys.set, ciphertext, [wrong])


def test_smudging_that_the_level_has_no_room_for_is_refused(owner, holders):
    table = SETS["table"]
    require_room(table, Shape(2, 4), 3, 60)
    for shape, bound in ((Shape(2, 4), 150), (Shape(2, 2), 30), (Shape(2, 1), 1)):
        with pytest.raises(UserError, match="key holders' smudging takes"):
            require_room(table, shape, 3, bound)
    with pytest.raises(UserError, match="smudging takes"):
        require_room(SETS["faces-split"], Shape(2, 2, False, 2.0**50), 3, 20)
    keys = owner("faces-split")
    evaluation, encryptor = Evaluation(keys.public), keys.public.encryptor()
    fresh = encryptor.ciphertext(encryptor.constant(0.5))
    with pytest.raises(ValueError, match="relinearise first"):
        holders("faces-split")[0].partial(evaluation.square(fresh), 20)


@pytest.mark.parametrize("name", [name for name in SETS if name not in SPLIT])
def test_a_key_without_room_for_smudging_is_not_split(owner, tmp_path, name):
    with pytest.raises(UserError, match=f"fedpriv keys new {SETS[name].purpose} --to-split"):
        split(owner(name), tmp_path, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [-1, 0, 1, 101])
def test_one_holder_or_too_many_are_refused(owner, tmp_path, count):
    with pytest.raises(UserError, match=f"--holders {count}: choose 2 to 100"):
        split(owner("images-split"), tmp_path, count)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_files_of_holders_are_private_whatever_the_umask(owner, tmp_path, umask):
    before = os.umask(umask)
    try:
        paths = split(owner("images-split"), tmp_path, 2)
    finally:
        os.umask(before)
    assert [path.parent.name for path in paths] == ["holder-1", "holder-2"]
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (path.parent / PUBLIC_FILE).read_bytes() == owner("images-split").public.to_bytes()


def test_a_split_that_fails_takes_back_what_it_wrote_and_nothing_else(owner, tmp_path):
    (tmp_path / "holder-2").mkdir()
    (tmp_path / "holder-2" / SHARE_FILE).write_bytes(b"precious")
    with pytest.raises(UserError, match=r"holder-2: File exists"):
        split(owner("images-split"), tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["holder-2"]
    assert (tmp_path / "holder-2" / SHARE_FILE).read_bytes() == b"precious"


def test_shares_of_two_splits_do_not_mix(owner, holders, tmp_path):
    keys = owner("images-split")
    again = [UserShare.load(path) for path in split(keys, tmp_path, 3)]
    encryptor = keys.public.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1))
    mixed = [*holders("images-split")[:2], again[2]]
    with pytest.raises(UserError, match="do not belong together"):
        combine_integers(keys.set, ciphertext, [holder.partial(ciphertext, 12) for holder in mixed])


@pytest.mark.parametrize("place", [0, 4, 6, 8, 40, 70, 100, 128, 130, 133, 140, 5000, -1])
def test_a_changed_share_is_refused(owner, tmp_path, place):
    path = split(owner("images-split"), tmp_path, 2)[0]
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(FormatError):
        UserShare.load(path)


def test_a_share_beside_another_s_public_key_or_open_to_others_is_refused(owner, tmp_path):
    path = split(owner("images-split"), tmp_path, 2)[0]
    path.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        UserShare.load(path)
    path.chmod(0o600)
    (path.parent / PUBLIC_FILE).write_bytes(UserKeys.make(SETS["images-split"]).public.to_bytes())
    with pytest.raises(UserError, match="put the two that were made together"):
        UserShare.load(path)


def test_a_share_with_a_residue_that_is_not_below_its_prime_is_refused(owner, tmp_path):
    keys = owner("images-split")
    path = split(keys, tmp_path, 2)[0]
    head = KeyHead("share", keys.set, keys.fingerprint, keys.signer.public, 1, 2)
    path.write_bytes(head.seal(b"\xff" * (len(path.read_bytes()) - 204), keys.signer))
    with pytest.raises(FormatError, match="damaged share"):
        UserShare.load(path)


@pytest.mark.parametrize("forge", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_share_shows_itself_to_nobody(holders, forge):
    share = holders("images-split")[0]
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        forge(share)
    assert str(share._words[0, 0]) not in repr(share)


def test_a_share_of_another_key_under_the_same_owner_s_signature_is_refused(owner, tmp_path):
    keys = owner("images-split")
    path = split(keys, tmp_path, 2)[0]
    head = KeyHead("share", keys.set, "ab" * 32, keys.signer.public, 1, 2)
    path.write_bytes(head.seal(path.read_bytes()[140:-64], keys.signer))
    with pytest.raises(UserError, match="belongs to the key abab abab"):
        UserShare.load(path)


def test_a_holder_does_not_answer_where_its_smudging_has_no_room(owner, holders):
    encryptor = owner("images-split").public.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1))
    with pytest.raises(UserError, match="key holders' smudging takes"):
        holders("images-split")[0].partial(ciphertext, 26)
