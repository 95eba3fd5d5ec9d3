"""Encrypted scores are those of float64, in every mode, and answers are those of the plain scores."""

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher, PlainMatcher
from fedpriv.he.matching.opening import exact_scores
from fedpriv.he.matching.people import Place, encrypted_probe, unit
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from tests.he.matching.conftest import answered, people, put, sent

WIDE = 8


def worst(dim):
    """Unit vectors on which errors of all coordinates add up, or sit in one."""
    ones = np.ones(dim)
    return unit(np.stack([ones, -ones, ones * (-1.0) ** np.arange(dim), np.eye(dim)[0], -np.eye(dim)[-1]]))


def exact(keys, question):
    blocks = exact_scores(keys, question.ciphertexts[: len(question.asked)])
    return np.array([blocks[row, slot] for row, place in enumerate(question.asked) for slot in place.slots])


def errors(keys, vectors, folder, probes, **options):
    gallery = Gallery.make(folder, keys.public, vectors.shape[1])
    put(keys, gallery, vectors)
    plain, found = PlainMatcher(keys.public, vectors), []
    with Matcher(gallery, **options) as matcher:
        for probe in probes:
            by_owner, by_caller = sent(keys, probe, keys), sent(keys.public, probe, keys)
            asked = (
                matcher.scores(by_owner),
                matcher.scores(by_caller),
                matcher.scores(probe),
                plain.ask("scores", by_owner),
                plain.ask("scores", by_caller),
            )
            found += [np.abs(exact(keys, each) - vectors @ probe).max() for each in asked]
    return found


def test_scores_of_all_modes_are_those_of_float64_also_at_the_worst_vectors(keys, tmp_path):
    vectors = np.concatenate([worst(WIDE), people(30, WIDE)])
    # 2^-36.6 is the standard deviation derived for a public-key probe; its noise is multiplied by the secret
    # key's value at the slot, which in the worst of 4,096 is about sqrt(ln 4096) = 3 times its mean
    bound = 3 * 7 * 2**-36.6
    assert max(errors(keys, vectors, tmp_path / "g", worst(WIDE)[1:4])) < bound < 1e-6


def test_a_second_block_and_its_people_are_matched_like_the_first(keys, tmp_path):
    vectors = people(4100, 3)
    assert max(errors(keys, vectors, tmp_path / "g", vectors[-1:])) < 1e-8


@pytest.mark.slow
def test_128_dimensions_and_a_key_that_splits(keys, tmp_path):
    assert max(errors(keys, people(200, 128), tmp_path / "a", worst(128)[:2])) < 1e-8
    split = UserKeys.make(parameter_set("faces-split"))
    assert max(errors(split, people(8200, 5), tmp_path / "b", people(1, 5))) < 1e-12


def test_answers_are_those_of_the_plain_scores(keys, tmp_path):
    vectors, probe = people(40, WIDE), people(1, WIDE, seed=5)[0]
    gallery = Gallery.make(tmp_path / "g", keys.public, WIDE)
    ids, scores = put(keys, gallery, vectors), vectors @ probe
    order = np.argsort(scores)
    # half way between two neighbours, so that nothing is within the noise of a decision
    gaps = np.diff(scores[order])
    number = int(np.argmax(gaps[20:35])) + 20
    threshold = float(scores[order][number : number + 2].mean())
    above = {ids[row] for row in order[number + 1 :]}
    with Matcher(gallery) as matcher:
        for given in (probe, sent(keys.public, probe, keys)):
            question = matcher.accepted(given, threshold)
            assert {question.person(*each) for each in answered(keys, question).accepted} == above
            question = matcher.identify(given, threshold)
            (best,) = answered(keys, question).accepted
            assert question.person(*best) == ids[order[-1]]
            assert answered(keys, matcher.identify(given, 0.99)).accepted == ()
            for row, expected in ((order[number + 1], 1), (order[number], 0)):
                answer = answered(keys, matcher.verify(given, ids[row], threshold))
                assert len(answer.accepted) == expected
            raw = answered(keys, matcher.scores(given, ids[3:5]), raw_scores=True).scores
            np.testing.assert_allclose(list(raw.values()), scores[3:5], atol=2**-17 + 1e-8)
            assert all(score * 2**16 == round(score * 2**16) for score in raw.values())


def test_people_in_the_clear_are_answered_about_by_row(keys):
    vectors, probe = people(40, WIDE), people(1, WIDE, seed=5)[0]
    matcher, received = PlainMatcher(keys.public, vectors), sent(keys.public, probe, keys)
    question = matcher.ask("identify", received, 0.1)
    (best,) = answered(keys, question).accepted
    assert question.person(*best) == str(np.argmax(vectors @ probe))


def test_empty_slots_never_win_whatever_the_threshold(keys, tmp_path):
    gallery = Gallery.make(tmp_path / "g", keys.public, 2)
    put(keys, gallery, np.array([[-1.0, 0.0]]), [Place(0, (9,))])
    probe = np.array([1.0, 0.5])
    with Matcher(gallery) as matcher:
        # the only person scores -0.89, and zero, as of an empty slot, would be better
        for ask in (matcher.identify, matcher.accepted):
            assert answered(keys, ask(probe, -0.5)).accepted == ()
            assert answered(keys, ask(probe, -0.95)).accepted == ((0, 9),)


def test_zeros_in_a_probe_or_a_column_are_no_obstacle(keys, tmp_path):
    vectors = np.eye(3)[:2]
    assert max(errors(keys, vectors, tmp_path / "g", np.eye(3)[:2])) < 1e-8


def test_who_comes_and_goes_counts_in_the_next_question(keys, small):
    gallery = Gallery.open(small.folder)
    probe = small.vectors[4]
    with Matcher(gallery) as matcher:

        def best(threshold=0.9):
            question = matcher.identify(probe, threshold)
            return [question.person(*each) for each in answered(keys, question).accepted]

        assert best() == [small.ids[4]]
        gallery.delete([small.ids[4]])
        assert best(0.999) == []
        with pytest.raises(UserError, match="is not enrolled"):
            matcher.verify(probe, small.ids[4], 0.5)
        (again,) = put(keys, gallery, probe[np.newaxis])
        assert best() == [again]
        gallery.compact()
        assert best() == [again]
        # of three in one segment: a name that is gone is never asked about
        gallery.delete(small.ids[:1])
        question = matcher.accepted(small.vectors[0], 0.999)
        assert answered(keys, question).accepted == ()


def test_adding_up_anew_is_the_same_as_subtracting(keys, small):
    gallery = Gallery.open(small.folder)
    with Matcher(gallery) as matcher:
        gallery.delete(small.ids[3:5])
        left = exact(keys, matcher.scores(small.vectors[5]))
        block = exact_scores(keys, matcher.scores(small.vectors[5]).ciphertexts)[0]
        assert np.abs(block[[3, 4]]).max() < 1e-8
    expected = small.vectors[[0, 1, 2, 5]] @ small.vectors[5]
    np.testing.assert_allclose(left, expected, atol=1e-9)
    (segments,) = gallery.segments().values()
    assert len(segments) == 2


def test_several_processes_hold_the_gallery_once_and_answer_the_same(keys, small):
    gallery = Gallery.open(small.folder)
    with Matcher(gallery) as one, Matcher(gallery, workers=2) as two:
        assert one.memory_bytes == two.memory_bytes == 4 * 4 * 8192 * 8
        for probe in (small.vectors[1], sent(keys.public, small.vectors[1], keys)):
            np.testing.assert_allclose(
                exact(keys, two.scores(probe)), small.vectors @ small.vectors[1], atol=1e-8
            )
            assert answered(keys, two.identify(probe, 0.9)).accepted == ((0, 1),)
        gallery.delete([small.ids[1]])
        assert answered(keys, two.identify(small.vectors[1], 0.999)).accepted == ()
        two._engine._processes[0].kill()
        with pytest.raises(UserError, match="a process has ended"):
            two.scores(small.vectors[1])


def test_edge_probes_and_thresholds_that_do_not_fit_are_refused(keys, template):
    with Matcher(Gallery.open(template.folder)) as matcher:
        for probe in (people(1, 5)[0], people(2), sent(keys, people(1, 3)[0], keys)):
            with pytest.raises(UserError, match="dimensions"):
                matcher.identify(probe, 0.5)
        for probe in (np.zeros(4), np.array([1, np.nan, 0, 0])):
            with pytest.raises(UserError, match="zero or not finite"):
                matcher.identify(probe, 0.5)
        for threshold in (1.5, float("nan")):
            with pytest.raises(UserError, match="scores are -1 to 1"):
                matcher.identify(template.vectors[0], threshold)
        with pytest.raises(UserError, match="no name of 12"):
            matcher.verify(template.vectors[0], "Anna", 0.5)


def test_edge_an_empty_gallery_has_nothing_to_ask(keys, tmp_path):
    gallery = Gallery.make(tmp_path / "g", keys.public, 4)
    with Matcher(gallery) as matcher, pytest.raises(UserError, match="nobody is enrolled"):
        matcher.identify(people(1)[0], 0.5)


def test_a_probe_takes_half_the_bytes_from_whom_holds_the_key(keys):
    vector = people(1)[0]
    by_owner = sum(map(len, encrypted_probe(keys, vector)))
    by_caller = sum(map(len, encrypted_probe(keys.public, vector)))
    assert by_caller / by_owner == pytest.approx(2, rel=0.01)
