"""Probes that are longer than 1, also by just so much that their squared length is 1 modulo the modulus."""

import io
import math

import numpy as np
import pytest

from fedpriv.attacks.templates.scene import forged_probe
from fedpriv.errors import UserError
from fedpriv.faces.lengths import TOLERANCE, length_proof, require_length, rounded_scale
from fedpriv.he.matching.people import SLOT_FRACTION, EncryptedProbe
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from tests.faces.running import faces

FACES = SETS["faces"]
MODULUS = math.prod(int(prime) for prime in FACES.moduli()[:, 0])
WRAPS = 2.0**12 * (MODULUS / 2.0**110)
"""|p|^2 of probes that the matching library's own claim takes for 1 is 1 plus a multiple of it."""


@pytest.fixture(scope="module")
def keys():
    return UserKeys.make(FACES)


def proof(keys, vector):
    return length_proof(Evaluation(keys.public), forged_probe(keys.public, vector))


def test_unit_probes_pass(keys):
    for probe in (*faces(3), np.eye(16)[0], np.full(16, -0.25)):
        require_length(keys, proof(keys, probe))


@pytest.mark.parametrize("squared", [0.0004, 0.5, 1.5, 4.0, 1 + WRAPS, 1 + 2 * WRAPS, 1 + 137 * WRAPS])
def test_other_lengths_are_refused(keys, squared):
    with pytest.raises(UserError, match="probe: is not of length 1"):
        require_length(keys, proof(keys, math.sqrt(squared) * faces(1)[0]))


def test_no_length_below_4000_is_1_at_both_moduli():
    other = int(FACES.moduli()[0, 0]) / rounded_scale(FACES) ** 2 * 2.0**16
    multiples = WRAPS * np.arange(1, int(4000**2 / WRAPS))
    apart = np.abs((multiples + other / 2) % other - other / 2)
    assert (apart > TOLERANCE + 8 * 0.002 * np.sqrt(1 + multiples)).all()


def test_every_slot_counts(keys):
    """A caller may put another probe into each slot; one that is too long in a single slot is refused."""
    encryptor = keys.public.encryptor()
    columns = np.repeat(faces(1).T, FACES.slots, axis=1)
    columns[:, 77] *= 2
    packed = tuple(encryptor.floats(column * SLOT_FRACTION) for column in columns)
    assert len(packed[0]) == Bodies(FACES, encryptor.shape).size
    probe = EncryptedProbe(encryptor.shape, packed)
    with pytest.raises(UserError, match="not of length 1"):
        require_length(keys, length_proof(Evaluation(keys.public), probe))


def test_the_proof_tells_nothing_but_the_length(keys):
    """What is opened is 1 and the flooding, whatever the probe."""

    def errors(probe):
        (ciphertext,) = CipherReader(io.BytesIO(proof(keys, probe)), keys.public, source="proof", most=1)
        return keys.decrypt_floats(ciphertext) * 2.0**16 - 1.0

    spread = [errors(probe).std() for probe in (*faces(4), *np.repeat(faces(1), 4, axis=0))]
    assert max(spread) < 1.1 * min(spread)
    # rounding alone leaves a tenth of it
    assert np.mean(spread) == pytest.approx(0.0195, rel=0.1)


@pytest.mark.parametrize("data", [b"", b"FPCT", b"x" * 500])
def test_what_is_no_proof_is_refused(keys, data):
    with pytest.raises(UserError):
        require_length(keys, data)
