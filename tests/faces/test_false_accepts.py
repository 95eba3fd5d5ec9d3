"""Thresholds come from strangers who were counted: against counting again, and from model to key holder."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.faces.false_accepts import RATES, FalseAccepts, drawn, impostor_scores, in_words
from fedpriv.faces.holding import KeyHolder, KeyHolderSettings
from fedpriv.faces.keyholder import build_keyholder
from fedpriv.faces.register import Register
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.pairs import VerificationPairs
from tests.faces.running import Pictures, faces


@given(st.lists(st.floats(-1, 0.99), max_size=1500), st.sampled_from(RATES))
def test_at_most_the_stated_share_of_impostors_is_above_a_threshold(scores, rate):
    found = FalseAccepts.measured(np.array(scores), 7)
    assert found.pairs == len(scores)
    for far, threshold in found.thresholds:
        assert sum(score > threshold for score in scores) <= far * len(scores) * (1 + 1e-9)
    chosen = found.at(rate)
    if chosen is not None and chosen[0] > rate:
        # only where one pair is more than that
        assert rate * len(scores) < 1


def test_no_more_is_refused_than_the_rate_asks_for():
    """Of distinct scores just as many as the rate allows are above."""
    scores = np.random.default_rng(0).normal(0, 0.2, 10_000).clip(-1, 1)
    found = dict(FalseAccepts.measured(scores, 100).thresholds)
    assert {far: int((scores > threshold).sum()) for far, threshold in found.items()} == {
        0.1: 1000,
        0.03: 300,
        0.01: 100,
        3e-3: 30,
        1e-3: 10,
        3e-4: 3,
        1e-4: 1,
    }


def test_too_few_pairs_resolve_a_larger_rate_and_it_says_so():
    few = FalseAccepts.measured(np.linspace(-1, 0.5, 400), 5)
    chosen = few.at(1e-3)
    assert chosen is not None
    assert chosen[0] == 3e-3
    assert "which resolve no 0.001" in in_words(few, 1e-3, chosen)
    assert "probability 0.003 (measured on 400 impostor pairs of 5 people" in in_words(few, 1e-3, chosen)
    assert few.at(0.02)[0] == 0.01
    assert FalseAccepts.measured(np.array([0.1] * 9), 2).at(1e-3) is None
    assert FalseAccepts.measured(np.array([]), 1).thresholds == ()


def test_a_rate_above_the_one_asked_for_is_told_and_no_other():
    few = FalseAccepts.measured(np.linspace(-1, 0.5, 400), 5)
    said = few.shortfall(1e-6)
    assert said is not None
    assert "1e-06" in said
    assert "0.003, which is above it" in said
    assert few.shortfall(3e-3) is few.shortfall(0.02) is FalseAccepts(0, 0, ()).shortfall(0.1) is None


def test_pictures_that_are_the_same_to_a_model_make_thresholds_of_one_at_most():
    """The cosine of two equal rows is 1 up to rounding, which goes either way."""
    scores = np.full(1000, 1 + 2.0**-52)
    found = FalseAccepts.measured(scores, 9)
    assert [cosine for _, cosine in found.thresholds] == [1.0] * 5
    assert FalseAccepts.from_json(json.loads(json.dumps(found.to_json()))) == found
    # as files of before have it
    before = {**found.to_json(), "thresholds": [[far, 1 + 2.0**-20] for far, _ in found.thresholds]}
    assert FalseAccepts.from_json(before) == found
    below = FalseAccepts.measured(-scores, 9)
    assert FalseAccepts.from_json(below.to_json()) == below


def test_impostors_are_all_pairs_of_different_people():
    rows, subjects = faces(9), np.array([0, 0, 1, 2, 2, 2, 3, 0, 1])
    expected = sorted(
        float(rows[i] @ rows[j]) for i in range(9) for j in range(i) if subjects[i] != subjects[j]
    )
    np.testing.assert_allclose(np.sort(impostor_scores(rows, subjects)), expected)
    pairs = VerificationPairs(np.array([0, 2, 3]), np.array([1, 5, 4]), np.array([True, False, True]))
    np.testing.assert_allclose(impostor_scores(rows, subjects, pairs), [rows[2] @ rows[5]])
    assert len(drawn(100_000, None)) == len(set(drawn(100_000, None))) < 5000
    assert list(drawn(5, None)) == list(range(5))


def test_a_measurement_reads_back_and_nothing_else_does():
    made = FalseAccepts.measured(np.linspace(-1, 0.9, 5000), 12)
    data = json.loads(json.dumps(made.to_json()))
    assert FalseAccepts.from_json(data) == made
    for change in (
        {"thresholds": [[0.1, 2.0]]},
        {"thresholds": [[0.1, 1 + 2.0**-19]]},
        {"thresholds": [[0.5, 0.1]]},
        {"thresholds": [[1e-3, 0.5], [0.1, 0.2]]},
        {"thresholds": [[float("nan"), 0.5]]},
        {"thresholds": [[0.1, float("nan")]]},
        {"thresholds": 3},
        {"people": "x"},
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            FalseAccepts.from_json({**data, **change})


@pytest.fixture
def owner(tmp_path):
    folder = tmp_path / "owner"
    folder.mkdir(mode=0o700)
    UserKeys.make(SETS["faces"]).save(folder)
    return folder


def test_a_key_holder_decides_by_the_rate_that_was_measured(owner):
    measured = FalseAccepts.measured(np.linspace(-1, 0.9, 5000), 12)
    with pytest.raises(
        UserError, match=r"no FAR .*; give --model FILE of `fedpriv faces export RUN FILE`, .* or"
    ):
        KeyHolder(KeyHolderSettings(owner=owner))
    Register(owner).measure(measured)
    for rate in (1e-3, 0.01):
        holder = KeyHolder(KeyHolderSettings(owner=owner, far=rate))
        assert holder.policy().threshold == dict(measured.thresholds)[rate]
        assert f"with probability {rate:g}" in holder.basis
    assert KeyHolder(KeyHolderSettings(owner=owner)).threshold == dict(measured.thresholds)[1e-3]
    given = KeyHolder(KeyHolderSettings(owner=owner, threshold=0.25))
    assert (given.threshold, "unknown" in given.basis) == (0.25, True)
    for rate in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="--far"):
            KeyHolder(KeyHolderSettings(owner=owner, far=rate))
    # a later one counts
    later = FalseAccepts.measured(np.linspace(-1, 0.5, 5000), 12)
    Register(owner).measure(later)
    assert Register(owner).measured() == later


def test_a_key_holder_takes_the_rate_from_a_file_of_the_model_that_people_are_enrolled_by(owner):
    """Enrolled with a run's folder, the register knows none."""
    bare = Pictures(faces(3)).embedder
    Register(owner).pin("a" * 64, bare.digest)
    measured = FalseAccepts.measured(np.linspace(-1, 0.9, 5000), 12)
    exported = replace(bare, source="faces.npz", false_accepts=measured)
    holder = KeyHolder(KeyHolderSettings(owner=owner, far=0.01, model=exported))
    assert holder.threshold == dict(measured.thresholds)[0.01]
    other = replace(exported, digest="2" * 64)
    with pytest.raises(UserError, match=r"faces.npz: is the model 2{16}, people are enrolled by 1{16}; give"):
        KeyHolder(KeyHolderSettings(owner=owner, model=other))
    with pytest.raises(UserError, match=r"numbers: no FAR .*; give --model FILE of `fedpriv faces export"):
        KeyHolder(KeyHolderSettings(owner=owner, model=bare))
    with pytest.raises(UserError, match="--threshold and --model: choose one"):
        KeyHolder(KeyHolderSettings(owner=owner, model=exported, threshold=0.5))


def test_a_key_holder_that_decides_above_the_rate_asked_for_warns(owner, capsys):
    Register(owner).measure(FalseAccepts.measured(np.linspace(-1, 0.9, 5000), 12))
    build_keyholder(KeyHolderSettings(owner=owner, far=3e-4))
    assert capsys.readouterr().err == ""
    build_keyholder(KeyHolderSettings(owner=owner, far=1e-6))
    said = capsys.readouterr().err
    assert said.startswith("faces keyholder: --far 1e-06: ")
    assert "0.0003" in said
    assert said.count("\n") == 1


def test_an_exported_model_was_measured_on_people_it_was_not_trained_on(tmp_path):
    """A run of a moment; counted again from the exported model on the pictures that the run held out."""
    from fedpriv.config.as_json import to_json
    from fedpriv.config.compose import compose_run
    from fedpriv.config.datasets import build_data
    from fedpriv.faces.embed import export, load_embedder
    from fedpriv.runner import run

    config = compose_run(
        "task=face",
        "data.people=14",
        "data.images_per_person=6",
        "data.size=32",
        "model.outputs=16",
        "federation.rounds=1",
        "federation.clients=2",
        "evaluation.test_subjects=6",
        "evaluation.pictures=0",
        "engine.workers=0",
        "engine.threads=1",
        "tracking=none",
    )
    run(config, output_dir=tmp_path / "run")
    export(str(tmp_path / "run"), tmp_path / "faces.npz")
    embedder = load_embedder(str(tmp_path / "faces.npz"))
    _, training, held_out = build_data(to_json(config))
    assert not set(training.subjects) & set(held_out.subjects)
    rows, people = embedder.embed(np.asarray(held_out.images[:])), held_out.subjects
    scores = np.array([rows[i] @ rows[j] for i in range(36) for j in range(i) if people[i] != people[j]])
    measured = embedder.false_accepts
    assert measured is not None
    assert (measured.people, measured.pairs) == (6, len(scores)) == (6, 540)
    for far, threshold in measured.thresholds:
        assert np.floor(far * 540) - 1 <= (scores > threshold).sum() <= far * 540
    assert [far for far, _ in measured.thresholds] == [0.1, 0.03, 0.01, 3e-3]
