"""Enrolments on disk: who is in, who is out, and what is no enrolment."""

import io
import json
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.he.matching.gallery import JOURNAL_FILE, MOST_SEGMENTS, Gallery
from fedpriv.he.matching.matcher import Matcher
from fedpriv.he.matching.members import Members, Segment
from fedpriv.he.matching.opening import exact_scores
from fedpriv.he.matching.people import Place, decrypted, encrypted_probe, enrolment, new_id
from fedpriv.he.matching.places import MOST_PEOPLE
from fedpriv.he.matching.summing import summable
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE
from fedpriv.he.users.sets import parameter_set
from tests.he.matching.conftest import DIM, people, put


@pytest.fixture
def gallery(small):
    return Gallery.open(small.folder)


def written(keys, gallery, place, ids, vectors):
    file = gallery.inbox / "new"
    file.write_bytes(b"".join(enrolment(keys, place, ids, vectors)))
    return file


def files(gallery):
    return {path.name for path in (gallery.folder / "segments").iterdir()}


def test_people_are_found_again_by_another_process(small):
    gallery = Gallery.open(small.folder)
    assert gallery.ids() == small.ids
    assert [gallery.place_of(each) for each in small.ids] == [(0, slot) for slot in range(6)]
    assert (gallery.dim, gallery.blocks, gallery.stale()) == (DIM, 1, [])
    assert gallery.free(2) == [Place(0, (6, 7))]


def test_the_clear_embedding_of_nobody_is_in_any_file(small, keys):
    stored = b"".join(path.read_bytes() for path in small.folder.rglob("*") if path.is_file())
    for kind in (np.float32, np.float64):
        for row in small.vectors.astype(kind):
            assert row[:2].tobytes() not in stored
            assert row.tobytes() not in stored


def test_two_objects_see_what_the_other_did(small, keys, gallery):
    second = Gallery(small.folder, gallery.keys)
    (new,) = put(keys, gallery, people(1, seed=3))
    assert second.ids() == [*small.ids, new]
    second.delete([new])
    assert gallery.ids() == small.ids
    with pytest.raises(UserError, match="is not enrolled"):
        gallery.place_of(new)


def test_deleting_the_last_of_a_segment_removes_its_file_and_its_slot_is_nobody_elses(small, gallery, keys):
    before = files(gallery)
    gallery.delete([small.ids[4]])
    assert len(before - files(gallery)) == 1
    assert gallery.stale() == []
    for again in (gallery, Gallery.open(small.folder)):
        assert again.free(2) == [Place(0, (6, 7))]
        file = written(keys, gallery, Place(0, (4,)), [new_id()], people(1))
        with pytest.raises(UserError, match="slot 4 of block 0 was another person's"):
            again.add(file)


def test_a_deleted_persons_ciphertext_stays_until_the_owner_encrypts_anew(small, gallery, keys):
    gallery.delete([small.ids[1]])
    (stale,) = gallery.stale()
    assert gallery.free(1) == [Place(0, (6,))]
    staying = gallery.people_in(stale)
    assert staying == {small.ids[0]: (0, 0), small.ids[2]: (0, 2)}
    slots = [slot for _, slot in staying.values()]
    with gallery.segment(stale).open("rb") as stream:
        vectors = decrypted(keys, stream, slots, stale)
    np.testing.assert_allclose(vectors, small.vectors[[0, 2]], atol=1e-9)
    swapped = written(keys, gallery, Place(0, (0, 1)), list(staying), vectors)
    with pytest.raises(UserError, match="slot 1 of block 0 was another person's"):
        gallery.replace([stale], swapped)
    gallery.replace([stale], written(keys, gallery, Place(0, tuple(slots)), list(staying), vectors))
    assert gallery.stale() == []
    assert gallery.free(1) == [Place(0, (6,))]
    assert stale not in {name.removesuffix(".fpct") for name in files(gallery)}
    with Matcher(gallery) as matcher:
        scores = exact_scores(keys, matcher.scores(small.vectors[1]).ciphertexts)[0]
    assert abs(scores[1]) < 1e-8
    np.testing.assert_allclose(scores[[0, 2]], small.vectors[[0, 2]] @ small.vectors[1], atol=1e-8)


def test_many_small_enrolments_are_summed_up_and_stay_the_same_people(keys, tmp_path):
    gallery, vectors = Gallery.make(tmp_path / "g", keys.public, 2), people(MOST_SEGMENTS + 1, 2)
    ids = []
    for row in vectors:
        ids += put(keys, gallery, row[np.newaxis])
    assert len(files(gallery)) == 2
    assert Gallery.open(tmp_path / "g").ids() == ids
    with Matcher(gallery) as matcher:
        scores = exact_scores(keys, matcher.scores(vectors[0]).ciphertexts)[0]
    np.testing.assert_allclose(scores[: len(ids)], vectors @ vectors[0], atol=1e-8)


def test_sums_stay_small_enough_to_be_encrypted_anew_at_once(tmp_path):
    keys = UserKeys.make(parameter_set("faces-split"))
    gallery = Gallery.make(tmp_path / "g", keys.public, 2)
    put(keys, gallery, people(4090, 2))
    for row in people(MOST_SEGMENTS + 2, 2, seed=1):
        put(keys, gallery, row[np.newaxis])
    (segments,) = gallery.segments().values()
    sizes = [len(each.place.slots) for each in segments]
    assert sum(sizes) == 4090 + MOST_SEGMENTS + 2
    assert max(sizes) <= MOST_PEOPLE
    assert len(sizes) < MOST_SEGMENTS
    gallery.compact()
    (segments,) = gallery.segments().values()
    assert max(len(each.place.slots) for each in segments) <= MOST_PEOPLE


@given(st.lists(st.integers(1, MOST_PEOPLE), max_size=40))
def test_runs_that_are_summed_up_leave_few_segments_and_lose_none(sizes):
    segments = [
        Segment(str(number), 0, Place(0, tuple(range(size))), True) for number, size in enumerate(sizes)
    ]
    runs = list(summable(segments))
    assert all(len(run) > 1 and sum(len(each.place.slots) for each in run) <= MOST_PEOPLE for run in runs)
    summed = [each for run in runs for each in run]
    assert [each for each in segments if each in summed] == summed
    left = len(segments) - len(summed) + len(runs)
    assert left // 2 * (MOST_PEOPLE + 1) <= sum(sizes)


def test_what_was_taken_out_does_not_come_back_by_being_sent_again(small, gallery, keys):
    file = written(keys, gallery, Place(0, (9,)), [new_id()], people(1))
    kept = file.read_bytes()
    (person,) = gallery.add(file)
    gallery.delete([person])
    file.write_bytes(kept)
    with pytest.raises(UserError, match="was added before; encrypt anew"):
        gallery.add(file)
    assert file.exists()


def test_edge_taken_slots_and_names_are_refused(small, gallery, keys):
    for place, ids, why in (
        (Place(0, (5,)), [new_id()], "slot 5 of block 0 is taken"),
        (Place(0, (8,)), [small.ids[0]], "is enrolled already"),
    ):
        file = written(keys, gallery, place, ids, people(1))
        with pytest.raises(UserError, match=why):
            gallery.add(file)
        with pytest.raises(UserError, match="not in the gallery"):
            gallery.replace(["0" * 64], file)
    assert gallery.ids() == small.ids


def test_edge_only_the_owner_enrols(small, gallery, other_keys):
    file = written(other_keys, gallery, Place(0, (8,)), [new_id()], people(1))
    with pytest.raises(FormatError, match="under the key"):
        gallery.add(file)


def test_edge_what_is_no_enrolment_is_refused(small, gallery, keys):
    good = b"".join(enrolment(keys, Place(0, (8,)), [new_id()], people(1)))
    file = gallery.inbox / "new"
    probe = b"".join(encrypted_probe(keys, people(1)[0]))
    narrow = b"".join(enrolment(keys, Place(0, (8,)), [new_id()], people(1, 3)))
    wide = b"".join(enrolment(keys, Place(0, (8,)), [new_id()], people(1, 5)))
    for data, why in (
        (probe, "not signed"),
        (narrow, "3 dimensions, the gallery has 4"),
        (wide, "at most 4"),
        (good[:-1], "cut short"),
        (good + b"x", "followed by"),
        (good[:-100] + bytes([good[-100] ^ 1]) + good[-99:], "signature"),
        (b"", "cut short"),
    ):
        file.write_bytes(data)
        with pytest.raises(FormatError, match=why):
            gallery.add(file)
    assert gallery.ids() == small.ids
    assert len(files(gallery)) == 4


def test_edge_metadata_that_lies_is_refused(keys, gallery):
    """The owner's signature is on it: a mistake of the owner's program, not an attack."""
    from fedpriv.he.users.cipher_heads import CipherHead
    from fedpriv.he.users.cipher_writing import CipherStream

    encryptor = keys.encryptor()
    body = encryptor.floats(np.zeros(4))
    good = {"kind": "enrolment", "dim": 4, "place": Place(0, (8,)).to_json(4096), "ids": "a" * 12}
    for change in (
        {"dim": 3},
        {"dim": True},
        {"ids": "a" * 24},
        {"ids": ["a" * 12]},
        {"place": [0, ""]},
        {"kind": "probe"},
        {"more": 0},
    ):
        head = CipherHead(keys.set, keys.fingerprint, encryptor.shape, 4, good | change, signed=True)
        stream = CipherStream(head, keys.signer)
        file = gallery.inbox / "new"
        file.write_bytes(b"".join([stream.head(), *(stream.body(body) for _ in range(4)), stream.tail()]))
        with pytest.raises(FormatError, match="enrolment"):
            gallery.add(file)


def test_edge_damaged_and_missing_files_are_named(small, keys):
    gallery = Gallery.open(small.folder)
    (segment, *_), *_ = gallery.segments().values()
    path = gallery.files.path_of(segment)
    data = path.read_bytes()
    path.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    with pytest.raises(FormatError, match=path.name), Matcher(Gallery.open(small.folder)):
        pass
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"{path.name}.*restore it from a copy"):
        Gallery.open(small.folder)
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name}.*restore it from a copy"):
        Gallery.open(small.folder)


def test_edge_two_segments_exchanged_are_noticed(small, keys):
    gallery = Gallery.open(small.folder)
    paths = [gallery.files.path_of(each) for each in gallery.segments()[0][1:3]]
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)
    with pytest.raises(FormatError, match="not the file that the journal names"), Matcher(gallery):
        pass


def test_edge_a_changed_journal_is_refused(small):
    journal = small.folder / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes().replace(small.ids[0].encode(), new_id().encode()))
    with pytest.raises(UserError, match=r"gallery.jsonl: line \d: does not follow.*restore its folder"):
        Gallery.open(small.folder)


def test_edge_a_line_that_does_not_fit_is_refused_and_not_remembered(small):
    members = Members()
    lines = [json.loads(each) for each in (small.folder / JOURNAL_FILE).read_text().splitlines()]
    with pytest.raises(ValueError, match="added"):
        members.take(lines[1])
    for line in lines:
        members.take(line)
    before, segment = dict(members.places), lines[1]["segment"]
    other = segment | {"name": "0" * 64}
    for entry in (
        lines[0],
        lines[1],
        {"event": "added", "segment": other},
        {"event": "added", "segment": other | {"place": None}},
        {"event": "added", "segment": other | {"name": "../../etc"}},
        {"event": "deleted", "ids": ["Anna"]},
        {"event": "deleted", "ids": [small.ids[0], small.ids[0]]},
        {"event": "deleted"},
        {"event": "replaced", "segments": ["0"], "by": other},
        {"event": "replaced", "segments": [segment["name"]], "by": segment},
        {"event": "replaced", "segments": [], "by": other},
        {"event": "other"},
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            members.take(entry)
        assert members.places == before
    members.take({"event": "replaced", "segments": [segment["name"]], "by": other})
    assert sorted(members.places.items()) == sorted(before.items())


def test_edge_a_folder_without_gallery_or_with_another_key_is_named(small, tmp_path, other_keys, keys):
    with pytest.raises(UserError, match="holds no gallery"):
        Gallery.open(tmp_path)
    with pytest.raises(UserError, match="holds a gallery"):
        Gallery.make(small.folder, keys.public)
    (small.folder / PUBLIC_FILE).write_bytes(other_keys.public.to_bytes())
    with pytest.raises(UserError, match="not the key that the gallery was made with"):
        Gallery.open(small.folder)
    with pytest.raises(UserError, match="1 to 1024"):
        Gallery.make(tmp_path / "new", keys.public, 0)


def test_only_the_owner_of_the_process_may_look(small):
    assert stat.S_IMODE(small.folder.stat().st_mode) & 0o022 == 0
    assert stat.S_IMODE((small.folder / JOURNAL_FILE).stat().st_mode) == 0o600


def test_enrolment_refuses_what_cannot_be_enrolled(keys):
    place = Place(0, (0, 1))
    for ids, rows, error in (
        (["a" * 12], people(2), ValueError),
        (["a" * 12, "a" * 12], people(2), ValueError),
        (["a" * 12, "b"], people(2), UserError),
        (["a" * 12, "b" * 12], np.zeros((2, 4)), UserError),
        (["a" * 12, "b" * 12], np.full((2, 4), np.nan), UserError),
    ):
        with pytest.raises(error):
            b"".join(enrolment(keys, place, ids, rows))


def test_slots_in_any_order_hold_the_rows_they_were_given_with(keys):
    ids, rows = [new_id() for _ in range(3)], people(3)
    data = b"".join(enrolment(keys, Place(0, (7, 3, 5)), ids, rows))
    found = decrypted(keys, io.BytesIO(data), [7, 3, 5], "enrolment")
    np.testing.assert_allclose(found, rows, atol=1e-8)
    assert data.index(ids[1].encode()) < data.index(ids[2].encode()) < data.index(ids[0].encode())
