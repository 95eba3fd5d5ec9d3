"""A key pair, a gallery of a few people in 4 dimensions, and what everybody does with it."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.opening import open_question
from fedpriv.he.matching.people import encrypted_probe, enrolment, new_id, read_probe, unit
from fedpriv.he.matching.plain_files import plain_enrolment
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set

DIM = 4


@pytest.fixture(scope="session")
def keys() -> UserKeys:
    return UserKeys.make(parameter_set("faces"))


@pytest.fixture(scope="session")
def other_keys() -> UserKeys:
    return UserKeys.make(parameter_set("faces"))


def people(count, dim=DIM, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def written(keys, place, ids, vectors, plain=False):
    """Return an enrolment, encrypted or in clear."""
    if plain:
        return plain_enrolment(keys, place, ids, vectors)
    return b"".join(enrolment(keys, place, ids, vectors))


def put(keys, gallery, vectors, places=None):
    """Enrol rows in one file for each place, and return their names."""
    names, begin = [], 0
    for place in places or gallery.free(len(vectors)):
        end = begin + len(place.slots)
        file = gallery.inbox / "new"
        ids = [new_id() for _ in place.slots]
        file.write_bytes(written(keys, place, ids, vectors[begin:end], gallery.plain))
        assert sorted(gallery.add(file)) == sorted(ids)
        assert not file.exists()
        names += ids
        begin = end
    return names


def sent(keys, vector, to):
    """Return the encrypted probe that a server receives."""
    data = b"".join(encrypted_probe(keys, vector))
    return read_probe(io.BytesIO(data), to.public, len(vector), "probe")


def answered(keys, question, **allowed):
    """Return the key holder's answer to the bytes of a question."""
    return open_question(keys, io.BytesIO(question.to_bytes()), "question", **allowed)


def begun(keys, folder, dim, plain=False):
    """Return a gallery of 6 people: one segment of three, three of one."""
    gallery, vectors = Gallery.make(folder, keys.public, dim, plain), people(6, dim)
    ids = put(keys, gallery, vectors[:3])
    for row in range(3, 6):
        ids += put(keys, gallery, vectors[row : row + 1])
    return SimpleNamespace(folder=folder, ids=ids, vectors=vectors, plain=plain)


@pytest.fixture(scope="session")
def template(keys, tmp_path_factory):
    """A gallery not to be changed."""
    return begun(keys, tmp_path_factory.mktemp("template") / "gallery", DIM)


@pytest.fixture
def small(template, tmp_path):
    """A copy of the template to do anything with."""
    return SimpleNamespace(
        folder=copied(template.folder, tmp_path / "gallery"), ids=template.ids, vectors=template.vectors
    )


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target
