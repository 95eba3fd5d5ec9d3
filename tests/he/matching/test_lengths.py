"""Probes that are longer than 1, also by just so much that their squared length is 1 modulo the modulus."""

import io
import math

import numpy as np
import pytest

from fedpriv.errors import FormatError, UserError
from fedpriv.he.matching.blinding import directions
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.lengths import CLAIMS, LENGTH_TOLERANCE, PROJECTION, weights
from fedpriv.he.matching.matcher import Matcher, PlainMatcher
from fedpriv.he.matching.opening import open_question
from fedpriv.he.matching.people import SLOT_FRACTION, unit
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from tests.he.matching.conftest import DIM, answered, begun, people, sent
from tests.he.matching.crafting import crafted, everywhere

REFUSED = r"^probe: is not a vector of real numbers of length 1"


def wrap(parameters):
    """|p|^2 that an opened |p|^2 cannot be told from 0 by."""
    modulus = math.prod(int(prime) for prime in parameters.moduli()[:, 0])
    return modulus / parameters.scale**2 / SLOT_FRACTION**2


WRAP = wrap(SETS["faces"])
LONG = {
    "wraps once": math.sqrt(1 + WRAP),
    "wraps twice": math.sqrt(1 + 2 * WRAP),
    "wraps often": math.sqrt(1 + 1000 * WRAP),
    "half a wrap": math.sqrt(1 + WRAP / 2),
    "of the answer's own modulus": math.sqrt(1 + WRAP / 2**14),
    "a projection wraps": WRAP,
    "and its square": WRAP * math.sqrt(1 + 1 / WRAP),
    "beyond all": 2.0**40,
}


def claims(keys, question):
    """Return what the key holder sees of the probe, (3, slots)."""
    opened = [keys.decrypt_floats(each) for each in question.ciphertexts[-CLAIMS:]]
    return np.stack(opened) / SLOT_FRACTION**2


@pytest.fixture(scope="module")
def matcher(template):
    with Matcher(Gallery.open(template.folder)) as matcher:
        yield matcher


@pytest.fixture(scope="module")
def plain(keys, tmp_path_factory):
    gallery = begun(keys, tmp_path_factory.mktemp("plain") / "gallery", DIM, plain=True)
    with Matcher(Gallery.open(gallery.folder)) as matcher:
        yield matcher, gallery.ids


def questions(matcher, plain, template, probe):
    """Return one of every kind, to an encrypted gallery, to a plain one, and to a plain list."""
    stored, ids = plain
    yield matcher.verify(probe, template.ids[0], 0.5)
    yield stored.verify(probe, ids[0], 0.5)
    yield matcher.scores(probe)
    for kind in ("identify", "accepted"):
        yield getattr(matcher, kind)(probe, 0.5)
        yield getattr(stored, kind)(probe, 0.5)
    yield PlainMatcher(matcher._gallery.keys, template.vectors).ask("scores", probe)


@pytest.mark.parametrize("vector", [*people(3, seed=4), np.eye(4)[0], np.full(4, -0.5), [0.6, 0, 0, -0.8]])
def test_unit_probes_are_answered_in_every_mode(keys, template, matcher, plain, vector):
    for question in questions(matcher, plain, template, crafted(keys, everywhere(vector))):
        answered(keys, question, raw_scores=True)


@pytest.mark.parametrize("length", LONG.values(), ids=LONG)
def test_long_probes_are_refused_in_every_mode(keys, template, matcher, plain, length):
    probe = crafted(keys, everywhere(length * people(1, seed=5)[0]))
    for question in questions(matcher, plain, template, probe):
        with pytest.raises(UserError, match=REFUSED):
            answered(keys, question, raw_scores=True)


@pytest.mark.parametrize("wraps", [1, 2, 7])
def test_a_length_that_wraps_is_1_to_the_first_claim_and_the_projections_show_it(
    keys, template, matcher, wraps
):
    exact = np.array([math.sqrt(1 + wraps * WRAP), 0, 0, 0])
    length, along, across = claims(keys, matcher.identify(crafted(keys, everywhere(exact)), 0.5))
    assert np.abs(length).max() < LENGTH_TOLERANCE
    assert max(np.abs(along).max(), np.abs(across).max()) > PROJECTION


def test_slots_that_make_up_for_each_other_are_refused(keys, template, matcher):
    """|p|^2 = 1 + (2 + 2 cos) 2^26 wraps to 1 in every slot; where the cosine is nearly -1 it is only 10.

    Looked at alone, that slot would pass.
    """
    degree, slots = keys.set.seal.poly_degree, keys.set.slots
    angles = np.array([pow(3, slot, 2 * degree) for slot in range(slots)]) * np.pi / degree
    squared = 1 + WRAP * (2 + 2 * np.cos(angles))
    quiet = int(np.argmin(squared))
    assert 5 < squared[quiet] < 20
    columns = np.zeros((4, slots), complex)
    columns[0] = np.sqrt(squared)
    probe = crafted(keys, columns)
    question = matcher.scores(probe)
    length, along, across = np.abs(claims(keys, question))
    # what encoding rounds of such lengths
    assert length.max() < 4 * LENGTH_TOLERANCE
    assert along[quiet] < PROJECTION
    assert across[quiet] < PROJECTION
    with pytest.raises(UserError, match=REFUSED):
        answered(keys, question, raw_scores=True)


@pytest.mark.parametrize("size", [1.5, 64.0, 2.0**13, 2.0**26])
@pytest.mark.parametrize("slot", [0, 1000])
def test_one_huge_coordinate_in_one_slot_is_refused(keys, template, matcher, slot, size):
    columns = everywhere(template.vectors[0])
    columns[1, slot] = size
    with pytest.raises(UserError, match=REFUSED):
        answered(keys, matcher.verify(crafted(keys, columns), template.ids[0], 0.5))


@pytest.mark.parametrize("size", [4.0, 64.0, 2.0**13])
def test_imaginary_parts_that_make_up_for_real_ones_are_refused(keys, template, matcher, size):
    """x^2 - y^2 = 1 at any length."""
    probe = crafted(keys, everywhere([math.sqrt(1 + size**2), 1j * size, 0, 0]))
    question = matcher.verify(probe, template.ids[0], 0.5)
    if size < 1000:
        assert np.abs(claims(keys, question)[0]).max() < LENGTH_TOLERANCE
    with pytest.raises(UserError, match=REFUSED):
        answered(keys, question)


def test_processes_ask_the_same_of_a_probe(keys, template):
    with Matcher(Gallery.open(template.folder), workers=2) as matcher:
        assert answered(keys, matcher.identify(sent(keys, template.vectors[3], keys), 0.9)).accepted
        for length in (1.01, math.sqrt(1 + WRAP)):
            with pytest.raises(UserError, match=REFUSED):
                answered(keys, matcher.identify(crafted(keys, everywhere([length, 0, 0, 0])), 0.9))


def test_a_plain_probe_counts_by_its_direction_alone(keys, template, matcher):
    """What the server sees it brings to length 1 itself; zeros have no direction."""
    for length in (1e-3, 1.01, 64.0, 2.0**13):
        scores = answered(keys, matcher.scores(length * template.vectors[1]), raw_scores=True).scores
        expected = template.vectors @ template.vectors[1]
        assert list(scores.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    with pytest.raises(UserError, match="zero or not finite"):
        matcher.scores(np.zeros(DIM))


@pytest.mark.parametrize(
    "direction", [np.eye(6)[0], [1, 1, 0, 0, 0, 0], [1, -1, 1, 0, 0, 0], np.ones(6), range(6)]
)
@pytest.mark.parametrize("length", [10.0, 40.0])
def test_a_projection_of_a_long_vector_is_small_no_more_often_than_is_stated(direction, length):
    count = 100_000
    projections = length * directions(count * 6).reshape(count, 6) @ unit(np.array(direction, float))
    share = np.mean(np.abs(projections) <= PROJECTION)
    bound = PROJECTION * math.sqrt(2) / length
    assert share < bound + 5 * math.sqrt(bound / count)
    # two equal coordinates come up to it, the closer the longer
    if list(direction) == [1, 1, 0, 0, 0, 0]:
        assert share > 0.83 * bound


def test_what_is_seen_of_a_probe_is_noise_and_two_projections_that_change(keys, template, matcher):
    found = [claims(keys, matcher.identify(sent(keys, template.vectors[0], keys), 0.5)) for _ in range(6)] + [
        claims(keys, matcher.identify(sent(keys, row, keys), 0.5)) for row in template.vectors[1:5]
    ]
    noise = np.array([length.std() for length, _, _ in found])
    assert noise == pytest.approx(np.full(10, LENGTH_TOLERANCE / 14), rel=0.1)
    for row in (1, 2):
        means = np.array([each[row].mean() for each in found])
        assert np.abs(means).max() < PROJECTION
        # the same probe six times: were the weights kept, the means would agree to the noise, 0.001; new
        # ones, spread as 0.58, do so to 0.01 in one run of 100 million (a ball of 5 dimensions)
        assert means[:6].std() > 0.01
        assert max(each[row].std() for each in found) < PROJECTION / 80


def test_weights_are_drawn_anew():
    first, second = weights(128), weights(128)
    assert first.shape == (2, 128)
    assert len(np.unique([first, second])) == 512


def test_a_question_with_fewer_claims_is_none(keys, matcher):
    """Nobody makes a probe pass by cutting what speaks against it."""
    probe = crafted(keys, everywhere([64.0, 0, 0, 0]))
    data = matcher.identify(probe, 0.5).to_bytes()
    for name in (b'"claims":2', b'"claims":0', b'"claims":1'):
        assert data.count(b'"claims":3') == 1
        with pytest.raises(FormatError, match=r"no question|damaged"):
            open_question(keys, io.BytesIO(data.replace(b'"claims":3', name)), "question")


@pytest.mark.slow
def test_the_same_holds_for_a_key_that_can_be_split(tmp_path):
    keys = UserKeys.make(SETS["faces-split"])
    gallery = begun(keys, tmp_path / "gallery", DIM)
    with Matcher(Gallery.open(gallery.folder)) as matcher:
        probe = sent(keys.public, gallery.vectors[4], keys)
        length, _, _ = claims(keys, matcher.identify(probe, 0.9))
        assert np.abs(length).max() < LENGTH_TOLERANCE / 2
        assert answered(keys, matcher.identify(probe, 0.9)).accepted == ((0, 4),)
        wraps = math.sqrt(1 + wrap(keys.set))
        for length in (0.99, 64.0, wraps):
            probe = crafted(keys, everywhere([length, 0, 0, 0], keys.set.slots))
            with pytest.raises(UserError, match=REFUSED):
                answered(keys, matcher.identify(probe, 0.9))
