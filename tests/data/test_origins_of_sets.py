"""Every reader's origins: the same under any setting and in any copy; a changed record changes its own."""

import hashlib
import importlib
import pickle
import shutil
import struct

import numpy as np
import pytest

from data_tools.synthesise_emotion import write_emotion
from fedpriv.data import affectnet, ck_plus, fer2013, gazecapture, identity_folder, verification_bin
from fedpriv.formats import eth_xgaze, mpiifacegaze, mpiigaze
from fedpriv.formats.fer2013 import write_fer2013
from fedpriv.formats.lfw_pairs import LfwPairs, Pair, write_pairs
from fedpriv.formats.pair_records import write_pair_records
from fedpriv.formats.unityeyes import EyeLabel, write_label
from fedpriv.formats.verification_bin import write_verification_bin
from fedpriv.training.data import examples_of
from tests.data.test_gazecapture import write as write_recording
from tests.data.test_mpiigaze import LEFT, eyes
from tests.data.test_recordio import png


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))


def file_origin(content):
    return int.from_bytes(hashlib.sha256(b"fedpriv origin 1\0" + content).digest()[:8], "little")


def pixel_origin(pixels):
    stated = struct.pack(f"<{1 + pixels.ndim}I", pixels.ndim, *pixels.shape)
    digest = hashlib.sha256(b"fedpriv origin 1 pixels\0" + stated + pixels.tobytes())
    return int.from_bytes(digest.digest()[:8], "little")


def files(root, *patterns):
    return [file_origin(path.read_bytes()) for pattern in patterns for path in sorted(root.glob(pattern))]


def write_mpiigaze(root, greys):
    """Two people of one day of two frames: left eyes, then right ones."""
    for person in (0, 1):
        left, right = greys[4 * person :][:2], greys[4 * person + 2 :][:2]
        day = mpiigaze.Day(("0001.jpg", "0002.jpg"), eyes(left, LEFT), eyes(right, LEFT))
        mpiigaze.write_day(root / mpiigaze.NORMALIZED / f"p{person:02d}" / "day01.mat", day)
        samples = ("0002.jpg", "right"), ("0001.jpg", "left"), ("0001.jpg", "right")
        mpiigaze.write_samples(
            root / mpiigaze.SAMPLE_LISTS / f"p{person:02d}.txt",
            tuple(mpiigaze.Sample("day01", name, side) for name, side in samples),
        )
    return [pixel_origin(image) for image in eyes(greys, LEFT).images]


def coloured(greys, size):
    """Pictures of one colour, so that red and blue, or up and left, cannot be exchanged unnoticed."""
    faces = np.zeros((len(greys), size, size, 3), np.uint8)
    faces[..., 0], faces[:, 0, :, 1] = np.array(greys)[:, None, None], 7
    return faces


def write_mpiifacegaze(root, greys):
    faces = coloured(greys, 448)
    labels = mpiifacegaze.FaceLabels(np.zeros((2, 2)), np.zeros((2, 2)))
    for person in (0, 1):
        mpiifacegaze.write_person(root / f"p{person:02d}.mat", faces[2 * person :][:2], labels)
    return [pixel_origin(face) for face in faces]


def write_eth_xgaze(root, greys):
    faces = coloured(greys, 16)
    for person in (0, 1):
        path = root / "train" / f"subject{person:04d}.h5"
        eth_xgaze.write_person(path, faces[2 * person :][:2], np.zeros((2, 2)))
    eth_xgaze.write_split(root, ("subject0000.h5", "subject0001.h5"))
    return [pixel_origin(face) for face in faces]


def write_gazecapture(root, greys):
    for name, split, row in (("00002", "train", 0), ("00005", "val", 2), ("00009", "test", 3)):
        write_recording(root, name, split, greys[row : row + (2 if row == 0 else 1)])
    return files(root, "*/frames/*.jpg")


def write_unityeyes(root, greys):
    root.mkdir()
    rim = np.tile([30.0, 30.0], (16, 1))
    rim[8], rim[0] = [40.0, 30.0], [20.0, 30.0]
    label = EyeLabel(np.array([0.0, 0.0, -1.0]), rim, np.tile([20.0, 30.0], (7, 1)), np.zeros((32, 2)))
    for number, grey in enumerate(greys, 1):
        (root / f"{number}.jpg").write_bytes(png(grey, 60))
        write_label(root / f"{number}.json", label)
    return files(root, "*.jpg")


def write_fer(root, greys):
    root.mkdir()
    images = [np.full((1, 48, 48), grey, np.uint8) for grey in greys]
    write_fer2013(root / "fer2013.csv", images, [0, 3, 6, 1], [0, 0, 1, 2])
    return [pixel_origin(image) for image in images]


def write_lfw(root, greys):
    names = ("Ann_A", "Bob_B", "Cy_C")
    for name, grey in zip((*names, *names), greys, strict=True):
        path = root / "lfw" / name / f"{name}_{1 + len(list((root / 'lfw' / name).glob('*'))):04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(grey))
    pairs = [Pair(("Ann_A", 1), ("Ann_A", 2), True), Pair(("Ann_A", 1), ("Cy_C", 2), False)] * 10
    write_pairs(root / "pairs.txt", LfwPairs(pairs, 10, 1))
    return files(root, "lfw/*/*.jpg")


def write_bin(root, greys):
    root.mkdir()
    contents = [png(grey) for grey in greys]
    write_verification_bin(root / "lfw.bin", contents, [True, False] * 10)
    return [file_origin(content) for content in contents]


SETS = {
    "mpiigaze": (
        write_mpiigaze,
        8,
        {"subset": "all"},
        [
            ({"subset": "all", "max_people": 1}, [0, 1, 2, 3]),
            ({"subset": "all", "max_images": 2}, [0, 2, 4, 6]),
            ({}, [3, 0, 2, 7, 4, 6]),
            ({"max_images": 1}, [3, 7]),
        ],
    ),
    "mpiifacegaze": (
        write_mpiifacegaze,
        4,
        {"size": 8},
        [
            ({"size": 16, "colour": False}, [0, 1, 2, 3]),
            ({"size": 448, "max_people": 1}, [0, 1]),
            ({"size": 8, "max_images": 1}, [0, 2]),
        ],
    ),
    "eth_xgaze": (
        write_eth_xgaze,
        4,
        {},
        [
            ({"size": 8, "colour": False}, [0, 1, 2, 3]),
            ({"size": 16, "max_people": 1}, [0, 1]),
            ({"max_images": 1}, [0, 2]),
        ],
    ),
    "unityeyes": (write_unityeyes, 4, {}, [({"max_images": 2}, [0, 2])]),
    "fer2013": (
        write_fer,
        4,
        {"use_public": "train"},
        [
            ({"use_public": "train", "region": "eye"}, [0, 1, 2, 3]),
            ({}, [0, 1, 3]),
            ({"use_public": "test", "max_images": 2}, [0, 2]),
        ],
    ),
    "lfw": (
        write_lfw,
        6,
        {"all_images": True},
        [
            ({"all_images": True, "height": 8, "width": 9, "colour": False}, [0, 1, 2, 3, 4, 5]),
            ({"centre": 1.0}, [0, 1, 5]),
        ],
    ),
    "verification_bin": (
        write_bin,
        40,
        {},
        [({"height": 8, "width": 9}, list(range(40))), ({"colour": False}, list(range(40)))],
    ),
}
"""Name to: what writes records and returns their origins, their number, settings that load all of them in
that order, and other settings with the records that these load."""


def load(name, root, **settings):
    return importlib.import_module(f"fedpriv.data.{name}").load(str(root), **settings)


@pytest.mark.parametrize("name", SETS)
def test_records_are_known_by_their_bytes_under_every_setting(tmp_path, name):
    write, count, every, others = SETS[name]
    expected = write(tmp_path / "set", list(range(10, 10 + count)))
    found = load(name, tmp_path / "set", **every)
    assert found.origins.tolist() == expected
    assert len(set(expected)) == count
    for settings, records in others:
        assert load(name, tmp_path / "set", **settings).origins.tolist() == [expected[row] for row in records]
    # from the cache as when they were read first
    assert load(name, tmp_path / "set", **every).origins.tolist() == expected
    part = found.subset(np.array([2, 0]))
    assert part.origins.tolist() == [expected[2], expected[0]]


@pytest.mark.parametrize("name", SETS)
def test_a_copy_is_the_same_and_a_changed_record_changes_its_own_origin_alone(tmp_path, name):
    write, count, every, _ = SETS[name]
    greys = list(range(10, 10 + count))
    write(tmp_path / "set", greys)
    shutil.copytree(tmp_path / "set", tmp_path / "elsewhere" / "copy")
    write(tmp_path / "changed", [*greys[:2], 200, *greys[3:]])
    found, copy, changed = (
        load(name, tmp_path / folder, **every).origins for folder in ("set", "elsewhere/copy", "changed")
    )
    assert found.tolist() == copy.tolist()
    changes = found != changed
    assert changes.sum() == 1
    # LFW's files are written round the people, and read person by person
    assert changes.argmax() == (4 if name == "lfw" else 2)


def test_a_frame_gives_two_examples_of_eyes_which_its_face_both_holds(tmp_path):
    frames = write_gazecapture(tmp_path / "set", [10, 20, 30, 40])
    eye = load("gazecapture", tmp_path / "set", validation="train").origins
    assert eye[::2].tolist() == frames
    assert len(set(eye.tolist())) == 8
    face = load("gazecapture", tmp_path / "set", validation="train", region="face", size=16)
    assert face.origins.tolist() == eye.reshape(4, 2).tolist()
    far = load("gazecapture", tmp_path / "set", validation="held_out", distance_cm=60.0)
    assert far.origins.tolist() == eye.tolist()
    assert load("gazecapture", tmp_path / "set").origins.tolist() == eye[[0, 1, 2, 3, 6, 7]].tolist()
    first = gazecapture.load(str(tmp_path / "set"), max_people=1, max_images=1)
    assert examples_of(first).digests.tolist() == sorted(eye[:2].tolist())
    assert set(examples_of(first).digests) < set(examples_of(face).digests)

    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    write_gazecapture(tmp_path / "changed", [10, 99, 30, 40])
    copy, changed = (
        load("gazecapture", tmp_path / folder, validation="train").origins for folder in ("copy", "changed")
    )
    assert copy.tolist() == eye.tolist()
    assert (changed != eye).tolist() == [False, False, True, True, False, False, False, False]


def test_how_a_file_writes_the_pixels_out_does_not_matter(tmp_path):
    """FER2013 with Kaggle's other columns; MPIIGaze in floating point; HDF5 in other chunks and types."""
    expected = write_fer(tmp_path / "fer", [10, 20, 30, 40])
    rows = [row.split(",") for row in (tmp_path / "fer" / "fer2013.csv").read_text().splitlines()[1:]]
    lines = ["emotion, Usage, pixels", *(f'{emotion},{usage},"{pixels}"' for emotion, pixels, usage in rows)]
    (tmp_path / "icml_face_data.csv").write_text("\r\n".join(lines))
    assert fer2013.load(str(tmp_path), use_public="train").origins.tolist() == expected

    import h5py

    expected = write_mpiifacegaze(tmp_path / "faces", [10, 20, 30, 40])
    with h5py.File(tmp_path / "faces" / "p00.mat", "r+") as file:
        pixels = file["Data/data"][:]
        del file["Data/data"]
        file["Data/data"] = pixels.astype(np.float32)
    assert load("mpiifacegaze", tmp_path / "faces", size=8).origins.tolist() == expected


def test_images_of_pairs_are_the_files_that_they_are_whoever_packed_them(tmp_path):
    contents = [png(number) for number in range(20, 40)] * 2
    same = [True, False] * 10
    write_verification_bin(tmp_path / "a.bin", contents, same, protocol=2)
    write_pair_records(tmp_path / "a.rec", contents, same)
    (tmp_path / "b.bin").write_bytes(
        pickle.dumps(([np.frombuffer(each, np.uint8) for each in contents], same))
    )
    for place, content in enumerate(contents):
        path = tmp_path / "folder" / str(place % 2) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    loaded = [
        verification_bin.load(str(tmp_path / name), 8, 8, allow_numpy=True)
        for name in ("a.bin", "a.rec", "b.bin")
    ]
    assert loaded[0].origins.tolist() == loaded[1].origins.tolist() == loaded[2].origins.tolist()
    # an image that stands in several pairs is one photograph
    assert len(examples_of(loaded[0]).distinct) == 20
    folder = identity_folder.load(str(tmp_path / "folder"), 9, 9)
    assert examples_of(folder).identity == examples_of(loaded[0]).identity


@pytest.mark.parametrize(
    ("module", "images", "patterns"),
    [
        (affectnet, 1, ("train_set/images/*.jpg", "val_set/images/*.jpg")),
        (ck_plus, 7, ("cohn-kanade-images/*/*/*.png",)),
    ],
)
def test_expressions_are_known_by_the_file_that_a_view_is_cut_out_of(tmp_path, module, images, patterns):
    name = module.CARD.name
    write_emotion(tmp_path / "set", name, 3, images, 0)
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    found = module.load(str(tmp_path / "set"))
    eye = module.load(str(tmp_path / "set"), region="eye")
    larger = module.load(str(tmp_path / "copy"), size=64, colour=True)
    assert found.origins.tolist() == eye.origins.tolist() == larger.origins.tolist()
    # CK+ leaves the middle of a sequence out
    assert set(found.origins.tolist()) <= set(files(tmp_path / "set", *patterns))
    assert len(np.unique(found.origins)) == len(found)
