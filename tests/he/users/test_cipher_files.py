"""Cipher sets as files and streams: what comes back, and what a hostile one can not do."""

import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.he.users.bodies import polynomials
from fedpriv.he.users.cipher_heads import MOST_METADATA, CipherHead
from fedpriv.he.users.cipher_reading import CipherReader, open_ciphers
from fedpriv.he.users.cipher_writing import CipherStream, CipherWriter
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.sets import SETS
from fedpriv.he.users.shapes import Shape

METADATA = {"name": "Ω", "sizes": [3, 4.5, None]}


def head_of(keys, shape, count=3, signed=True, metadata=METADATA):
    return CipherHead(keys.set, keys.fingerprint, shape, count, metadata, signed)


def whole(keys, signed=True, seeded=True, values=(0, 1, 2), metadata=METADATA):
    encryptor = keys.encryptor() if seeded else keys.public.encryptor()
    head = head_of(keys, encryptor.shape, len(values), signed, metadata)
    stream = CipherStream(head, keys.signer if signed else None)
    parts = [stream.head()]
    parts += [stream.body(encryptor.constant(value)) for value in values]
    return b"".join([*parts, stream.tail()])


def read(keys, data, **options):
    reader = CipherReader(io.BytesIO(data), keys.public, source="a body", **({"most": 3} | options))
    return reader, [int(keys.decrypt_integers(each)[0]) for each in reader]


@pytest.fixture(scope="module")
def data(owner):
    return whole(owner("images"))


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_what_was_written_is_read(images, signed, seeded):
    reader, values = read(images, whole(images, signed, seeded))
    assert values == [0, 1, 2]
    assert (reader.head.signed, reader.head.shape.seeded, reader.head.metadata) == (signed, seeded, METADATA)
    assert reader.head.key == images.fingerprint


def test_a_file_and_a_stream_are_the_same_bytes(images, tmp_path):
    encryptor = images.encryptor()
    bodies = [encryptor.constant(value) for value in range(3)]
    head, path = head_of(images, encryptor.shape), tmp_path / "set"
    with CipherWriter(path, head, images.signer) as writer:
        for body in bodies:
            writer.write(body)
    stream = CipherStream(head, images.signer)
    parts = [stream.head(), *(stream.body(body) for body in bodies)]
    assert path.read_bytes() == b"".join([*parts, stream.tail()])
    with open_ciphers(path, images.public, most=3, require_signed=True) as reader:
        assert list(reader.bodies()) == bodies
    assert list(tmp_path.iterdir()) == [path]


def test_products_at_a_lower_level_keep_their_shape_and_scale(faces, tmp_path):
    evaluation, encryptor = Evaluation(faces.public), faces.encryptor()
    square = evaluation.square(encryptor.ciphertext(encryptor.constant(0.5)))
    for number, result in enumerate([square, evaluation.rescale(evaluation.relinearise(square))]):
        path, shape = tmp_path / str(number), evaluation.shape(result)
        with CipherWriter(path, head_of(faces, shape, 1, signed=False)) as writer:
            writer.write(evaluation.dump(result))
        with open_ciphers(path, faces.public, most=1, polynomials=(2, 3)) as reader:
            assert reader.head.shape == shape
            (found,) = reader
        assert np.abs(faces.decrypt_floats(found) - 0.25).max() < 1e-9


def test_a_stream_that_gives_a_byte_at_a_time_is_read(images):
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 4099))

    data = whole(images)
    reader = CipherReader(Slow(data), images.public, source="slow", most=3)
    assert len(list(reader.bodies())) == 3
    assert reader.total_bytes == len(data)


@pytest.mark.parametrize(
    ("offset", "put", "reason"),
    [
        (0, b"FPCX", "offset 0: no ciphertexts"),
        (4, b"\2\0", "offset 4: ciphertexts of version 2"),
        (6, b"\7\0", "offset 6: flags 0x7"),
        (7, b"\x80", "offset 6: flags"),
        (8, b"faces\0", "ciphertexts for 'faces', and the key is for 'images'"),
        (8, b"images\0!", "ciphertexts for"),
        (8, b"\xff" * 24, "ciphertexts for"),
        (32, bytes(32), "other parameters"),
        (64, bytes(32), "under the key 0000 0000"),
        (96, struct.pack("<Q", 4), "offset 96: 4 ciphertexts, at most 3"),
        (96, struct.pack("<Q", 2**64 - 1), "at most 3"),
        (96, struct.pack("<Q", 2), r"signature|followed by|checksum"),
        (104, b"\0", "0 polynomials"),
        (104, b"\1", "offset 104: 1 polynomials"),
        (104, b"\3", "seeded with 3"),
        (104, b"\xff", "255 polynomials"),
        (105, b"\0", "level of 0 primes"),
        (105, b"\2", "level of 2 primes"),
        (106, b"\1\0", "flags"),
        (108, struct.pack("<I", MOST_METADATA + 1), "offset 108: 65537 bytes of metadata"),
        (108, b"\xff\xff\xff\xff", "bytes of metadata"),
        (108, b"\0\0\0\0", "metadata"),
        (112, struct.pack("<d", 2.0), "integers have 1"),
        (112, struct.pack("<d", float("nan")), "integers have 1"),
        (120, b"[", "metadata"),
    ],
)
def test_each_field_is_checked(images, data, offset, put, reason):
    changed = data[:offset] + put + data[offset + len(put) :]
    with pytest.raises(FormatError, match=reason) as caught:
        read(images, changed)
    assert str(caught.value).startswith("a body:")
    assert "\n" not in str(caught.value)


def test_the_layout_is_the_documented_one(images, data):
    fields = struct.unpack("<4sHH24s32s32sQBBHId", data[:120])
    magic, version, flags, name, parameters, key, count, polynomials_, primes, reserved, size, scale = fields
    assert (magic, version, flags, name.rstrip(b"\0")) == (b"FPCT", 1, 3, b"images")
    assert (parameters, key.hex()) == (images.set.seal.fingerprint, images.fingerprint)
    assert (count, polynomials_, primes, reserved, scale) == (3, 2, 1, 0, 1.0)
    assert data[120 : 120 + size] == b'{"name":"\\u03a9","sizes":[3,4.5,null]}'
    assert len(data) == 120 + size + 3 * (4096 * 54 // 8 + 64) + 64


@pytest.mark.parametrize("keep", [0, 3, 4, 50, 119, 120, 130, 158, 159, 20_000, 27_900, -65, -64, -1])
def test_a_set_cut_anywhere_is_refused(images, data, tmp_path, keep):
    with pytest.raises(FormatError, match=r"cut short"):
        read(images, data[:keep])
    (tmp_path / "cut").write_bytes(data[:keep])
    with (
        pytest.raises(FormatError, match=r"cut short"),
        open_ciphers(tmp_path / "cut", images.public, most=3),
    ):
        pass


def test_a_set_with_more_behind_it_is_refused(images, data, tmp_path):
    with pytest.raises(FormatError, match="followed by other bytes"):
        read(images, data + b"\0")
    (tmp_path / "long").write_bytes(data + b"\0")
    with (
        pytest.raises(FormatError, match="followed by"),
        open_ciphers(tmp_path / "long", images.public, most=3),
    ):
        pass


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1 << 30), flip=st.integers(1, 255), signed=st.booleans())
def test_any_changed_byte_is_refused_before_a_file_s_first_ciphertext(owner, tmp_path, place, flip, signed):
    keys = owner("images")
    changed = bytearray(whole(keys, signed, values=(1,)))
    changed[place % len(changed)] ^= flip
    path = tmp_path / "changed"
    path.write_bytes(changed)
    with pytest.raises(FormatError), open_ciphers(path, keys.public, most=1):
        pytest.fail("was opened")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=200), keep=st.integers(0, 160))
def test_any_bytes_at_all_are_refused_in_one_line(owner, data, tail, keep):
    with pytest.raises(FormatError) as caught:
        read(owner("images"), data[:keep] + tail)
    assert "\n" not in str(caught.value)


def test_a_lying_count_allocates_nothing(images):
    shape = Shape(2, 1)
    head = CipherHead(images.set, images.fingerprint, shape, 2**63, {}, signed=False).to_bytes()
    asked = []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    tracemalloc.start()
    try:
        reader = CipherReader(Counting(head + b"\0" * 100), images.public, source="liar", most=2**64)
        with pytest.raises(FormatError, match="cut short"):
            list(reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(asked) <= 1 << 20
    assert peak < 1 << 20


def test_reading_holds_one_ciphertext_at_a_time(images, tmp_path):
    body, path = images.encryptor().constant(1), tmp_path / "many"
    count = 200
    with CipherWriter(path, head_of(images, images.encryptor().shape, count), images.signer) as writer:
        for _ in range(count):
            writer.write(body)
    tracemalloc.start()
    try:
        with open_ciphers(path, images.public, most=count) as reader:
            assert sum(1 for _ in reader.bodies()) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a chunk of the check of the whole, and less than ten of 200 ciphertexts
    assert peak < (3 << 20) + 10 * len(body)


def test_a_set_under_another_key_is_named_by_both(images, data):
    other = UserKeys.make(SETS["images"])
    with pytest.raises(FormatError) as caught:
        CipherReader(io.BytesIO(data), other.public, source="theirs", most=3)
    text = str(caught.value).replace(" ", "")
    assert images.fingerprint[:32] in text
    assert other.fingerprint[:32] in text


def test_a_set_for_another_purpose_is_named_as_such(faces, data):
    with pytest.raises(FormatError, match="ciphertexts for 'images', and the key is for 'faces'"):
        CipherReader(io.BytesIO(data), faces.public, source="theirs", most=3)


def test_a_signature_is_the_owner_s_and_no_other_s(images):
    other = UserKeys.make(SETS["images"])
    stream = CipherStream(head_of(images, images.encryptor().shape, 0), other.signer)
    forged = stream.head() + stream.tail()
    with pytest.raises(FormatError, match="signature of the key's owner does not check"):
        read(images, forged)


def test_a_signed_set_made_an_unsigned_one_is_refused_where_a_signature_is_asked_for(images, data):
    content = data[:6] + b"\2" + data[7:-64]
    stripped = content + hashlib.sha256(content).digest()
    assert read(images, stripped)[1] == [0, 1, 2]
    with pytest.raises(FormatError, match="not signed"):
        read(images, stripped, require_signed=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"polynomials": (3,)}, "2 polynomials, 3 expected"),
        ({"primes": (2, 3)}, "level of 1 primes, 2 or 3 expected"),
    ],
)
def test_what_the_caller_does_not_allow_is_refused(images, data, options, reason):
    with pytest.raises(FormatError, match=reason):
        read(images, data, **options)


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b"\xff{}",
        b'{"a":',
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=range(13),
)
def test_metadata_that_readers_could_take_in_two_ways_is_refused(images, metadata):
    head = CipherHead(images.set, images.fingerprint, Shape(2, 1), 0, {}, signed=False).to_bytes()
    head = head[:108] + struct.pack("<I", len(metadata)) + head[112:120] + metadata
    with pytest.raises(FormatError, match="metadata") as caught:
        read(images, head + hashlib.sha256(head).digest())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [{"a": float("nan")}, {"a": "b" * MOST_METADATA}])
def test_metadata_that_could_not_be_read_is_not_written(images, metadata):
    with pytest.raises(ValueError, match=r"JSON|at most 65536"):
        head_of(images, Shape(2, 1), metadata=metadata).to_bytes()


def test_a_coefficient_that_is_not_below_its_prime_never_reaches_seal(images):
    encryptor = images.public.encryptor()
    words = polynomials(images.set, encryptor.ciphertext(encryptor.constant(1))).copy()
    words[1, 0, 7] = images.set.moduli()[0, 0]
    rows = RowPacking(images.set.moduli(), 4096)
    stream = CipherStream(head_of(images, encryptor.shape, 1, signed=False))
    data = stream.head() + stream.body(b"".join(rows.pack(each) for each in words)) + stream.tail()
    with pytest.raises(FormatError, match=r"offset 158: .*not below its prime"):
        read(images, data)
    with pytest.raises(FormatError, match="not below its prime"):
        list(CipherReader(io.BytesIO(data), images.public, source="a", most=3).bodies())


@pytest.mark.parametrize("replace", [False, True])
def test_an_existing_file_is_replaced_only_where_asked(images, tmp_path, replace):
    path, head = tmp_path / "set", head_of(images, images.encryptor().shape, 0)
    path.write_bytes(b"precious")
    if replace:
        with CipherWriter(path, head, images.signer, replace=True):
            assert path.read_bytes() == b"precious"
        assert path.read_bytes()[:4] == b"FPCT"
    else:
        with pytest.raises(UserError, match="exists already"), CipherWriter(path, head, images.signer):
            pass
        assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_during_the_writing_is_not_replaced(images, tmp_path):
    path, head = tmp_path / "set", head_of(images, images.encryptor().shape, 0)
    with pytest.raises(UserError, match="exists already"), CipherWriter(path, head, images.signer):
        path.write_bytes(b"precious")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", ["exception", "too few", "too many", "wrong size"])
def test_what_is_not_finished_leaves_nothing(images, tmp_path, failure):
    encryptor = images.encryptor()
    body, head = encryptor.constant(1), head_of(images, encryptor.shape, 2)
    expected = RuntimeError if failure == "exception" else ValueError

    def write():
        with CipherWriter(tmp_path / "set", head, images.signer) as writer:
            for part in parts:
                writer.write(part)
            if failure == "exception":
                raise RuntimeError

    parts = {"too many": [body] * 3, "wrong size": [body, body[:-1]]}.get(failure, [body])
    with pytest.raises(expected):
        write()
    assert not list(tmp_path.iterdir())


def test_killed_while_it_writes_it_leaves_nothing_under_the_name(tmp_path):
    program = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from fedpriv.he.users.cipher_heads import CipherHead\n"
        "from fedpriv.he.users.cipher_writing import CipherWriter\n"
        "from fedpriv.he.users.keys import UserKeys\n"
        "from fedpriv.he.users.sets import SETS\n"
        "keys = UserKeys.make(SETS['images'])\n"
        "encryptor = keys.encryptor()\n"
        "head = CipherHead(keys.set, keys.fingerprint, encryptor.shape, 1, {}, True)\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with CipherWriter(Path(sys.argv[1]), head, keys.signer) as writer:\n"
        "    writer.write(encryptor.constant(1))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "set")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "set").exists()


def test_a_signer_comes_with_a_signed_head_and_with_no_other(images):
    shape = images.encryptor().shape
    for head, signer in (
        (head_of(images, shape), None),
        (head_of(images, shape, signed=False), images.signer),
    ):
        with pytest.raises(ValueError, match="signer"):
            CipherStream(head, signer)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "nowhere to write"])
def test_what_is_no_file_is_refused_at_once(images, tmp_path, kind):
    path = tmp_path / "set"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "nowhere to write":
        head = head_of(images, images.encryptor().shape, 0)
        with pytest.raises(UserError, match="cannot write"), CipherWriter(path / "set", head, images.signer):
            pass
        return
    refusal = pytest.raises(UserError, match=r"cannot read|not a regular file")
    with refusal, open_ciphers(path, images.public, most=1):
        pass


@pytest.mark.parametrize("count", [2, 4, 2**40])
def test_a_file_whose_size_is_not_what_its_header_says_is_refused_before_a_ciphertext_is_read(
    images, data, tmp_path, count
):
    path = tmp_path / "set"
    path.write_bytes(data[:96] + struct.pack("<Q", count) + data[104:])
    with pytest.raises(FormatError, match="its header says"), open_ciphers(path, images.public, most=2**50):
        pass
