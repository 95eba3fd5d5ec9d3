"""Proof, in a ticket, that an encrypted probe is not longer than 1.

A probe of length 100 would make every answer the sign of its scalar product with a template, a fair bit,
where an honest one is nearly always refused: 32 such bits come to a cosine of 0.4 with the template. So the
server opens |p|^2 to the key holder, in :mod:`fedpriv.he.matching`; but only modulo some R_A, as all values
of CKKS, and |p|^2 = 1 + j R_A is 1 there as well: |p| = 64 for ``faces``. Here |p|^2 is opened once more,
of coordinates rounded to about 20 bits and so at another scale, modulo R_B = 5.6e5. The factor 1.37 in it
keeps multiples of R_A away from those of R_B: up to |p| = 4,000 none comes as near as the rounding, of
standard deviation 0.002 |p|. Beyond that a probe may pass once in hundreds of tries, and each try is
charged.

The same holds in every slot, for a caller may put another probe into each.
"""

import io

import numpy as np

from fedpriv.errors import UserError
from fedpriv.he.matching.people import SLOT_FRACTION, EncryptedProbe
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import ParameterSet

TOLERANCE = 0.2
"""Of |p|^2: ten standard deviations of the flooding."""

FACTOR = 1.37

_ROOM_BITS = 4
_FLOOD_BITS = 9
_KIND = {"kind": "length"}


def rounded_scale(parameters: ParameterSet) -> float:
    """Return the scale that coordinates are rounded to: its square leaves 4 bits of the remaining modulus."""
    bits = float(np.log2(parameters.moduli(parameters.primes - 1).astype(np.float64)).sum())
    return float(FACTOR * 2.0 ** round((bits - _ROOM_BITS) / 2))


def length_proof(evaluation: Evaluation, probe: EncryptedProbe) -> bytes:
    """Return the cipher set of one ciphertext that holds |p|^2 in every slot, flooded (the server's side)."""
    parameters = evaluation.set
    scale = rounded_scale(parameters) * float(parameters.moduli()[-1, 0]) / parameters.scale
    bodies = Bodies(parameters, probe.shape)
    one = None
    squares = []
    for body in probe.bodies:
        coordinate = bodies.unpack(body)
        one = evaluation.constant(1.0, like=coordinate, scale=scale) if one is None else one
        squares.append(evaluation.square(evaluation.rescale(evaluation.multiply_plain(coordinate, one))))
    total = evaluation.relinearise(evaluation.add_many(squares))
    unit = rounded_scale(parameters) ** 2 * SLOT_FRACTION**2
    flooded = evaluation.flood(total, round(np.log2(unit)) - _FLOOD_BITS - 1)
    head = CipherHead(
        parameters, evaluation.keys.fingerprint, evaluation.shape(flooded), 1, dict(_KIND), signed=False
    )
    stream = CipherStream(head)
    return b"".join([stream.head(), stream.body(evaluation.dump(flooded)), stream.tail()])


def require_length(keys: UserKeys, proof: bytes) -> None:
    """Refuse a probe that is not of length 1 (the key holder's side).

    Raises:
        UserError: when it is not, or this is no proof under this key.
    """
    reader = CipherReader(
        io.BytesIO(proof), keys.public, source="ticket", most=1, primes=(keys.set.primes - 1,)
    )
    if reader.head.metadata != _KIND or reader.head.count != 1:
        raise UserError("ticket: its proof of the probe's length is none; ask the server again")
    (ciphertext,) = reader
    squared = keys.decrypt_floats(ciphertext) / SLOT_FRACTION**2
    # also refuses NaN
    if not (np.abs(squared - 1.0) <= TOLERANCE).all():
        raise UserError("probe: is not of length 1, which scores are defined for")
