import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from fedpriv.data.cache import cache_folder, cached_arrays
from fedpriv.errors import UserError

RACER = """
import sys, time, pathlib
import numpy as np
from fedpriv.data.cache import cached_arrays
log = pathlib.Path(sys.argv[1])
def build():
    with log.open("a") as file:
        file.write("built\\n")
    time.sleep(0.5)
    return {"a": np.arange(5)}
print(int(cached_arrays("race", 1, {}, build)["a"].sum()))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    root = tmp_path / "cache"
    monkeypatch.setenv("FEDPRIV_CACHE", str(root))
    return root


class Builder:
    """Counts how often it builds."""

    def __init__(self, **arrays):
        self.arrays = arrays
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.arrays


def only_folder(root):
    (found,) = (path for path in root.iterdir() if path.is_dir())
    return found


def test_a_second_call_reads_what_the_first_built_as_a_read_only_map():
    build = Builder(a=np.arange(6, dtype=np.int16).reshape(2, 3), b=np.zeros((0, 4), dtype=np.float32))
    cached_arrays("x", 1, {"n": 1}, build)
    arrays = cached_arrays("x", 1, {"n": 1}, build)
    assert build.calls == 1
    assert isinstance(arrays["a"], np.memmap)
    np.testing.assert_array_equal(arrays["a"], build.arrays["a"])
    assert arrays["b"].shape == (0, 4)
    with pytest.raises(ValueError, match="read-only"):
        arrays["a"][0, 0] = 1


@pytest.mark.parametrize(
    ("version", "parameters"), [(2, {"n": 1}), (1, {"n": 2}), (1, {"n": 1, "m": 0}), (1, {})]
)
def test_another_version_or_parameter_builds_anew(version, parameters):
    build = Builder(a=np.zeros(1))
    cached_arrays("x", 1, {"n": 1}, build)
    cached_arrays("x", version, parameters, build)
    assert build.calls == 2


def test_the_order_of_parameters_does_not_matter():
    build = Builder(a=np.zeros(1))
    cached_arrays("x", 1, {"n": 1, "m": 2}, build)
    cached_arrays("x", 1, {"m": 2, "n": 1}, build)
    assert build.calls == 1


def test_two_processes_at_once_build_once(tmp_path):
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(log)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [racer.communicate(timeout=60)[0].strip() for racer in racers] == ["10", "10"]
    assert log.read_text() == "built\n"


def truncate(path):
    os.truncate(path, path.stat().st_size - 8)


def pickled(path):
    """A file of the right size that would need unpickling."""
    size = path.stat().st_size
    with path.open("wb") as file:
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    os.truncate(path, size)


def other_shape(path):
    content = path.read_bytes().replace(b"(1000,)", b"(10, 9)")
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, pickled, other_shape, lambda path: path.unlink()])
def test_a_damaged_array_is_built_anew(folder, damage):
    build = Builder(a=np.arange(1000.0))
    cached_arrays("x", 1, {}, build)
    damage(only_folder(folder) / "a.npy")
    arrays = cached_arrays("x", 1, {}, build)
    assert build.calls == 2
    np.testing.assert_array_equal(arrays["a"], np.arange(1000.0))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"../a": {}}', '{"a": {}}', '{"a": 3}', " " * (1 << 21), b"\xff\xfe"]
)
def test_a_damaged_manifest_is_built_anew(folder, content):
    build = Builder(a=np.arange(3))
    cached_arrays("x", 1, {}, build)
    (only_folder(folder) / "manifest.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    assert cached_arrays("x", 1, {}, build)["a"].tolist() == [0, 1, 2]
    assert build.calls == 2


def test_a_missing_manifest_is_built_anew(folder):
    build = Builder(a=np.arange(3))
    cached_arrays("x", 1, {}, build)
    (only_folder(folder) / "manifest.json").unlink()
    cached_arrays("x", 1, {}, build)
    assert build.calls == 2


def test_a_build_that_fails_leaves_nothing_behind_and_keeps_its_error(folder):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached_arrays("x", 1, {}, fail)
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
    assert cached_arrays("x", 1, {}, Builder(a=np.ones(2)))["a"].tolist() == [1, 1]


def test_an_operating_system_error_of_the_build_is_not_blamed_on_the_cache():
    def fail():
        raise FileNotFoundError("pictures.rec")

    with pytest.raises(FileNotFoundError, match="pictures"):
        cached_arrays("x", 1, {}, fail)


def test_only_the_owner_may_read(folder):
    previous = os.umask(0)
    try:
        cached_arrays("x", 1, {}, Builder(a=np.ones(2)))
    finally:
        os.umask(previous)
    paths = [folder, *folder.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert len(paths) == 5
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_the_manifest_states_sizes_shapes_and_types(folder):
    cached_arrays("x", 1, {}, Builder(a=np.zeros((2, 3), dtype=np.uint8)))
    manifest = json.loads((only_folder(folder) / "manifest.json").read_text())
    assert manifest == {"a": {"bytes": 128 + 6, "shape": [2, 3], "dtype": "|u1"}}


@pytest.mark.parametrize("name", ["../x", "", "a/b", "a" * 65, "a.b"])
def test_names_that_could_leave_the_folder_are_refused(name):
    with pytest.raises(ValueError, match="cache name"):
        cached_arrays(name, 1, {}, Builder(a=np.ones(1)))
    with pytest.raises(ValueError, match="cache name"):
        cached_arrays("x", 1, {}, Builder(**{name: np.ones(1)}))


def test_objects_are_refused():
    with pytest.raises(ValueError, match="objects"):
        cached_arrays("x", 1, {}, Builder(a=np.array([{}])))


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("FEDPRIV_CACHE", str(blocker / "cache"))
    with pytest.raises(UserError, match=r"FEDPRIV_CACHE=.*name a folder that you may write to"):
        cached_arrays("x", 1, {}, Builder(a=np.ones(1)))


def test_without_a_choice_the_cache_lies_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDPRIV_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "fedpriv"
