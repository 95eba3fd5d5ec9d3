"""Galleries in clear, asked with encrypted probes: the same decisions, the same store, and no mixing."""

import hashlib
import json
import os
import stat
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.he.matching.gallery import JOURNAL_FILE, MOST_SEGMENTS, Gallery
from fedpriv.he.matching.matcher import Matcher
from fedpriv.he.matching.opening import exact_scores
from fedpriv.he.matching.people import Place, new_id, unit
from fedpriv.he.matching.plain_files import plain_enrolment, read_plain
from tests.he.matching.conftest import DIM, answered, begun, copied, people, put, sent, written


@pytest.fixture(scope="module")
def made(keys, tmp_path_factory):
    return begun(keys, tmp_path_factory.mktemp("plain") / "gallery", DIM, plain=True)


@pytest.fixture
def gallery(made, tmp_path):
    return Gallery.open(copied(made.folder, tmp_path / "plain"))


def exact(keys, question):
    blocks = exact_scores(keys, question.ciphertexts[: len(question.asked)])
    return np.array([blocks[row, slot] for row, place in enumerate(question.asked) for slot in place.slots])


def stored(gallery):
    return b"".join(path.read_bytes() for path in gallery.folder.rglob("*") if path.is_file())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("workers", [1, 2])
def test_scores_and_decisions_are_those_of_float64_over_blocks(keys, tmp_path, workers):
    vectors, probe = people(4100, 3), people(1, 3, seed=6)[0]
    vectors[vectors @ probe > 0.8] *= -1
    # the flooding may decide on differences below 0.004 as it likes
    beside = unit(np.cross(probe, vectors[0]))
    for row, score in ((17, 0.91), (2000, 0.95), (4099, 0.99)):
        vectors[row] = score * probe + np.sqrt(1 - score**2) * beside
    gallery = Gallery.make(tmp_path / "g", keys.public, 3, plain=True)
    ids, scores = put(keys, gallery, vectors), vectors @ probe
    order = np.argsort(scores)
    threshold = float(scores[order[-3:-1]].mean())
    with Matcher(gallery, workers) as matcher:
        for by in (keys, keys.public):
            given = sent(by, probe, keys)
            assert np.abs(exact(keys, matcher.scores(given)) - scores).max() < 1e-8
            question = matcher.identify(given, threshold)
            assert [question.person(*each) for each in answered(keys, question).accepted] == [ids[order[-1]]]
            for row, expected in ((order[-2], 1), (order[-3], 0)):
                answer = answered(keys, matcher.verify(given, ids[row], threshold))
                assert len(answer.accepted) == expected


def test_who_is_zero_in_all_dimensions_of_a_process_is_no_obstacle(keys, tmp_path):
    """Also of an encrypted gallery and a plain probe."""
    for plain in (True, False):
        gallery = Gallery.make(tmp_path / str(plain), keys.public, 4, plain=plain)
        put(keys, gallery, np.eye(4)[:2])
        probe = np.eye(4)[0]
        with Matcher(gallery, workers=2) as matcher:
            scores = exact(keys, matcher.scores(sent(keys, probe, keys) if plain else probe))
        np.testing.assert_allclose(scores, [1, 0], atol=1e-8)


def test_numbers_too_small_to_encode_are_zeros(keys, tmp_path):
    gallery = Gallery.make(tmp_path / "g", keys.public, 2, plain=True)
    put(keys, gallery, np.array([[1.0, 1e-200]]))
    with Matcher(gallery) as matcher:
        scores = exact(keys, matcher.scores(sent(keys, np.array([0.6, 0.8]), keys)))
    assert abs(scores[0] - 0.6) < 1e-8


def test_a_plain_probe_is_refused(gallery, made):
    with Matcher(gallery) as matcher, pytest.raises(UserError, match="in clear, and this gallery is plain"):
        matcher.identify(made.vectors[0], 0.5)


def test_plain_and_encrypted_templates_are_not_mixed(gallery, keys, small):
    encrypted = Gallery.open(small.folder)
    for one, plain, said in (
        (gallery, False, "an enrolment encrypted, and this gallery is plain, all of it"),
        (encrypted, True, "an enrolment in clear, and this gallery is encrypted, all of it"),
    ):
        before, file = one.ids(), one.inbox / "new"
        file.write_bytes(written(keys, Place(0, (9,)), [new_id()], people(1), plain))
        (name, *_) = one.segments()[0]
        for take in (one.add, lambda path, one=one, name=name: one.replace([name.name], path)):
            with pytest.raises(FormatError, match=said):
                take(file)
        assert one.ids() == before


def test_what_a_gallery_is_stands_in_its_journal_and_stays(gallery, made, small, keys):
    assert Gallery(gallery.folder, keys.public).plain is True
    assert Gallery.open(small.folder).plain is False
    first = json.loads((gallery.folder / JOURNAL_FILE).read_text().splitlines()[0])
    assert first["templates"] == "plain"
    assert {path.suffix for path in (gallery.folder / "segments").iterdir()} == {".fppt"}


def test_a_gallery_from_before_there_were_plain_ones_is_encrypted():
    from fedpriv.he.matching.members import Members

    members = Members()
    members.take({"event": "gallery", "set": "faces", "key": "0" * 64, "dim": 4})
    assert members.plain is False
    with pytest.raises(ValueError, match="templates"):
        Members().take({"event": "gallery", "set": "faces", "key": "0" * 64, "dim": 4, "templates": "clear"})


def test_a_deleted_template_is_out_of_every_file_when_the_owner_has_signed_the_rest(gallery, made, keys):
    gone = made.vectors[1].tobytes()
    assert gone in stored(gallery)
    gallery.delete([made.ids[1]])
    with Matcher(gallery) as matcher:
        question = matcher.identify(sent(keys, made.vectors[1], keys), 0.999)
    assert answered(keys, question).accepted == ()
    (stale,) = gallery.stale()
    staying = gallery.people_in(stale)
    slots = tuple(slot for _, slot in staying.values())
    found = read_plain("segment", gallery.segment(stale).read_bytes(), keys.public)
    rows = found.rows[[found.enrolled.place.slots.index(slot) for slot in slots]]
    np.testing.assert_array_equal(rows, made.vectors[[0, 2]])
    file = gallery.inbox / "new"
    file.write_bytes(plain_enrolment(keys, Place(0, slots), list(staying), rows))
    gallery.replace([stale], file)
    assert gallery.stale() == []
    assert gone not in stored(gallery)
    assert made.vectors[2].tobytes() in stored(gallery)


def test_many_small_enrolments_are_merged_and_stay_the_same_people(keys, tmp_path):
    gallery, vectors = Gallery.make(tmp_path / "g", keys.public, 2, plain=True), people(MOST_SEGMENTS + 1, 2)
    with Matcher(gallery) as matcher:
        ids = []
        for row in vectors:
            ids += put(keys, gallery, row[np.newaxis])
            # what is in memory follows
            matcher.refresh()
        assert len(list((gallery.folder / "segments").iterdir())) == 2
        assert Gallery.open(gallery.folder).ids() == ids
        scores = exact(keys, matcher.scores(sent(keys, vectors[0], keys)))
    np.testing.assert_allclose(scores, vectors @ vectors[0], atol=1e-8)
    gallery.delete(ids[:1])
    assert len(gallery.stale()) == 1


def test_only_the_owner_of_the_process_reads_it_whatever_the_umask(keys, tmp_path):
    before = os.umask(0)
    try:
        gallery = Gallery.make(tmp_path / "g", keys.public, 2, plain=True)
        for row in people(MOST_SEGMENTS + 1, 2):
            put(keys, gallery, row[np.newaxis])
    finally:
        os.umask(before)
    for path in (gallery.folder, *gallery.folder.rglob("*")):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("name", [".", "segments", "inbox", "segments/*.fppt"])
def test_one_that_others_may_read_is_not_used(gallery, name):
    path = next(gallery.folder.glob(name)) if "*" in name else gallery.folder / name
    path.chmod(mode(path) | 0o040)
    with pytest.raises(UserError, match=r"mode 0\d40 lets others at faces in clear; run chmod go=") as caught:
        Gallery.open(gallery.folder)
    assert str(path.resolve()) in str(caught.value)
    path.chmod(mode(path) & 0o700)
    Gallery.open(gallery.folder)


def test_none_is_begun_where_others_may_read(keys, tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(UserError, match="open: mode 0755 lets others at faces in clear"):
        Gallery.make(folder, keys.public, 2, plain=True)
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    assert Gallery.make(folder, keys.public, 2, plain=True).plain


@pytest.fixture(scope="module")
def enrolled(keys):
    return plain_enrolment(keys, Place(0, (7, 3, 5)), [new_id() for _ in range(3)], people(3))


def test_rows_stand_in_the_order_of_slots(enrolled, keys):
    found = read_plain("enrolment", enrolled, keys.public)
    assert (found.enrolled.place, found.enrolled.dim, found.signed) == (Place(0, (3, 5, 7)), DIM, True)
    np.testing.assert_array_equal(found.rows, people(3)[[1, 2, 0]])
    assert enrolled.endswith(keys.signer.sign(b"fedpriv-plain-templates-1\0" + _sha(enrolled[:-64])))


def _sha(data):
    return hashlib.sha256(data).digest()


@given(st.data())
def test_whatever_is_changed_or_cut_is_refused(enrolled, keys, data):
    position = data.draw(st.integers(0, len(enrolled) - 1))
    changed = bytearray(enrolled)
    changed[position] ^= data.draw(st.integers(1, 255))
    for each in (bytes(changed), enrolled[:position], enrolled + enrolled[: position + 1]):
        with pytest.raises(FormatError):
            read_plain("enrolment", each, keys.public)


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_arbitrary_bytes_and_lengths_are_refused(keys, data, size):
    head = struct.pack("<4sHH32sI", b"FPPT", 1, 0, bytes.fromhex(keys.public.fingerprint), size)
    for each in (data, head + data, head + data + _sha(head + data)):
        with pytest.raises(FormatError):
            read_plain("enrolment", each, keys.public)


def sealed(keys, metadata, rows, signed=True):
    text = json.dumps(metadata).encode()
    head = struct.pack("<4sHH32sI", b"FPPT", 1, signed, bytes.fromhex(keys.fingerprint), len(text))
    content = head + text + np.asarray(rows, "<f8").tobytes()
    return content + (
        keys.signer.sign(b"fedpriv-plain-templates-1\0" + _sha(content)) if signed else _sha(content)
    )


def test_what_lies_is_refused_though_it_is_signed(gallery, keys):
    """The owner's signature is on it: a mistake of the owner's program, not an attack."""
    good = {"kind": "enrolment", "dim": DIM, "place": Place(0, (9,)).to_json(4096), "ids": "a" * 12}
    row = people(1)
    file = gallery.inbox / "new"
    for metadata, rows, said in (
        (good | {"dim": 5}, row, "40|rows of 5"),
        (good | {"dim": True}, row, "dimensions"),
        (good | {"dim": 10**9}, row, "dimensions: 1 to 1024"),
        (good | {"ids": "a" * 24}, row, "enrolment: ids"),
        (good | {"place": [0, ""]}, row, "enrolment: slots"),
        (good | {"more": 0}, row, "no enrolment"),
        (good | {"kind": "sum"}, row, "no enrolment"),
        (good, 1.0001 * row, "not of length 1"),
        (good, np.full((1, DIM), np.nan), "not of length 1"),
        (good, np.full((1, DIM), np.inf), "not of length 1"),
        (good, people(2), "1 rows of 4"),
        (good | {"dim": 3}, people(1, 3), "3 dimensions, the gallery has 4"),
    ):
        file.write_bytes(sealed(keys, metadata, rows))
        with pytest.raises(FormatError, match=said):
            gallery.add(file)
    file.write_bytes(sealed(keys, good, row))
    assert gallery.add(file) == ["a" * 12]


def test_only_the_owner_enrols(gallery, keys, other_keys):
    place = Place(0, (9,))
    file = gallery.inbox / "new"
    merged = {"kind": "sum", "dim": DIM, "place": place.to_json(4096)}
    for data, said in (
        (plain_enrolment(other_keys, place, [new_id()], people(1)), "under the key"),
        (sealed(keys, merged, people(1), signed=False), "not signed; its owner's is needed"),
    ):
        file.write_bytes(data)
        with pytest.raises(FormatError, match=said):
            gallery.add(file)


def test_a_file_in_the_stead_of_another_is_noticed(gallery):
    first, second = (gallery.files.path_of(each) for each in gallery.segments()[0][1:3])
    first.write_bytes(second.read_bytes())
    with pytest.raises(FormatError, match="not the file that the journal names"), Matcher(gallery):
        pass
    first.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(UserError, match="restore it from a copy"):
        Gallery.open(gallery.folder)
