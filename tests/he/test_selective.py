import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedpriv.errors import UserError
from fedpriv.he.codec import Aggregator, Holder, PayloadError, SumError, UpdateCodec
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.he.plain import PlainCodec
from fedpriv.he.registry import build_codec
from fedpriv.he.selective import SelectiveCodec, select

SELECTED = np.array([True, False, False, True, True, False])
VECTOR = np.array([1.5, -2.0, 0.25, 3.0, -4.5, 1e-3], np.float32)


class PadCodec(UpdateCodec):
    """One-time pads modulo 2^32: body = level + pad, mask = pad, one holder who adds masks."""

    scheme = "bfv"
    holders = 1

    def __init__(self, max_clients=4, key=b"no key"):
        self.max_clients, self.key = max_clients, key

    @property
    def digest(self):
        return self.key.rjust(32, b"\0")

    def encode_into(self, vector, mask, body, random, source=None):
        if self.key == b"no key":
            raise UserError("key: is missing")
        if not np.isfinite(vector).all():
            raise NonFiniteUpdate("update: holds NaN or infinity")
        pad = np.random.default_rng().integers(0, 2**32, len(vector), np.uint32)
        level = np.round(np.clip(vector, -8, 8) * 1000).astype(np.int32).view(np.uint32)
        mask[:], body[:] = pad.tobytes(), (level + pad).tobytes()
        return int((np.abs(vector) > 8).sum())

    def mask_bytes(self, length):
        return 4 * length

    def body_bytes(self, length):
        return 4 * length

    def aggregator(self, length, source=None):
        return PadAggregator(length, self.max_clients)

    def holder(self, folder):
        return PadHolder((folder / "shared.key").read_bytes())

    def with_key_folder(self, folder):
        return PadCodec(self.max_clients, (folder / "shared.key").read_bytes())

    def with_public_key(self, data, run_id, enrolment):
        return PadCodec(self.max_clients, bytes(data))


class PadAggregator(Aggregator):
    def __init__(self, length, max_clients):
        super().__init__(length, max_clients)
        self.total = np.zeros(length, np.uint32)

    def _add(self, body):
        if bytes(body[:4]) == b"oops":
            raise PayloadError("malformed", "planted")
        self.total += np.frombuffer(body, np.uint32)

    def body_sum(self):
        return self.total.tobytes()

    def open(self, answers):
        return (self.total - np.frombuffer(answers[0], np.uint32)).view(np.int32) / 1000.0


class PadHolder(Holder):
    def __init__(self, key):
        self.digest = key.rjust(32, b"\0")

    def open(self, masks, body_sum, length):
        pads = [np.frombuffer(mask, np.uint32) for mask in masks]
        assert {len(pad) for pad in pads} == {length}
        return np.add.reduce(pads, dtype=np.uint32).tobytes()


@pytest.fixture
def keyed(tmp_path: Path):
    (tmp_path / "shared.key").write_bytes(b"key")
    return SelectiveCodec(PadCodec(), SELECTED).with_key_folder(tmp_path), tmp_path


def test_the_sum_is_the_plain_sum_on_every_coordinate(keyed, random):
    codec, folder = keyed
    updates = [random.integers(-999, 1000, 6).astype(np.float32) / 1000 for _ in range(4)]
    total, masks = codec.aggregator(6), []
    for update in updates:
        encoded = codec.encode(update, random)
        assert len(encoded.mask) == codec.mask_bytes(6) == 12
        assert len(encoded.body) == codec.body_bytes(6) == 12 + 12
        total.add(memoryview(encoded.body))
        masks.append(encoded.mask)
    assert total.count == 4
    answer = codec.holder(folder).open(masks, total.body_sum(), 6)
    plain = PlainCodec(max_clients=4).aggregator(6)
    for update in updates:
        plain.add(PlainCodec(max_clients=4).encode(update, random).body)
    np.testing.assert_allclose(total.open([answer]), plain.open([]), atol=1e-6)
    assert np.array_equal(total.open([answer])[~SELECTED], plain.open([])[~SELECTED])


def test_the_server_reads_of_one_client_exactly_what_was_not_selected(keyed, random):
    codec, _ = keyed
    body = codec.encode(VECTOR, random).body
    clear = np.frombuffer(body[12:], "<f4")
    assert clear.tolist() == VECTOR[~SELECTED].tolist()
    # the option's price: what is in clear points exactly where the client's own update points
    truth = VECTOR[~SELECTED]
    assert clear @ truth / (np.linalg.norm(clear) * np.linalg.norm(truth)) == pytest.approx(1.0)


def test_the_inner_codec_is_given_the_selected_coordinates_only(random):
    class Recording(PlainCodec):
        def encode_into(self, vector, *rest):
            self.seen = vector.copy()
            return super().encode_into(vector, *rest)

    inner = Recording(max_clients=2)
    encoded = SelectiveCodec(inner, SELECTED).encode(VECTOR, random)
    assert inner.seen.tolist() == [1.5, 3.0, -4.5]
    assert encoded.body == struct.pack("<3f", 1.5, 3.0, -4.5) + struct.pack(
        "<3f", -2.0, 0.25, np.float32(1e-3)
    )


@given(arrays.arrays(np.bool_, st.integers(2, 40)), st.integers(0, 2**32 - 1))
def test_any_selection_gives_back_every_coordinate_in_its_place(selected, seed):
    selected[0], selected[-1] = True, False
    codec = SelectiveCodec(PlainCodec(max_clients=1), selected)
    update = np.random.default_rng(seed).standard_normal(len(selected)).astype(np.float32)
    total = codec.aggregator(len(selected))
    encoded = codec.encode(update, np.random.default_rng(0))
    assert len(encoded.body) == codec.body_bytes(len(selected))
    total.add(encoded.body)
    assert np.array_equal(total.open([]), update.astype(np.float64))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda body: body[:-1], "truncated"),
        (lambda body: body[:12], "truncated"),
        (lambda body: b"", "truncated"),
        (lambda body: body + b"\0", "oversized"),
        (lambda body: body[:-4] + struct.pack("<f", float("nan")), "non_finite"),
        (lambda body: body[:12] + struct.pack("<f", float("-inf")) + body[16:], "non_finite"),
        (lambda body: b"oops" + body[4:], "malformed"),
    ],
)
def test_a_refused_body_leaves_both_sums_unchanged(keyed, random, spoil, cause):
    codec, folder = keyed
    total = codec.aggregator(6)
    first = codec.encode(VECTOR, random)
    total.add(first.body)
    with pytest.raises(PayloadError) as refusal:
        total.add(spoil(codec.encode(VECTOR, random).body))
    assert refusal.value.cause == cause
    assert total.count == 1
    answer = codec.holder(folder).open([first.mask], total.body_sum(), 6)
    np.testing.assert_allclose(total.open([answer]), VECTOR, atol=1e-3)


def test_more_updates_than_planned_are_refused(random):
    codec = SelectiveCodec(PlainCodec(max_clients=1), SELECTED)
    total, body = codec.aggregator(6), codec.encode(VECTOR, random).body
    total.add(body)
    with pytest.raises(SumError) as refusal:
        total.add(body)
    assert refusal.value.cause == "too_many_clients"


@pytest.mark.parametrize("place", [0, 1])
def test_non_finite_updates_are_not_sent_wherever_they_are_not_finite(keyed, random, place):
    vector = VECTOR.copy()
    vector[place] = np.nan
    with pytest.raises(NonFiniteUpdate):
        keyed[0].encode(vector, random)


def test_only_selected_coordinates_saturate_and_are_counted(keyed, random):
    codec, _ = keyed
    encoded = codec.encode(np.array([9, 9, 9, 1, -9, 9], np.float32), random)
    assert encoded.clipped == 2
    assert np.frombuffer(encoded.body[12:], "<f4").tolist() == [9, 9, 9]


def test_the_digest_binds_scheme_key_and_selection(keyed):
    codec, folder = keyed
    other = SELECTED.copy()
    other[[0, 1]] = False, True
    digests = {
        codec.digest,
        codec.inner.digest,
        SelectiveCodec(codec.inner, other).digest,
        SelectiveCodec(PadCodec(key=b"other"), SELECTED).digest,
        SelectiveCodec(PlainCodec(max_clients=4), SELECTED).digest,
    }
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {32}
    assert codec.digest == SelectiveCodec(PadCodec(key=b"key"), SELECTED.copy()).digest
    assert codec.holder(folder).digest == codec.digest
    (folder / "shared.key").write_bytes(b"another")
    assert codec.holder(folder).digest != codec.digest


def test_keys_reach_the_inner_codec(random):
    codec = SelectiveCodec(PadCodec(), SELECTED)
    with pytest.raises(UserError, match="key: is missing"):
        codec.encode(VECTOR, random)
    joined = codec.with_public_key(b"joint", bytes(16), None)
    assert isinstance(joined, SelectiveCodec)
    assert joined.inner.key == b"joint"
    assert np.array_equal(joined.selected, SELECTED)
    assert (codec.scheme, codec.holders, codec.max_clients) == ("bfv", 1, 4)


def test_codecs_without_keys_stay_the_same_object(tmp_path):
    codec = SelectiveCodec(PlainCodec(max_clients=2), SELECTED)
    assert codec.with_key_folder(tmp_path) is codec
    assert codec.with_public_key(b"", bytes(16), None) is codec


def test_everything_selected_is_the_inner_codec_and_nothing_is_refused():
    inner = PlainCodec(max_clients=2)
    assert select(inner, np.ones(6, np.bool_)) is inner
    chosen = select(inner, SELECTED)
    assert isinstance(chosen, SelectiveCodec)
    assert chosen.clear_fraction == 0.5
    with pytest.raises(UserError, match="every coordinate in clear"):
        select(inner, np.zeros(6, np.bool_))
    for bad in (np.ones(6, np.bool_), np.zeros(6, np.bool_), SELECTED.astype(np.int8), SELECTED[None]):
        with pytest.raises(ValueError, match="not all alike"):
            SelectiveCodec(inner, bad)


def test_updates_of_another_length_are_refused(keyed, random):
    codec, folder = keyed
    for call in (codec.aggregator, codec.mask_bytes, codec.body_bytes):
        with pytest.raises(ValueError, match="length=7: the selection is for 6"):
            call(7)
    with pytest.raises(ValueError, match="length=5"):
        codec.encode(VECTOR[:5], random)
    with pytest.raises(ValueError, match="length=3"):
        codec.holder(folder).open([], b"", 3)
    with pytest.raises(ValueError, match="float32"):
        codec.encode(VECTOR.astype(np.float64), random)


@pytest.mark.parametrize(("scheme", "tolerance"), [("bfv", 1 / 65534), ("ckks", 12 * 0.5 / 2**16)])
def test_the_real_schemes_encrypt_what_is_selected_and_nothing_else(tmp_path, random, scheme, tolerance):
    length, clients = 9000, 3
    selected = random.random(length) < 0.3
    base = build_codec(scheme, clients)
    base.make_shared_key(tmp_path / "shared.key")
    codec = select(base, selected).with_key_folder(tmp_path)
    updates = random.uniform(-0.5, 0.5, (clients, length)).astype(np.float32)
    total, masks = codec.aggregator(length), []
    for update in updates:
        encoded = codec.encode(update, random)
        assert len(encoded.body) == codec.body_bytes(length)
        assert len(encoded.mask) == codec.mask_bytes(length)
        clear = np.frombuffer(encoded.body, "<f4", offset=base.body_bytes(int(selected.sum())))
        assert np.array_equal(clear, update[~selected])
        total.add(encoded.body)
        masks.append(encoded.mask)
    answer = codec.holder(tmp_path).open(masks, total.body_sum(), length)
    opened, exact = total.open([answer]), updates.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(opened[selected], exact[selected], atol=clients * tolerance)
    assert not np.array_equal(opened[selected], exact[selected])
    assert np.array_equal(opened[~selected], exact[~selected])


def test_the_selection_cannot_be_changed_from_outside():
    mine = SELECTED.copy()
    codec = SelectiveCodec(PlainCodec(max_clients=2), mine)
    before = codec.digest
    mine[:] = True
    assert codec.digest == before
    assert np.array_equal(codec.selected, SELECTED)
    with pytest.raises(ValueError, match="read-only"):
        codec.selected[0] = False
