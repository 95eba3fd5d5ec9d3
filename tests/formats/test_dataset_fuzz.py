"""Published layouts with one damaged file, through the data set's own reader: refused or read."""

import importlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.synthesise_emotion import write_emotion
from data_tools.synthesise_gaze import write_gaze
from fedpriv.errors import UserError

LAYOUTS = {
    "mpiigaze": (write_gaze, 2, 3),
    "mpiifacegaze": (write_gaze, 1, 1),
    "eth_xgaze": (write_gaze, 1, 1),
    "gazecapture": (write_gaze, 1, 2),
    "unityeyes": (write_gaze, 1, 2),
    "ck_plus": (write_emotion, 3, 12),
    "raf_db": (write_emotion, 3, 1),
    "affectnet": (write_emotion, 3, 1),
    "fer2013": (write_emotion, 3, 2),
}
"""Name to who writes it, how many people, how many images of each."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny, valid set of every layout."""
    base = tmp_path_factory.mktemp("whole")
    for name, (write, people, images) in LAYOUTS.items():
        write(base / name, name, people, images, 0)
    # one sequence of CK+ is enough, and makes the reader quick
    sequences = sorted((base / "ck_plus" / "Emotion").glob("*/*"))
    for sequence in sequences[1:]:
        for part in ("cohn-kanade-images", "Emotion", "Landmarks"):
            shutil.rmtree(base / "ck_plus" / part / sequence.parent.name / sequence.name)
    return base


def load(name: str, root: Path) -> None:
    """Load the set into a cache of its own, and look at everything that comes out."""
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPRIV_CACHE", cache)
        found = importlib.import_module(f"fedpriv.data.{name}").load(str(root))
        assert len(found.images) == len(found.targets) == len(found.subjects)
        assert np.isfinite(found.targets).all()
        assert found.subjects.max() < len(found.subject_names)


interesting = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [
            b"\xff" * 4,
            b"\0" * 8,
            b"\x7f",
            b"-",
            b"9" * 30,
            b"nan",
            b"1e999",
            b"null",
            b"{",
            b"[]",
            b"../",
            b",",
            b"\n",
        ]
    ),
)
edits = st.lists(st.tuples(st.floats(0, 1), interesting, st.integers(0, 8)), min_size=1, max_size=3)
flips = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3)


def mutated(content: bytes, data: st.DataObject) -> bytes:
    # headers and the ends of files steer readers more than what lies between
    near = data.draw(st.sampled_from([1.0, 0.05, 0.005]))
    changed = bytearray(content)
    for place, mask in data.draw(flips):
        if changed:
            changed[min(int(place * near * len(changed)), len(changed) - 1)] ^= mask
    for place, new, removed in data.draw(edits):
        at = int(place * near * len(changed))
        # replaced in place, or moving what follows
        changed[at : at + data.draw(st.sampled_from([removed, len(new)]))] = new
    kept = data.draw(st.one_of(st.just(1.0), st.floats(0, 1)))
    return bytes(changed[: int(kept * len(changed))])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_whole_sets_are_read(whole, name):
    load(name, whole / name)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_damaged_file_is_refused_in_one_line_or_read(whole, name, data):
    files = sorted(path.relative_to(whole / name) for path in (whole / name).rglob("*") if path.is_file())
    # kinds of files alike, however many there are of each
    suffix = data.draw(st.sampled_from(sorted({path.suffix for path in files})))
    chosen = data.draw(st.sampled_from([path for path in files if path.suffix == suffix]))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        shutil.copytree(whole / name, root)
        (root / chosen).write_bytes(mutated((root / chosen).read_bytes(), data))
        try:
            load(name, root)
        except UserError as error:
            said = str(error)
        else:
            return
    assert "\n" not in said
    assert len(said) < 1000


def test_unityeyes_labels_without_a_picture_are_counted_in_the_log(whole, tmp_path, caplog):
    shutil.copytree(whole / "unityeyes", tmp_path / "eyes")
    load("unityeyes", tmp_path / "eyes")
    assert not caplog.records
    (tmp_path / "eyes" / "2.jpg").unlink()
    load("unityeyes", tmp_path / "eyes")
    assert "1 .json files have no .jpg beside them and are left out" in caplog.text
