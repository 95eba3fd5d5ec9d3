"""What an update was made from, in 32 bytes that every client signs.

A client that trains from another model than the others is alone in their sum: from a model of zeros
the others' updates vanish. So the server may not send different models to the clients of one sum.

Source of the attack: Pasquini, Francati, Ateniese 2022 (Eluding Secure Aggregation in Federated Learning
via Model Inconsistency), arXiv 2111.07380.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from fedpriv.types import FloatVector

_DOMAIN = b"fedpriv-start-1\0"


def start_digest(parameters: FloatVector, settings: Mapping[str, float]) -> bytes:
    """Return SHA-256 of what all clients of a round are sent alike; the parameters are not copied.

    Hashed are a domain, the number of parameters (64 bits), the parameters (both little-endian) and the
    settings as JSON: sorted names, ASCII, no spaces, every value as a float in its shortest form.

    Args:
        parameters: the global model, float32 (P,).
        settings: what clients are told besides, e.g. ``{"proximal-mu": 0.01}``.
    """
    data = np.ascontiguousarray(parameters, dtype="<f4").view(np.uint8)
    digest = hashlib.sha256(_DOMAIN + len(parameters).to_bytes(8, "little"))
    digest.update(data.data)
    values = {name: float(value) for name, value in settings.items()}
    digest.update(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
    return digest.digest()
