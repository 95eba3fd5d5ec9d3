"""The key holder answers what a matching server asks of honest probes, and nothing else."""

import io

import numpy as np
import pytest

from fedpriv.errors import FormatError, UserError
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher
from fedpriv.he.matching.opening import Answer, open_question
from fedpriv.he.matching.people import encrypted_probe, read_probe
from tests.he.matching.conftest import DIM, answered, sent
from tests.he.matching.crafting import crafted, everywhere


@pytest.fixture(scope="module")
def matcher(template):
    with Matcher(Gallery.open(template.folder)) as matcher:
        yield matcher


def test_an_honest_probe_made_by_hand_is_answered(keys, template, matcher):
    probe = crafted(keys, everywhere(template.vectors[2]))
    assert answered(keys, matcher.verify(probe, template.ids[2], 0.9)).accepted == ((0, 2),)


@pytest.mark.parametrize("length", [0.0, 0.5, 0.99, 1.01, 2.0, 5.0, 32.0, 64.0, 1024.0, 2.0**13])
def test_a_probe_of_another_length_opens_no_door(keys, template, matcher, length):
    stranger = template.vectors[2] - template.vectors[2] @ template.vectors[0] * template.vectors[0]
    stranger = stranger / np.linalg.norm(stranger) + 0.3 * template.vectors[0]
    probe = crafted(keys, everywhere(length * stranger / np.linalg.norm(stranger)))
    for question in (
        matcher.verify(probe, template.ids[0], 0.5),
        matcher.identify(probe, 0.5),
        matcher.accepted(probe, 0.5),
        matcher.scores(probe),
    ):
        with pytest.raises(UserError, match=r"^probe: is not a vector of real numbers of length 1"):
            answered(keys, question, raw_scores=True)


def test_imaginary_parts_do_not_make_up_for_length(keys, template, matcher):
    """Of p = 3 v + i sqrt(8) w the square is 1, and the real part passes with a cosine of 0.3."""
    real = template.vectors[0]
    other = template.vectors[1] - template.vectors[1] @ real * real
    probe = crafted(keys, everywhere(3 * real + 1j * np.sqrt(8) * other / np.linalg.norm(other)))
    refused = 0
    for _ in range(5):
        try:
            answered(keys, matcher.verify(probe, template.ids[0], 0.9))
        except UserError as error:
            refused += "real numbers of length 1" in str(error)
    # missed with a probability of about 2^-15 each
    assert refused >= 4


@pytest.mark.parametrize("slot", [2, 0, 4095])
def test_another_length_in_one_slot_is_seen_asked_for_or_not(keys, template, matcher, slot):
    slots = everywhere(template.vectors[0])
    slots[:, slot] *= 4
    probe = crafted(keys, slots)
    with pytest.raises(UserError, match="length 1"):
        answered(keys, matcher.verify(probe, template.ids[2], 0.9))


def test_raw_scores_need_the_key_holders_word(keys, template, matcher):
    question = matcher.scores(template.vectors[0])
    with pytest.raises(UserError, match="raw scores: this key holder gives none"):
        answered(keys, question)
    assert len(answered(keys, question, raw_scores=True).scores) == 6


def test_another_key_and_damage_are_named(keys, other_keys, template, matcher):
    data = matcher.identify(template.vectors[0], 0.5).to_bytes()
    with pytest.raises(FormatError, match=r"question.*under the key.*key here is"):
        open_question(other_keys, io.BytesIO(data), "question")
    for damaged, why in (
        (data[:-1], "cut short"),
        (data[: len(data) // 2], "cut short"),
        (data + b"x", "followed by"),
        (data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "damaged|not below"),
        (b"", "cut short"),
        (b"FPKY" + data[4:], "no ciphertexts"),
    ):
        with pytest.raises(FormatError, match=why):
            open_question(keys, io.BytesIO(damaged), "question")


def test_a_probe_is_no_question_and_a_question_no_probe(keys, template, matcher):
    probe = b"".join(encrypted_probe(keys, template.vectors[0]))
    with pytest.raises(FormatError, match=r"level of|ciphertexts|no question"):
        open_question(keys, io.BytesIO(probe), "body")
    with pytest.raises(FormatError, match=r"level of|no probe"):
        read_probe(
            io.BytesIO(matcher.identify(template.vectors[0], 0.5).to_bytes()), keys.public, DIM, "body"
        )


def test_a_probe_of_other_dimensions_or_key_is_refused_on_receipt(keys, other_keys):
    data = b"".join(encrypted_probe(keys, np.eye(3)[0]))
    for dim, match in ((4, "no probe of 4 dimensions"), (2, "at most 2 allowed")):
        with pytest.raises(FormatError, match=match):
            read_probe(io.BytesIO(data), keys.public, dim, "probe")
    with pytest.raises(FormatError, match="under the key"):
        sent(keys, np.eye(3)[0], other_keys)


def test_a_question_names_nobody(keys, template, matcher):
    data = matcher.identify(template.vectors[0], 0.5).to_bytes()
    assert not any(each.encode() in data for each in template.ids)
    assert len(data) < 130_000


def test_answers_travel_as_json_and_are_checked(keys, template, matcher):
    for answer in (
        answered(keys, matcher.identify(template.vectors[0], 0.5)),
        answered(keys, matcher.scores(template.vectors[0]), raw_scores=True),
    ):
        assert Answer.from_json(answer.to_json()) == answer
    good = {"kind": "verify", "accepted": [[0, 1]], "scores": []}
    for wrong in (
        None,
        [],
        {},
        {**good, "more": 1},
        {**good, "kind": "all"},
        {**good, "kind": []},
        {**good, "accepted": [[0]]},
        {**good, "accepted": [[0, -1]]},
        {**good, "accepted": [[0, True]]},
        {**good, "accepted": [[0, 1], [0, 2]]},
        {**good, "scores": [[0, 1, 0.5]]},
        {**good, "kind": "scores", "accepted": [], "scores": [[0, 1, float("nan")]]},
    ):
        with pytest.raises(UserError, match="answer of the key holder"):
            Answer.from_json(wrong)
