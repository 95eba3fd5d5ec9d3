"""What an update was made from, in 32 bytes that every client signs.

A client that trains from another model than the others is alone in their sum: from a model of zeros
the others' updates vanish, and so they do at a learning rate of 0. The server may send different models
to the clients of one sum as little as different configurations.

Source of the attack: Pasquini, Francati, Ateniese 2022 (Eluding Secure Aggregation in Federated Learning
via Model Inconsistency), arXiv 2111.07380.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Literal

import numpy as np

from fedpriv.types import FloatVector

_DOMAINS = {"update": b"fedpriv-start-2\0", "map": b"fedpriv-start-map-2\0"}
_CODEC_DOMAIN = b"fedpriv-codec-of-run-1\0"

Kind = Literal["update", "map"]
"""What a client seals: the change of the model, or its sensitivity map."""


def start_digest(
    run: bytes, parameters: FloatVector, settings: Mapping[str, float], kind: Kind = "update"
) -> bytes:
    """Return SHA-256 of what all clients of a round are sent alike; the parameters are not copied.

    Hashed are a domain, which the kind decides, the digest of the run, the number of parameters (64 bits),
    the parameters (both little-endian) and the settings as JSON: sorted names, ASCII, no spaces, every value
    as a float in its shortest form.

    Args:
        run: 32 bytes, digest of the configuration that a client trains under, as the client itself read it.
        parameters: the global model, float32 (P,).
        settings: what clients are told besides, e.g. ``{"proximal-mu": 0.01}``.
        kind: one update among maps that a server has made zero would be alone in their sum.

    Raises:
        ValueError: for a ``run`` of another size, which would not be told from parameters.
    """
    if len(run) != hashlib.sha256().digest_size:
        raise ValueError(f"run: {len(run)} bytes, 32 expected")
    data = np.ascontiguousarray(parameters, dtype="<f4").view(np.uint8)
    digest = hashlib.sha256(_DOMAINS[kind] + run + len(parameters).to_bytes(8, "little"))
    digest.update(data.data)
    values = {name: float(value) for name, value in settings.items()}
    digest.update(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
    return digest.digest()


def codec_of_run(codec: bytes, run: bytes) -> bytes:
    """Return SHA-256 of a codec's digest and the run's: what headers say of how an update was encoded.

    A key holder takes the fewest clients of a sum and the last round from its own configuration. With the run
    in every header it opens nothing for clients that were told another.

    Args:
        codec: 32 bytes, :attr:`fedpriv.he.codec.UpdateCodec.digest`.
        run: 32 bytes, digest of the configuration, as whoever computes this read it.
    """
    return hashlib.sha256(_CODEC_DOMAIN + codec + run).digest()
