"""Probes of callers who ignore the rules."""

import numpy as np
from tenseal import sealapi

from fedpriv.he.matching.people import SLOT_FRACTION, EncryptedProbe
from fedpriv.he.parameters import seal_context
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.shapes import Shape


def crafted(keys, slots):
    """Encrypt anything, (dim, slots) complex, under the public key."""
    context, shape = seal_context(keys.set.seal), Shape(2, keys.set.primes, False, keys.set.scale)
    encoder, encryptor = sealapi.CKKSEncoder(context), sealapi.Encryptor(context, keys.public.public)
    bodies = []
    for column in slots:
        plain, ciphertext = sealapi.Plaintext(), sealapi.Ciphertext()
        encoder.encode((column * SLOT_FRACTION).tolist(), keys.set.scale, plain)
        encryptor.encrypt(plain, ciphertext)
        bodies.append(Bodies(keys.set, shape).pack(ciphertext))
    return EncryptedProbe(shape, tuple(bodies))


def everywhere(vector, slots=4096):
    """Put one vector into every slot, as honest callers do."""
    return np.repeat(np.asarray(vector, complex)[:, np.newaxis], slots, axis=1)
