"""Ciphertexts as packed coefficients, against SEAL's own bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.users.bodies import Bodies, from_polynomials, polynomials, shape_of
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.shapes import Shape


def bytes_of(ciphertext):
    with SealBuffer() as buffer:
        return buffer.dump(ciphertext, 1 << 23)


@pytest.mark.parametrize("name", ["faces", "images", "table"])
def test_what_is_packed_and_unpacked_is_the_ciphertext_that_seal_knows(owner, name):
    keys = owner(name)
    evaluation, encryptor = Evaluation(keys.public), keys.public.encryptor()
    fresh = encryptor.ciphertext(encryptor.constant(2))
    found = [fresh]
    if keys.set.relinearises:
        product = evaluation.multiply(fresh, fresh)
        found += [product, evaluation.relinearise(product), evaluation.switch_down(fresh, 1)]
    for ciphertext in found:
        shape = shape_of(keys.set, ciphertext)
        body = Bodies(keys.set, shape).pack(ciphertext)
        assert len(body) == Bodies(keys.set, shape).size
        assert bytes_of(Bodies(keys.set, shape).unpack(body)) == bytes_of(ciphertext)
        words = polynomials(keys.set, ciphertext)
        assert words.shape == (shape.polynomials, shape.primes, keys.set.seal.poly_degree)
        assert bytes_of(from_polynomials(keys.set, words, shape.scale)) == bytes_of(ciphertext)


def test_a_seed_grows_into_what_seal_makes_of_its_own_bytes(faces):
    context, plaintext = seal_context(faces.set.seal), sealapi.Plaintext()
    sealapi.CKKSEncoder(context).encode(0.25, faces.set.scale, plaintext)
    seeded = sealapi.Encryptor(context, faces.secret_key()).encrypt_symmetric(plaintext)
    bodies, full = Bodies(faces.set, faces.encryptor().shape), sealapi.Ciphertext()
    with SealBuffer() as buffer:
        whole = buffer.dump(seeded, 1 << 20)
        buffer.load(full, context, [whole], 1 << 20)
    assert bytes_of(bodies.unpack(bodies.pack(seeded))) == bytes_of(full)
    # half the coefficients and a seed
    assert bodies.size == 8192 * (60 + 60) // 8 + 64


def test_every_encryption_has_a_seed_and_an_error_of_its_own(images):
    encryptor = images.encryptor()
    bodies = [encryptor.constant(1) for _ in range(8)]
    assert len({body[-64:] for body in bodies}) == len({body[:-64] for body in bodies}) == 8


@pytest.mark.parametrize("change", [-1, 1, None])
def test_a_body_of_another_size_is_refused(images, change):
    bodies = Bodies(images.set, images.encryptor().shape)
    body = bytes(0 if change is None else bodies.size + change)
    for read in (bodies.unpack, bodies.check):
        with pytest.raises(SealDataError, match=f"{len(body)} bytes, {bodies.size} expected"):
            read(body)


@pytest.mark.parametrize("polynomial", [0, 1])
@pytest.mark.parametrize("prime", [0, 1])
def test_a_coefficient_that_is_not_below_its_prime_is_refused(faces, polynomial, prime):
    encryptor = faces.public.encryptor()
    bodies = Bodies(faces.set, encryptor.shape)
    words = polynomials(faces.set, encryptor.ciphertext(encryptor.constant(0.5))).copy()
    moduli = faces.set.moduli()
    rows = RowPacking(moduli, 8192)
    for value, fine in ((int(moduli[prime, 0]) - 1, True), (int(moduli[prime, 0]), False)):
        words[polynomial, prime, 17] = value
        body = b"".join(rows.pack(each) for each in words)
        if fine:
            bodies.check(body)
            assert polynomials(faces.set, bodies.unpack(body))[polynomial, prime, 17] == value
        else:
            for read in (bodies.unpack, bodies.check):
                with pytest.raises(SealDataError, match="not below its prime"):
                    read(body)


def test_a_ciphertext_that_hides_nothing_is_refused(images):
    bodies = Bodies(images.set, Shape(2, 1))
    rows = RowPacking(images.set.moduli(), 4096)
    plain = rows.pack(np.ones((1, 4096), np.uint64))
    for read in (bodies.unpack, bodies.check):
        with pytest.raises(SealDataError, match="hides nothing"):
            read(plain + bytes(rows.size))


def test_a_ciphertext_of_another_shape_is_not_packed(faces):
    encryptor = faces.public.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1.0))
    for shape in (Shape(2, 1, False, 2.0**50), Shape(3, 2, False, 2.0**50), Shape(2, 2, False, 2.0**49)):
        with pytest.raises(SealDataError, match=r"not of the shape expected|does not decompress"):
            Bodies(faces.set, shape).pack(ciphertext)


@pytest.mark.parametrize(
    ("name", "shape", "problem"),
    [
        ("faces", Shape(1, 2, False, 2.0**50), "1 polynomials"),
        ("faces", Shape(4, 2, False, 2.0**50), "4 polynomials"),
        ("faces", Shape(2, 0, False, 2.0**50), "level of 0 primes"),
        ("faces", Shape(2, 3, False, 2.0**50), "level of 3 primes"),
        ("faces", Shape(3, 2, True, 2.0**50), "seeded with 3"),
        ("faces", Shape(2, 2, False, 0.0), "scale 0.0"),
        ("faces", Shape(2, 2, False, -1.0), "scale -1.0"),
        ("faces", Shape(2, 2, False, float("nan")), "scale nan"),
        ("faces", Shape(2, 2, False, float("inf")), "scale inf"),
        ("faces", Shape(2, 2, False, 2.0**120), "scale"),
        ("faces", Shape(2, 1, False, 2.0**60), "scale"),
        ("images", Shape(2, 1, False, 2.0), "integers have 1"),
        ("images", Shape(2, 2), "level of 2 primes"),
    ],
)
def test_an_impossible_shape_is_refused_before_anything_is_allocated(owner, name, shape, problem):
    with pytest.raises(ValueError, match=problem):
        Bodies(owner(name).set, shape)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, (1 << 60) - 1), min_size=1, max_size=4), st.integers(0, 1 << 30))
def test_rows_of_any_primes_come_back_and_take_the_bits_of_their_primes(primes, seed):
    moduli, degree = np.array(primes, np.uint64)[:, np.newaxis], 64
    words = np.random.default_rng(seed).integers(0, moduli, (len(primes), degree), dtype=np.uint64)
    words[:, 0], words[:, 1] = moduli[:, 0] - np.uint64(1), 0
    rows = RowPacking(moduli, degree)
    packed = rows.pack(words)
    assert len(packed) == rows.size == sum(prime.bit_length() * degree // 8 for prime in primes)
    assert (rows.unpack(packed) == words).all()
