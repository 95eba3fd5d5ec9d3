"""What a server computes, against numpy on the plain values."""

import numpy as np
import pytest
from scipy import stats

from fedpriv.errors import UserError
from fedpriv.he.users.bodies import polynomials
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS


@pytest.fixture(scope="module")
def table(owner):
    return owner("table")


def integers(keys, seed, magnitude=1 << 20):
    return np.random.default_rng(seed).integers(-magnitude, magnitude, keys.set.slots)


def encrypted(encryptor, values):
    make = encryptor.floats if encryptor.set.ckks else encryptor.integers
    return encryptor.ciphertext(make(values))


def test_sums_differences_and_products_of_integers_are_numpy_s(table):
    evaluation = Evaluation(table.public)
    a, b = integers(table, 1), integers(table, 2)
    first, second = encrypted(table.encryptor(), a), encrypted(table.public.encryptor(), b)
    product = evaluation.multiply(first, second)
    expected = {
        "add": (evaluation.add(first, second), a + b),
        "sub": (evaluation.sub(first, second), a - b),
        "negate": (evaluation.negate(first), -a),
        "many": (evaluation.add_many([first, second, first]), a + b + a),
        "multiply": (product, a * b),
        "square": (evaluation.square(first), a * a),
        "relinearise": (evaluation.relinearise(product), a * b),
        "down": (evaluation.switch_down(evaluation.relinearise(product), 3), a * b),
        "products": (evaluation.sum_of_products([first, second], [second, second]), a * b + b * b),
        "plain product": (evaluation.multiply_plain(first, evaluation.integers(b)), a * b),
        "plain sum": (evaluation.add_plain(first, evaluation.integers(b)), a + b),
        "plain difference": (evaluation.sub_plain(first, evaluation.constant(-7)), a + 7),
        "unsigned": (evaluation.add_plain(first, evaluation.unsigned(np.arange(5, dtype=np.uint64))), None),
    }
    five = a.copy()
    five[:5] += np.arange(5)
    for name, (ciphertext, values) in expected.items():
        assert (table.decrypt_integers(ciphertext) == (five if values is None else values)).all(), name
    # operands stay as they were
    assert (table.decrypt_integers(first) == a).all()
    assert (table.decrypt_integers(second) == b).all()


@pytest.mark.parametrize("name", ["images", "images-split", "table"])
def test_the_ends_of_the_range_of_integers_come_back(owner, name):
    keys = owner(name)
    half = (keys.set.seal.plain_modulus - 1) // 2
    values = np.array([-half, half, 0, -1], np.int64)
    found = keys.decrypt_integers(encrypted(keys.encryptor(), values))
    assert found[:4].tolist() == values.tolist()
    assert not found[4:].any()


def test_scores_of_unit_vectors_are_right_to_a_billionth(faces):
    random, dimensions = np.random.default_rng(3), 16
    gallery = random.normal(size=(dimensions, faces.set.slots))
    gallery /= np.linalg.norm(gallery, axis=0)
    probe = random.normal(size=dimensions)
    probe /= np.linalg.norm(probe)
    evaluation, owner, caller = Evaluation(faces.public), faces.encryptor(), faces.public.encryptor()
    columns = [encrypted(owner, row) for row in gallery]
    probes = [caller.ciphertext(caller.constant(float(each))) for each in probe]
    summed = evaluation.sum_of_products(columns, probes)
    scores = evaluation.rescale(evaluation.relinearise(summed))
    assert np.abs(faces.decrypt_floats(scores, limit=1.1) - probe @ gallery).max() < 1e-9
    plain = evaluation.add_many(
        evaluation.multiply_plain(column, evaluation.constant(float(each), like=column))
        for column, each in zip(columns, probe, strict=True)
    )
    assert np.abs(faces.decrypt_floats(evaluation.rescale(plain), limit=1.1) - probe @ gallery).max() < 1e-9


def test_plain_operands_follow_the_level_and_scale_of_a_ciphertext(faces):
    evaluation, encryptor = Evaluation(faces.public), faces.encryptor()
    fresh = encryptor.ciphertext(encryptor.constant(0.5))
    product = evaluation.rescale(evaluation.relinearise(evaluation.square(fresh)))
    moved = evaluation.sub_plain(product, evaluation.constant(0.2, like=product))
    moved = evaluation.add_plain(moved, evaluation.floats(np.full(3, 0.1), like=moved))
    found = faces.decrypt_floats(moved, limit=1.1)
    assert np.abs(found[:3] - 0.15).max() < 1e-9
    assert np.abs(found[3:] - 0.05).max() < 1e-9


def test_a_difference_that_hides_nothing_is_refused(images):
    evaluation, encryptor = Evaluation(images.public), images.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1))
    with pytest.raises(UserError, match="hide nothing"):
        evaluation.sub(ciphertext, ciphertext)
    with pytest.raises(UserError, match="hide nothing"):
        evaluation.multiply_plain(ciphertext, evaluation.constant(0))


def test_misuse_is_told_apart_from_what_a_peer_can_cause(faces, images):
    evaluation, encryptor = Evaluation(faces.public), faces.encryptor()
    fresh = encryptor.ciphertext(encryptor.constant(0.5))
    lower = evaluation.rescale(evaluation.relinearise(evaluation.square(fresh)))
    with pytest.raises(ValueError, match="parameter"):
        evaluation.add(fresh, lower)
    with pytest.raises(ValueError, match="no relinearisation keys"):
        Evaluation(images.public).relinearise(fresh)
    with pytest.raises(ValueError, match="none"):
        evaluation.add_many([])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        evaluation.sum_of_products([fresh, fresh], [fresh])
    with pytest.raises(ValueError, match="relinearise first"):
        evaluation.flood(evaluation.square(fresh), 10)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(4097, np.int64), "at most 4096 slots"),
        (np.array([1 << 41]), "beyond"),
        (np.array([-(1 << 41)]), "beyond"),
        (np.zeros((2, 2), np.int64), "2 dimensions"),
        (np.zeros(3), "float64"),
    ],
)
def test_integers_that_do_not_fit_are_refused(images, values, reason):
    with pytest.raises(ValueError, match=reason):
        images.encryptor().integers(values)


def test_residues_and_floats_that_do_not_fit_are_refused(images, faces):
    plain = images.set.seal.plain_modulus
    with pytest.raises(ValueError, match=f"not below {plain}"):
        images.encryptor().unsigned(np.array([plain], np.uint64))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            faces.encryptor().floats(np.array([0.0, bad]))
    with pytest.raises(ValueError, match="holds integers"):
        images.encryptor().floats(np.zeros(1))
    with pytest.raises(TypeError, match="slots hold integers"):
        images.encryptor().constant(0.5)


def test_a_copy_from_one_term_is_a_sum_of_its_own(images):
    evaluation, encryptor = Evaluation(images.public), images.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(4))
    alone = evaluation.add_many([ciphertext])
    assert alone is not ciphertext
    assert (images.decrypt_integers(alone) == 4).all()


@pytest.mark.parametrize("name", ["images-split", "table", "faces", "faces-split"])
def test_flooding_keeps_the_values_and_changes_every_coefficient(owner, name):
    keys = owner(name)
    evaluation, encryptor = Evaluation(keys.public), keys.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(1))
    flooded = evaluation.flood(ciphertext, 20)
    assert evaluation.shape(flooded) == evaluation.shape(ciphertext)
    before, after = (polynomials(keys.set, each) for each in (ciphertext, flooded))
    assert (before == after).mean() < 1e-4
    if keys.set.ckks:
        assert np.abs(keys.decrypt_floats(flooded) - 1).max() < 1e-6
    else:
        assert (keys.decrypt_integers(flooded) == 1).all()
        # log2(q / 2t) less 20 bits and what N uniform ones have in common with none
        assert keys.noise_budget(ciphertext) > keys.noise_budget(flooded) > 0


def test_flooding_adds_uniform_noise_of_the_width_asked_for(owner):
    keys, width = owner("faces-split"), 70
    evaluation, encryptor = Evaluation(keys.public), keys.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.constant(0.0))
    slots = keys.decrypt_floats(evaluation.flood(ciphertext, width)) * keys.set.scale
    # a real slot sums N uniform coefficients times cosines, whose squares have mean 1/2
    deviation = 2.0**width / np.sqrt(12) * np.sqrt(keys.set.seal.poly_degree / 2)
    assert stats.kstest(slots / deviation, "norm").pvalue > 1e-6
    assert abs(slots.std() / deviation - 1) < 0.05


@pytest.mark.parametrize("width", [0, -1, 129, 54])
def test_a_flood_beyond_the_modulus_is_refused(images, width):
    encryptor = images.encryptor()
    with pytest.raises(ValueError, match="beyond the modulus"):
        Evaluation(images.public).flood(encryptor.ciphertext(encryptor.constant(1)), width)


def test_what_went_too_deep_is_refused_and_not_read_as_garbage():
    keys = UserKeys.make(SETS["table"])
    evaluation, encryptor = Evaluation(keys.public), keys.public.encryptor()
    ciphertext = encryptor.ciphertext(encryptor.integers(integers(keys, 5)))
    for _ in range(3):
        ciphertext = evaluation.relinearise(evaluation.square(ciphertext))
    with pytest.raises(UserError, match="beyond its noise budget"):
        keys.decrypt_integers(ciphertext)


def test_dumped_and_loaded_it_is_the_same_ciphertext(table):
    evaluation, encryptor = Evaluation(table.public), table.encryptor()
    values = integers(table, 9)
    product = evaluation.square(encrypted(encryptor, values))
    again = evaluation.load(evaluation.dump(product), evaluation.shape(product))
    assert (table.decrypt_integers(again) == values * values).all()
