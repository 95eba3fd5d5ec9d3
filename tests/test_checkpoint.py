"""The checkpoint's files: what is written is read, what is damaged is one line, nothing is half there."""

import dataclasses
import json
import os
import stat
import zipfile
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.arrays import read_npz
from fedpriv.checkpoint import FORMAT, Checkpoint, RunRecord
from fedpriv.errors import UserError
from fedpriv.privacy.listening import Heard
from fedpriv.results import RoundResult
from fedpriv.snapshot import Kept, Snapshot
from fedpriv.training.party import ClientMemory

RECORD = RunRecord(
    config={"seed": 1, "secure": {"key_folder": None}},
    overrides=["seed=1"],
    data="ab",
    metric="accuracy",
    baseline={"accuracy": 0.5},
    tracking_uri="sqlite:////tmp/mlflow.db",
    mlflow_run_id="cd",
)
SNAPSHOT = Snapshot(
    history=[
        RoundResult(0, {"accuracy": 0.1}),
        RoundResult(1, {}, train_loss=0.3, epsilon=1.5, delta=1e-5, asked=2, failures={"no_reply": 1}),
    ],
    parameters=np.array([1.0, -0.0, np.float32(1e-42), 3e38], np.float32),
    layout=bytes(range(32)),
    kept=Kept(
        arrays={"m": np.array([1.0, 2.0**-1070]), "0/step": np.array(3.0, np.float32)},
        memories={
            0: ClientMemory(((1.25, 0.1, 30),), np.array([5.0], np.float32)),
            2: ClientMemory(((0.1 + 0.2, 1 / 3, 7), (2.0, 0.5, 1))),
        },
        ended=False,
        lost_releases=((1, 4), (2, 3)),
        attempts=2,
        heard=Heard(np.array([-1.5, 2.0**-1070]), 3, 0.1 + 0.2),
    ),
)


@pytest.fixture
def saved(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    with checkpoint.held():
        checkpoint.begin(RECORD)
        checkpoint.save(SNAPSHOT)
        yield checkpoint


def assert_same(found, written):
    assert found.history == written.history
    assert (found.parameters.tobytes(), found.layout) == (written.parameters.tobytes(), written.layout)
    kept, other = found.kept, written.kept
    assert (kept.ended, kept.lost_releases) == (other.ended, other.lost_releases)
    assert kept.attempts == other.attempts
    assert (kept.heard is None) == (other.heard is None)
    if kept.heard is not None and other.heard is not None:
        assert kept.heard.sums.tobytes() == other.heard.sums.tobytes()
        assert (kept.heard.rounds, kept.heard.epsilon) == (other.heard.rounds, other.heard.epsilon)
    assert {n: a.tobytes() for n, a in kept.arrays.items()} == {
        n: a.tobytes() for n, a in other.arrays.items()
    }
    assert {n: (a.shape, a.dtype) for n, a in kept.arrays.items()} == {
        n: (a.shape, a.dtype) for n, a in other.arrays.items()
    }
    assert {n: m.history for n, m in kept.memories.items()} == {
        n: m.history for n, m in other.memories.items()
    }
    heads = [
        {n: None if m.head is None else m.head.tobytes() for n, m in each.memories.items()}
        for each in (kept, other)
    ]
    assert heads[0] == heads[1]


def test_what_is_written_is_read_bit_by_bit(saved):
    assert saved.record() == RECORD
    assert_same(saved.load(), SNAPSHOT)


def test_figures_that_are_not_finite_survive(saved):
    odd = RoundResult(2, {"accuracy": float("nan")}, epsilon=float("inf"))
    saved.save(dataclasses.replace(SNAPSHOT, history=[*SNAPSHOT.history, odd]))
    found = saved.load().history[-1]
    assert np.isnan(found.metrics["accuracy"])
    assert found.epsilon == float("inf")


def test_files_are_the_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        with Checkpoint(tmp_path).held() as checkpoint:
            checkpoint.begin(RECORD)
            checkpoint.save(SNAPSHOT)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in checkpoint.folder.iterdir()}
    assert modes == {"run.json": 0o600, "state.npz": 0o600, "lock": 0o600}
    assert stat.S_IMODE(checkpoint.folder.stat().st_mode) == 0o700


def test_a_crash_while_writing_leaves_the_round_before(saved, monkeypatch):
    def torn(file, **arrays):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", torn)
    with pytest.raises(KeyboardInterrupt):
        saved.save(dataclasses.replace(SNAPSHOT, parameters=np.zeros(4, np.float32)))
    assert_same(saved.load(), SNAPSHOT)
    monkeypatch.undo()
    saved.save(SNAPSHOT)  # what was left half written is in nobody's way
    assert {path.name for path in saved.folder.iterdir()} == {"run.json", "state.npz", "lock"}


@pytest.mark.parametrize("name", ["run.json", "state.npz"])
def test_a_folder_in_the_place_of_a_file_is_one_line(saved, name):
    (saved.folder / name).unlink()
    (saved.folder / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}: cannot be read \(Is a directory\)"):
        (saved.record if name == "run.json" else saved.load)()


@pytest.mark.parametrize("name", ["run.json", "state.npz"])
def test_a_pipe_in_the_place_of_a_file_is_one_line_and_not_waited_for(saved, name):
    (saved.folder / name).unlink()
    os.mkfifo(saved.folder / name)
    with pytest.raises(UserError, match=rf"{name}: is damaged"):
        (saved.record if name == "run.json" else saved.load)()


def test_an_unfinished_run_is_not_overwritten(saved):
    with pytest.raises(UserError, match="holds an unfinished run; go on with `fedpriv resume"):
        saved.require_free()
    saved.finish(RECORD)
    saved.require_free()


def test_a_folder_without_a_finished_round_is_free(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    with checkpoint.held():
        checkpoint.require_free()
        checkpoint.begin(RECORD)
        checkpoint.require_free()


def test_what_is_known_later_is_noted_beside_the_state(saved):
    later = dataclasses.replace(RECORD, mlflow_run_id="ef")
    saved.note(later)
    assert saved.record() == later
    assert saved.begun
    assert_same(saved.load(), SNAPSHOT)


def test_a_new_run_forgets_the_old_ones_state(saved):
    saved.begin(RECORD)
    assert not saved.begun
    with pytest.raises(
        UserError, match="ended before its first round; resume it, or run the experiment again"
    ):
        saved.load()


def test_a_finished_run_says_so_and_keeps_the_rest(saved):
    saved.finish(RECORD)
    assert saved.record() == dataclasses.replace(RECORD, finished=True)


def test_a_folder_that_is_held_is_refused_and_free_afterwards(tmp_path):
    second = Checkpoint(tmp_path).held()
    with (
        Checkpoint(tmp_path).held(),
        pytest.raises(UserError, match="a run is under way there; wait for its end"),
        second,
    ):
        pytest.fail("not refused")
    with Checkpoint(tmp_path).held():
        pass


def test_a_folder_without_a_checkpoint_is_refused_and_not_made(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint; name the output folder of a run"):
        Checkpoint(tmp_path / "none").record()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("change", [{"version": "99.0"}, {"format": 1}, {"format": None}])
def test_another_version_is_refused_in_one_line_that_names_both(saved, change):
    path = saved.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(
        UserError, match=r"written by fedpriv .* \(format .*\), this is .*; resume it with that"
    ):
        saved.record()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{", '{"format": 1}', "[" * 100_000, "1" * 5000),
        f'{{"format":{FORMAT},"version":"0.1.0"}}',
    ],
    ids=lambda text: text[:12],
)
def test_a_damaged_record_is_one_line(saved, text):
    (saved.folder / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json: is damaged; run the experiment again"):
        saved.record()


def test_a_record_with_a_value_of_another_type_is_damaged(saved):
    path = saved.folder / "run.json"
    for name in dataclasses.asdict(RECORD):
        path.write_text(json.dumps({**json.loads(path.read_text()), name: 17}))
        with pytest.raises(UserError, match="is damaged"):
            saved.record()
        saved.begin(RECORD)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_changed_or_missing_byte_is_noticed_or_harmless(tmp_path_factory, data):
    """Either one line, or exactly what was written: never another history."""
    folder = tmp_path_factory.mktemp("damage")
    with Checkpoint(folder).held() as checkpoint:
        checkpoint.save(SNAPSHOT)
    path = checkpoint.folder / "state.npz"
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= data.draw(st.integers(1, 255))
    else:
        del whole[place:]
    path.write_bytes(whole)
    try:
        found = checkpoint.load()
    except UserError as error:
        said = str(error)
    else:
        assert_same(found, SNAPSHOT)
        return
    assert said == f"{path}: is damaged; run the experiment again"


def npz(**arrays):
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def facts(**changes):
    text = {
        "history": [dataclasses.asdict(SNAPSHOT.history[0])],
        "privacy": {},
        "ended": False,
        "lost_releases": [],
        "attempts": 0,
        "heard": None,
        "arrays": ["layout", "parameters"],
        **changes,
    }
    return np.frombuffer(json.dumps(text).encode(), np.uint8)


GOOD = {"parameters": np.zeros(2, np.float32), "layout": np.zeros(32, np.uint8), "facts": facts()}
ROUND = dataclasses.asdict(SNAPSHOT.history[0])
BAD = {
    "no facts": {"facts": np.zeros(0, np.uint8)},
    "facts that are a number": {"facts": np.frombuffer(b"17", np.uint8)},
    "no rounds": {"facts": facts(history=[])},
    "a missing round": {"facts": facts(history=[{**ROUND, "number": 1}])},
    "a round with a text": {"facts": facts(history=[{**ROUND, "epsilon": "much"}])},
    "a round with another field": {"facts": facts(history=[{**ROUND, "more": 1}])},
    "metrics that are a list": {"facts": facts(history=[{**ROUND, "metrics": [1]}])},
    "a history of nonsense": {"facts": facts(privacy={"0": "[[-1, 2, 3]]"})},
    "a history of no client": {"facts": facts(privacy={"x": "[]"})},
    "an end of text": {"facts": facts(ended="yes")},
    "a lost sum of nobody": {"facts": facts(lost_releases=[[1, 4], [2, 0]])},
    "a lost sum of true": {"facts": facts(lost_releases=[[1, True]])},
    "lost sums of text": {"facts": facts(lost_releases="44")},
    "lost sums of no round": {"facts": facts(lost_releases=[4, 3])},
    "a round begun less than never": {"facts": facts(attempts=-1)},
    "a round begun yes": {"facts": facts(attempts=True)},
    "an ear without what it heard": {"facts": facts(heard=[3, 1.5])},
    **{
        f"heard: {given} {array}": {
            "heard": array,
            "facts": facts(heard=given, arrays=["heard", "layout", "parameters"]),
        }
        for given, array in (
            ([-1, 1.5], np.zeros(2)),
            ([3, -1.5], np.zeros(2)),
            ([3], np.zeros(2)),
            (["3", 1.5], np.zeros(2)),
            ([3, 1.5], np.zeros(2, np.float32)),
            ([3, 1.5], np.array([np.nan])),
        )
    },
    "parameters of another type": {"parameters": np.zeros(2)},
    "parameters of another shape": {"parameters": np.zeros((2, 2), np.float32)},
    "the head of an unknown client": {
        "head/7": np.zeros(2, np.float32),
        "facts": facts(arrays=["head/7", "layout", "parameters"]),
    },
    "an array that is not there": {"facts": facts(arrays=["layout", "parameters", "selection"])},
    "an array that nobody wrote": {"selection": np.zeros(2, np.uint8)},
}


@pytest.mark.parametrize("name", BAD)
def test_a_state_that_is_not_one_is_damaged(saved, name):
    path = saved.folder / "state.npz"
    path.write_bytes(npz(**GOOD))
    saved.load()
    path.write_bytes(npz(**{**GOOD, **BAD[name]}))
    with pytest.raises(UserError, match=r"state\.npz: is damaged; run the experiment again"):
        saved.load()


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "evil.npz"
    path.write_bytes(npz(x=np.array([{"a": 1}], dtype=object)))
    with pytest.raises(ValueError, match="holds object, no numbers"):
        read_npz(path)


def test_a_lying_shape_or_a_compressed_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "lies.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"12345678"
        )
    with pytest.raises(ValueError, match="and 8 bytes disagree"):
        read_npz(path)
    np.savez_compressed(path, x=np.zeros(10_000_000))
    with pytest.raises(ValueError, match="is compressed"):
        read_npz(path)


@pytest.mark.parametrize(
    "literal", ["{'descr': '<f8', (", "{'descr':\n  '<f8'\n }\n   )", "(" * 3000, "{'a' 1}", "{1: 2}", "7"]
)
def test_a_damaged_header_is_no_number(tmp_path, literal):
    path = tmp_path / "header.npz"
    header = literal.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"."):
        read_npz(path)


def test_arrays_come_back_as_they_were(tmp_path):
    path = tmp_path / "good.npz"
    arrays = {
        "a": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "b/c": np.array(7, np.int64),
        "d": np.zeros((0, 3), np.float32),
        "e": np.array([True, False]),
    }
    path.write_bytes(npz(**arrays))
    found = read_npz(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
