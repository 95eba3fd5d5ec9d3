"""NVIDIA FLARE's default homomorphic encryption, step by step with the TenSEAL calls that it makes.

Written after FLARE 2.x (github.com/NVIDIA/NVFlare), none of whose code is here:

- ``nvflare/lighter/impl/he.py``: one context for all, CKKS, degree 8192, primes of 60, 40 and 40 bits,
  scale 2^40, symmetric encryption, relinearisation keys; clients get it with the secret key, the server
  without;
- ``nvflare/app_opt/he/homomorphic_encrypt.py``: every party loads the context from its bytes;
- ``nvflare/app_opt/he/model_encryptor.py``: each layer, times the client's local steps, becomes one
  encrypted vector, serialised;
- ``nvflare/app_opt/he/intime_accumulate_model_aggregator.py``: the server reads each vector, adds it, and
  multiplies the totals by one over the sum of steps;
- ``nvflare/app_opt/he/model_shareable_generator.py``: it serialises the result for the clients;
- ``nvflare/app_opt/he/model_decryptor.py``: each client reads and decrypts it.

Left out, all in the peer's favour: the addition of the mean to the (from round 2 encrypted) global model,
the transport, logs, and the search for the smallest and largest value that only the log shows.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import tenseal as ts

from fedpriv.types import FloatVector

POLY_DEGREE = 8192
COEFF_BITS = (60, 40, 40)
SCALE_BITS = 40


def provision() -> tuple[bytes, bytes]:
    """Return the serialised context of every client, with the secret key, and of the server, without."""
    context = ts.context(
        ts.SCHEME_TYPE.CKKS,
        poly_modulus_degree=POLY_DEGREE,
        coeff_mod_bit_sizes=list(COEFF_BITS),
        encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC,
    )
    context.generate_relin_keys()
    context.global_scale = 2**SCALE_BITS
    client, server = (
        context.serialize(
            save_public_key=is_client,
            save_secret_key=is_client,
            save_galois_keys=False,
            save_relin_keys=True,
        )
        for is_client in (True, False)
    )
    return client, server


class FlareClient:
    """Encrypts its layers and decrypts the mean."""

    def __init__(self, context: bytes) -> None:
        """Load the context that holds the secret key."""
        self._context = ts.context_from(context)

    def encrypt(self, layers: Mapping[str, FloatVector], steps: int) -> dict[str, bytes]:
        """Return each layer times ``steps``, encrypted and serialised."""
        return {
            name: ts.ckks_vector(self._context, layer.ravel() * np.float64(steps)).serialize()
            for name, layer in layers.items()
        }

    def decrypt(self, mean: Mapping[str, bytes]) -> dict[str, list[float]]:
        """Return the values of each layer."""
        vectors = {name: ts.ckks_vector_from(self._context, data) for name, data in mean.items()}
        return {name: vector.decrypt() for name, vector in vectors.items()}


class FlareServer:
    """Adds what clients send, without a key."""

    def __init__(self, context: bytes) -> None:
        """Load the context that holds no secret key."""
        self._context = ts.context_from(context)
        self._total: dict[str, Any] = {}
        self._steps = 0

    def accept(self, update: Mapping[str, bytes], steps: int) -> None:
        """Read one client's layers and add them."""
        for name, data in update.items():
            vector = ts.ckks_vector_from(self._context, data)
            known = self._total.get(name)
            self._total[name] = vector if known is None else known + vector
        self._steps += steps

    def aggregate(self) -> dict[str, bytes]:
        """Return the mean over all steps, still encrypted, serialised."""
        means = {name: total * (1.0 / self._steps) for name, total in self._total.items()}
        return {name: mean.serialize() for name, mean in means.items()}


@contextmanager
def without_warnings() -> Iterator[None]:
    """Drop what TenSEAL prints for each vector of more than one ciphertext."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield
