import numpy as np
import pytest
from scipy.stats import chi2, chisquare, kstest

from fedpriv.privacy.noise import FastSource, SecureSource

# a test of secure noise cannot be seeded: this makes a false alarm rarer than one run in a million
ALPHA = 1e-7
SAMPLES = 200_000
SOURCES = [SecureSource, lambda: FastSource(3, "test")]
both = pytest.mark.parametrize("make", SOURCES, ids=["secure", "fast"])


@both
def test_normals_are_standard_normal(make):
    assert kstest(make().normal(SAMPLES), "norm").pvalue > ALPHA


def test_the_test_above_would_notice_a_standard_deviation_wrong_by_three_percent():
    drawn = FastSource(5).normal(SAMPLES)
    assert kstest(1.03 * drawn, "norm").pvalue < ALPHA
    assert kstest(0.97 * drawn, "norm").pvalue < ALPHA


@both
def test_the_variance_of_normals_is_one(make):
    squares = float(np.sum(make().normal(SAMPLES) ** 2))
    assert chi2.ppf(ALPHA, SAMPLES) < squares < chi2.isf(ALPHA, SAMPLES)


@both
def test_normals_of_one_draw_are_not_correlated(make):
    # Box-Muller pairs stand half a draw apart, and share a radius: squares must not correlate either
    drawn = make().normal(SAMPLES)
    first, second = drawn[: SAMPLES // 2], drawn[SAMPLES // 2 :]
    bound = 5.5 / np.sqrt(SAMPLES / 2)
    for a, b in ((first, second), (first**2, second**2), (drawn[:-1:2], drawn[1::2])):
        assert abs(np.corrcoef(a, b)[0, 1]) < bound


@both
def test_uniforms_are_uniform_on_the_half_open_unit_interval(make):
    drawn = make().uniform(SAMPLES)
    assert kstest(drawn, "uniform").pvalue > ALPHA
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0


def test_the_largest_keystream_word_still_gives_less_than_one():
    class Ones:
        def update(self, data: bytes) -> bytes:
            return b"\xff" * len(data)

    source = SecureSource()
    source._stream = Ones()
    assert source.uniform(1)[0] == 1.0 - 2.0**-53


def test_edge_the_extreme_keystreams_give_finite_normals_within_the_stated_range():
    for byte in (b"\x00", b"\xff"):

        class Constant:
            def update(self, data: bytes, byte: bytes = byte) -> bytes:
                return byte * len(data)

        source = SecureSource()
        source._stream = Constant()
        assert np.all(np.abs(source.normal(4)) <= 8.6)


def test_edge_normals_leave_holes_between_floats_as_mironov_needs_them():
    """Between a radius of 0 and that of the next keystream word no normal lies, whatever the angle."""
    radii = []
    for first in (0, 1 << 11, 2 << 11):

        class Given:
            def update(self, data: bytes, first: int = first) -> bytes:
                return np.full(len(data) // 8, first, "<u8").tobytes()

        source = SecureSource()
        source._stream = Given()
        radii.append(float(np.hypot(*source.normal(2))))
    assert radii == pytest.approx([0.0, 2.0**-26, 2.0**-25.5], rel=1e-6)
    assert np.nextafter(0.0, 1.0) < radii[1]


@both
@pytest.mark.parametrize("count", [0, 1, 2, 7, 1001])
def test_edge_any_count_gives_that_many_float64(make, count):
    source = make()
    for drawn in (source.normal(count), source.uniform(count)):
        assert drawn.shape == (count,)
        assert drawn.dtype == np.float64


def test_guarantee_two_secure_sources_differ():
    assert not np.any(SecureSource().uniform(100) == SecureSource().uniform(100))


def test_guarantee_nothing_seeds_a_secure_source():
    drawn = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002 - the point: global state has no influence
        drawn.append(SecureSource().uniform(100))
    assert not np.any(drawn[0] == drawn[1])
    with pytest.raises(TypeError):
        SecureSource(0)


def test_a_source_does_not_repeat_itself():
    source = SecureSource()
    assert not np.any(source.uniform(100) == source.uniform(100))


def test_the_keystream_is_chacha20_of_rfc_8439():
    # RFC 8439, appendix A.1, test vector 1: key, counter and nonce all zero
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    source = SecureSource()
    source._stream = Cipher(ChaCha20(bytes(32), bytes(16)), mode=None).encryptor()
    word = int.from_bytes(bytes.fromhex("76b8e0ada0f13d90"), "little")
    assert source.uniform(1)[0] == (word >> 11) / 2**53


def test_a_fast_source_repeats_for_the_same_seed_and_purpose_only():
    drawn = FastSource(1, 2, 3).normal(50)
    assert np.array_equal(drawn, FastSource(1, 2, 3).normal(50))
    for other in (FastSource(2, 2, 3), FastSource(1, 3, 2), FastSource(1, 2)):
        assert not np.any(drawn == other.normal(50))


@both
@pytest.mark.parametrize("bound", [2, 3, 7, 200, 256])
def test_integers_below_a_bound_are_uniform(make, bound):
    drawn = make().below(bound, SAMPLES)
    assert drawn.dtype == np.int64
    assert chisquare(np.bincount(drawn, minlength=bound)).pvalue > ALPHA
    assert drawn.max() < bound


@both
def test_edge_the_smallest_and_the_largest_bound(make):
    assert not make().below(1, 10).any()
    drawn = make().below(1 << 63, 1000)
    assert drawn.min() >= 0
    assert drawn.max() > 1 << 62
    assert len(make().below(10, 0)) == 0


@pytest.mark.parametrize("bound", [0, -1, (1 << 63) + 1])
def test_a_bound_out_of_range_is_refused(bound):
    with pytest.raises(ValueError, match=f"^bound={bound}"):
        SecureSource().below(bound, 1)


def test_what_lies_outside_is_drawn_again_not_folded():
    source = FastSource(1)
    # three bits: 7 and 6 lie outside [0, 5), so does the 5 that replaces the first
    words = iter([[7 << 61, 1 << 61, 6 << 61], [5 << 61, 4 << 61], [3 << 61]])
    source.words = lambda count: np.array(next(words), np.uint64)
    assert source.below(5, 3).tolist() == [3, 1, 4]


@both
def test_words_have_even_bits(make):
    drawn = make().words(SAMPLES)
    assert drawn.dtype == np.uint64
    for bit in range(64):
        ones = int((drawn >> np.uint64(bit) & np.uint64(1)).sum())
        assert abs(ones - SAMPLES / 2) < 3 * np.sqrt(SAMPLES)
