"""Verification sets: pickles of every writer are read, and no pickle can do anything else."""

import _compat_pickle
import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.verification_bin import read_verification_bin, write_verification_bin

JPEG, PNG = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"
IMAGES = [JPEG + bytes(range(256)), PNG + b"x", JPEG + b"\n'\"\\" * 99, JPEG]
SAME = [True, False]

images = st.tuples(st.sampled_from([JPEG, PNG]), st.binary(max_size=300)).map(b"".join)
pairs = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.lists(images, min_size=2 * count, max_size=2 * count),
        st.lists(st.booleans(), min_size=count, max_size=count),
    )
)


@pytest.fixture
def read(tmp_path):
    def read(content, **options):
        path = tmp_path / "lfw.bin"
        path.write_bytes(content)
        return read_verification_bin(path, **options)

    return read


@pytest.fixture
def refused(read, tmp_path):
    def refused(content, reason, **options):
        with pytest.raises(FormatError) as caught:
            read(content, **options)
        assert reason in caught.value.reason
        assert "\n" not in str(caught.value)
        assert len(caught.value.reason) < 200
        assert caught.value.source == tmp_path / "lfw.bin"
        return caught.value

    return refused


def python2(images, flags, long_strings=True):
    """What Python 2's ``pickle.dump((images, flags), file, 2)`` writes, instruction by instruction."""
    content = b"\x80\x02]q\x00("  # PROTO 2, EMPTY_LIST, BINPUT 0, MARK
    for number, image in enumerate(images, start=1):
        if len(image) < 256 and not long_strings:
            content += b"U" + bytes([len(image)]) + image  # SHORT_BINSTRING
        else:
            content += b"T" + struct.pack("<i", len(image)) + image  # BINSTRING
        content += b"r" + struct.pack("<I", number)  # LONG_BINPUT
    content += b"e]q\xfe("  # APPENDS, EMPTY_LIST, BINPUT, MARK
    content += b"".join(b"\x88" if flag else b"\x89" for flag in flags)  # NEWTRUE, NEWFALSE
    return content + b"e\x86q\xff."  # APPENDS, TUPLE2, BINPUT, STOP


def as_numpy_1(content):
    """Rename numpy 2's modules in a pickle to those of numpy 1."""
    for name in (b"multiarray", b"numeric"):
        old, new = b"numpy._core." + name, b"numpy.core." + name
        content = content.replace(b"c" + old, b"c" + new)
        content = content.replace(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)
    return content


def columns(images):
    return [np.frombuffer(image, dtype=np.uint8).copy().reshape(-1, 1) for image in images]


def vectors(images):
    return [np.frombuffer(image, dtype=np.uint8).copy() for image in images]


@given(pairs, st.integers(2, 5))
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_here_and_by_pickle(tmp_path_factory, content, protocol):
    path = tmp_path_factory.mktemp("bin") / "lfw.bin"
    write_verification_bin(path, *content, protocol=protocol)
    assert read_verification_bin(path) == content
    assert pickle.loads(path.read_bytes()) == content  # noqa: S301 - made on the line before


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [list, tuple])
def test_pickles_of_python_3_are_read(read, protocol, kind):
    for outer in ((kind(IMAGES), kind(SAME)), [kind(IMAGES), kind(SAME)]):
        assert read(pickle.dumps(outer, protocol)) == (IMAGES, SAME)
        assert read(pickletools.optimize(pickle.dumps(outer, protocol))) == (IMAGES, SAME)


@pytest.mark.parametrize("long_strings", [True, False])
def test_pickles_of_python_2_are_read(read, long_strings):
    content = python2(IMAGES, SAME, long_strings)
    assert pickle.loads(content, encoding="bytes") == (IMAGES, SAME)  # noqa: S301 - made by hand above
    assert read(content) == (IMAGES, SAME)


def test_one_image_in_many_pairs_is_read(read):
    for protocol in (2, 3, 4, 5):
        repeated = [IMAGES[0], IMAGES[1]] * 1000
        assert read(pickle.dumps((repeated, SAME * 500), protocol)) == (repeated, SAME * 500)


def test_large_images_and_many_pairs_are_read(read):
    large = [JPEG + bytes(100_000) for _ in range(2)] + [JPEG + b"%d" % n for n in range(5998)]
    assert read(pickle.dumps((large, SAME * 1500), 4)) == (large, SAME * 1500)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("arrays", [vectors, columns])
@pytest.mark.parametrize("rename", [lambda content: content, as_numpy_1], ids=["numpy2", "numpy1"])
def test_arrays_of_bytes_are_read_when_asked_for(read, refused, protocol, arrays, rename):
    content = rename(pickle.dumps((arrays(IMAGES), [np.bool_(flag) for flag in SAME]), protocol))
    assert read(content, allow_numpy=True) == (IMAGES, SAME)
    assert type(read(content, allow_numpy=True)[1][0]) is bool
    refused(content, "set allow_numpy to read arrays of bytes")
    flags = rename(pickle.dumps((arrays(IMAGES), np.array(SAME)), protocol))
    assert read(flags, allow_numpy=True) == (IMAGES, SAME)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_thousands_of_arrays_stay_below_the_instruction_limit(read, protocol):
    many = [JPEG + b"%d" % n for n in range(2000)]
    content = pickle.dumps((columns(many), [np.bool_(True)] * 1000), protocol)
    assert read(content, allow_numpy=True, max_pairs=1000)[0] == many


def test_read_only_arrays_of_protocol_5_are_read(read):
    frozen = vectors(IMAGES)
    for array in frozen:
        array.flags.writeable = False
    assert read(pickle.dumps((frozen, SAME), 5), allow_numpy=True) == (IMAGES, SAME)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([JPEG, {}], dtype=object), "dtype 'O8'"),
        (np.array([1.0]), "dtype 'f8'"),
        (np.array([1], dtype=np.uint16), "dtype 'u2'"),
        (np.array([1], dtype=np.int8), "dtype 'i1'"),
        (np.array([JPEG]), "dtype 'S4'"),
        (np.zeros((2, 2), dtype=np.uint8), "shape"),
        (np.zeros((), dtype=np.uint8), "shape"),
        (np.zeros(3, dtype=[("a", "u1")]), "dtype 'V1'"),
        (np.zeros(3, dtype=np.bool_), "is a PickledArray, need bytes"),
        (np.uint8(3), "no bool"),
        (np.ma.masked_array([1], dtype=np.uint8), "not allowed"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_arrays_are_refused(refused, array, reason, protocol):
    content = pickle.dumps(([array, JPEG], [True]), protocol)
    refused(content, reason, allow_numpy=True)


class Marker:
    """A class that leaves a trace when a pickle makes one; the pickles below try hard."""

    made = 0

    def __new__(cls, *arguments):
        Marker.made += 1
        return super().__new__(cls)

    def __setstate__(self, state):
        Marker.made += 1


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


MODULE = __name__.encode()
ATTACKS = {
    "REDUCE": b"\x80\x02c" + MODULE + b"\nMarker\n)R.",
    "REDUCE os.system": b"\x80\x02cposix\nsystem\nU\x04exit\x85R.",
    "INST": b"(i" + MODULE + b"\nMarker\n.",
    "OBJ": b"(c" + MODULE + b"\nMarker\no.",
    "NEWOBJ": b"\x80\x02c" + MODULE + b"\nMarker\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04c" + MODULE + b"\nMarker\n)}\x92.",
    "STACK_GLOBAL": b"\x80\x04\x8c" + bytes([len(MODULE)]) + MODULE + b"\x8c\x06Marker\x93)R.",
    "BUILD": b"\x80\x02c" + MODULE + b"\nMarker\n)R}b.",
    "BUILD of a function": b"\x80\x02c_codecs\nencode\nN}\x86b.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "PERSID": b"Pname\n.",
    "BINPERSID": b"Nq\x00Q.",
    "dotted name": b"\x80\x04\x8c\x07_codecs\x8c\x0fencode.__self__\x93.",
    "builtins": b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
    "Python 2 builtins": b"\x80\x02c__builtin__\neval\nU\x011\x85R.",
    "numpy": b"\x80\x02cnumpy\nload\nU\x01x\x85R.",
    "codecs with another codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00zip\x86R.",
    "codecs of bytes": b"\x80\x02c_codecs\nencode\nU\x01xX\x06\x00\x00\x00latin1\x86R.",
    "codecs without arguments": b"\x80\x02c_codecs\nencode\n)R.",
    "call of data": b"\x80\x02U\x01x)R.",
    "call without a tuple": b"\x80\x02c_codecs\nencode\n]R.",
    "DICT": b"(d.",
    "SETITEM": b"}U\x01aU\x01bs.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "READONLY_BUFFER": b"\x80\x05N\x98.",
    "FROZENSET": b"\x80\x04(\x91.",
    "STRING": b"S'x'\n.",
    "UNICODE": b"Vx\n.",
    "LONG": b"L" + b"9" * 5000 + b"L\n.",
    "LONG4": b"\x8b\xff\xff\xff\x7f.",
    "DUP": b"]2.",
    "no instruction": b"\x80\x02\xff.",
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("allow_numpy", [False, True])
def test_programs_are_refused_and_nothing_runs(refused, name, allow_numpy):
    Marker.made = 0
    error = refused(ATTACKS[name], "", allow_numpy=allow_numpy)
    assert error.offset is not None
    assert any(word in error.reason for word in ("not allowed", "_codecs.encode"))
    assert Marker.made == 0


def test_the_attacks_above_would_make_an_object():
    """Without this, the test above could pass for a misspelt pickle."""
    for name in ("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL", "BUILD"):
        Marker.made = 0
        pickle.loads(ATTACKS[name])  # noqa: S301 - made by hand above
        assert Marker.made, name


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("place", ["alone", "image", "flag", "behind"])
def test_a_command_in_a_pickle_is_never_run(refused, tmp_path, protocol, place):
    trace = tmp_path / "trace"
    call = Call(os.system, f"touch {trace}")
    content = {
        "alone": call,
        "image": ([JPEG, call], [True]),
        "flag": ([JPEG, JPEG], [call]),
        "behind": ([JPEG, JPEG], [True], call),
    }[place]
    for allow_numpy in (False, True):
        refused(pickle.dumps(content, protocol), "not allowed", allow_numpy=allow_numpy)
    assert not trace.exists()


def test_names_that_python_3_translates_for_python_2_are_not_translated(refused):
    for module, name in list(_compat_pickle.NAME_MAPPING)[:20]:
        refused(f"\x80\x02c{module}\n{name}\n.".encode("latin1"), "not allowed", allow_numpy=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 are left"),
        (b"\x80\x02", "0 are left"),
        (b"\x80\x06.", "protocol above 5"),
        (b".", "ends with 0 objects"),
        (b"]].", "ends with 2 objects"),
        (b"].]", "is no pickle of (images, issame)"),
        (b"(].", "ends with"),
        (b"a.", "stack is empty"),
        (b"]a.", "stack is empty"),
        (b"](a.", "stack is empty"),
        (b"NNa.", "appends to a NoneType"),
        (b"e.", "no mark"),
        (b"t.", "no mark"),
        (b"\x86.", "stack is empty"),
        (b"q\x00.", "stack is empty"),
        (b"\x94.", "stack is empty"),
        (b"h\x07.", "memo has no entry 7"),
        (b"j\xff\xff\xff\xff.", "memo has no entry 4294967295"),
        (b"cposix", "name without an end"),
        (b"c" + b"x" * 500 + b"\nx\n.", "name without an end"),
        (b"c\xff\nx\n.", "utf-8"),
        (b"NN\x93.", "whose name is no text"),
        (b"\x8c\x02\xc4\x80.", "beyond latin1"),
        (b"\x8c\x02\xc3\x28.", "utf-8"),
        (b"\x8e" + b"\xff" * 8 + b".", "bytes announced, 1 are left"),
        (b"\x96" + b"\xff" * 8 + b".", "bytes announced, 1 are left"),
        (b"B\xff\xff\xff\xff.", "4294967295 bytes announced, 1 are left"),
        (b"T\xff\xff\xff\xff.", "4294967295 bytes announced, 1 are left"),
        (b"X\xff\xff\xff\x7f.", "bytes announced, 1 are left"),
        (pickle.dumps(IMAGES, 2), "is no pickle of (images, issame)"),
        (pickle.dumps((IMAGES,), 2), "is no pickle of (images, issame)"),
        (pickle.dumps((IMAGES, SAME, SAME), 2), "is no pickle of (images, issame)"),
        (pickle.dumps((IMAGES, 3), 2), "issame is a int, need a list"),
        (pickle.dumps((b"abc", SAME), 3), "images is a bytes, need a list"),
        (pickle.dumps((IMAGES[:3], SAME), 3), "3 images for 2 pairs"),
        (pickle.dumps((IMAGES, SAME + SAME), 3), "4 images for 4 pairs"),
        (pickle.dumps(([], []), 3), "0 images for 0 pairs"),
        (pickle.dumps((IMAGES, [True, 1]), 3), "issame[1] is a int"),
        (pickle.dumps((IMAGES, [None, True]), 3), "issame[0] is a NoneType"),
        (pickle.dumps(([*IMAGES[:3], "text"], SAME), 3), "image 3 is a str"),
        (pickle.dumps(([*IMAGES[:3], IMAGES], SAME), 3), "image 3 is a list"),
        (pickle.dumps(([*IMAGES[:3], b"GIF89a"], SAME), 3), "image 3 is neither JPEG nor PNG"),
        (pickle.dumps(([*IMAGES[:3], b""], SAME), 3), "image 3 is neither JPEG nor PNG"),
    ],
)
def test_what_is_no_set_is_refused_in_one_line(refused, content, reason):
    refused(content, reason)


def test_every_truncation_is_refused(read):
    for protocol in (2, 4):
        content = pickle.dumps(([JPEG, PNG], [True]), protocol)
        for length in range(len(content)):
            with pytest.raises(FormatError):
                read(content[:length])


def test_limits_are_kept(refused, read):
    content = pickle.dumps((IMAGES, SAME), 4)
    refused(content, "the limit is 100", max_bytes=100)
    refused(content, "need 2 for each of 1 to 1", max_pairs=1)
    assert read(content, max_bytes=len(content), max_pairs=2) == (IMAGES, SAME)


def laughs(depth: int) -> bytes:
    """``depth`` lists, each with ten references to the one before: 10^depth items when written out."""
    content = b"]\x94"
    for number in range(depth - 1):
        content += b"]\x94(" + (b"h" + bytes([number])) * 10 + b"e"
    return content


ENCODE_A_MEGABYTE = (
    b"c_codecs\nencode\nq\x00X\x40\x42\x0f\x00" + b"x" * 1_000_000 + b"q\x01X\x06\x00\x00\x00latin1q\x02"
)
BOMBS = {
    "billion laughs": (b"(" + laughs(60) + b"l(" + b"\x88" * 30 + b"l\x86.", "image 0 is a list"),
    "laughs as flags": (b"(" + b"]" * 120 + b"l(" + laughs(60) + b"l\x86.", "issame[0] is a list"),
    "memo at its largest index": (b"]r\xff\xff\xff\xff\x88a]\x86.", "1 images for 0 pairs"),
    "a list that holds itself": (b"]q\x00h\x00a]\x88a\x86.", "1 images for 1 pairs"),
    "nested tuples": (b")" + b"\x85" * 70_000 + b".", "more than 65000 pickle instructions"),
    "deep nesting": (b")" + b"\x85" * 64_000 + b".", "is no pickle of"),
    "nested lists": (b"]" * 32_000 + b"a" * 31_999 + b".", "is no pickle of"),
    "empty lists": (b"(" + b"]" * 64_900 + b"l.", "is no pickle of"),
    "memoised lists": (b"(" + b"]\x94" * 32_400 + b"l.", "is no pickle of"),
    "marks": (b"(" * 64_000 + b".", "ends with 0 objects"),
    "bytes from text again and again": (
        ENCODE_A_MEGABYTE + b"(" + b"h\x00h\x01h\x02\x86R" * 1000 + b"l.",
        "makes more bytes than it has",
    ),
    "long names": (
        b"\x8d\x40\x42\x0f\x00\x00\x00\x00\x00" + b"x" * 1_000_000 + b"\x94h\x00\x93.",
        "is not allowed",
    ),
    "lying bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "1099511627776 bytes announced"),
    "lying frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"].", "is no pickle of"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_little_memory(refused, name):
    content, reason = BOMBS[name]
    tracemalloc.start()
    try:
        refused(content, reason, allow_numpy=True, max_pairs=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # instructions are limited to 65,000 here; none makes more than about 200 bytes
    assert peak < 4 * len(content) + 65_000 * 250


def test_a_bool_array_longer_than_allowed_is_not_expanded(refused):
    content = pickle.dumps((IMAGES, np.zeros(2_000_000, dtype=np.bool_)), 4)
    tracemalloc.start()
    try:
        refused(content, "issame is an array of 2000000", allow_numpy=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(content)


def test_bools_other_than_0_and_1_are_refused(refused):
    content = pickle.dumps((IMAGES, np.array([True, False])), 4)
    refused(content.replace(b"C\x02\x01\x00", b"C\x02\x02\x00"), "need at most 20000 bools", allow_numpy=True)


@pytest.mark.parametrize(
    ("images", "same", "protocol", "reason"),
    [
        (IMAGES, SAME, 1, "protocol 1"),
        (IMAGES, SAME, 6, "protocol 6"),
        (IMAGES[:3], SAME, 4, "3 images for 2 pairs"),
        ([], [], 4, "a pair at least"),
        ([JPEG, b"BM"], [True], 4, "image 1 is neither"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, images, same, protocol, reason):
    with pytest.raises(ValueError, match=reason):
        write_verification_bin(tmp_path / "x.bin", images, same, protocol)
    assert not list(tmp_path.iterdir())


def test_paths_are_checked(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        read_verification_bin(tmp_path / "missing.bin")
    with pytest.raises(UserError, match="cannot be written"):
        write_verification_bin(tmp_path / "missing" / "x.bin", [JPEG, JPEG], [True])
