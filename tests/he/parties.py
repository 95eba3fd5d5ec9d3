"""Federations in miniature: what the server, a client and the key holders of one codec have."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tenseal import sealapi

from fedpriv.he.codec import Aggregator, Encoded, Holder, UpdateCodec
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import assemble
from fedpriv.he.key_steps import STEPS
from fedpriv.he.packing import quantise
from fedpriv.he.parameters import seal_context
from fedpriv.he.registry import build_codec
from fedpriv.he.ring import Ring, add
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.symmetric import uniform

RUN = bytes(range(16))


@dataclass(frozen=True)
class Federation:
    """One codec and all its parties.

    Attributes:
        server: knows the public part of the key.
        client: encodes.
        holders: open.
        folders: of the holders.
    """

    server: UpdateCodec
    client: UpdateCodec
    holders: list[Holder]
    folders: list[Path]

    @property
    def encoding(self) -> Any:
        return self.client._encoding

    def encode(self, vectors: np.ndarray, seed: int = 0) -> list[Encoded]:
        return [
            self.client.encode(vector, np.random.default_rng([seed, index]))
            for index, vector in enumerate(vectors)
        ]

    def aggregate(self, encoded: Sequence[Encoded], length: int) -> Aggregator:
        total = self.server.aggregator(length)
        for update in encoded:
            total.add(update.body)
        return total

    def answers(self, encoded: Sequence[Encoded], total: Aggregator) -> list[bytes]:
        masks = [update.mask for update in encoded]
        return [holder.open(masks, total.body_sum(), total.length) for holder in self.holders]

    def sum(self, vectors: np.ndarray, seed: int = 0) -> np.ndarray:
        encoded = self.encode(vectors, seed)
        total = self.aggregate(encoded, vectors.shape[1])
        return total.open(self.answers(encoded, total))

    def assert_sum(self, found: np.ndarray, vectors: np.ndarray, seed: int = 0) -> None:
        """Judge by plain integers (bfv), or by float64 and the stated deviation (ckks)."""
        if self.server.scheme == "bfv":
            assert np.array_equal(found, integer_sum(self.encoding.plan, vectors, seed))
        else:
            error = found - vectors.sum(axis=0, dtype=np.float64)
            # seven deviations: one run of the suite in a million exceeds them
            assert np.abs(error).max() < 7 * self.encoding.release_deviation


def integer_sum(plan, vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Sum the levels that clients with these generators send, as integers, without any encryption."""
    levels = np.zeros(vectors.shape[1], np.int64)
    for index, vector in enumerate(vectors):
        drawn, _ = quantise(vector, plan, np.random.default_rng([seed, index]))
        levels += drawn.astype(np.int64) - plan.offset
    return levels * plan.step


def updates(count: int, length: int, seed: int = 0, deviation: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, length)) * deviation).astype(np.float32)


def found(folder: Path, scheme: str, keys: str, holders: int = 3, max_clients: int = 16, **options: Any):
    """Make keys for a new federation in ``folder``."""
    if keys == "authority":
        bare = build_codec(scheme, max_clients, keys=keys, **options)
        enrolment = SimpleNamespace(shared_key=bare.make_shared_key(folder / "shared.key"))
        client = bare.with_key_folder(folder)
        server = bare.with_public_key(b"", RUN, enrolment)
        return Federation(server, client, [bare.holder(folder)], [folder])
    bare = build_codec(scheme, max_clients, keys=keys, holders=holders, **options)
    folders, signers, enrolment = committee(folder, holders)
    members = [bare.member(own, i, RUN, signers[i], enrolment) for i, own in enumerate(folders)]
    reveals, endorsements = ceremony(members)
    codec = bare.with_public_key(assemble(reveals, endorsements), RUN, enrolment)
    return Federation(codec, codec, [bare.holder(own) for own in folders], folders)


def committee(folder: Path, holders: int) -> tuple[list[Path], list[SigningKey], Enrolment]:
    """Make folders, signing keys and the enrolment of key holders."""
    folders = [folder / str(number) for number in range(holders)]
    for own in folders:
        own.mkdir(mode=0o700)
    signers = [SigningKey.generate() for _ in folders]
    return folders, signers, Enrolment({}, {number: signer.public for number, signer in enumerate(signers)})


def ceremony(members: Sequence[Any]) -> tuple[list[bytes], list[bytes]]:
    """Go through all steps honestly; return reveals and endorsements."""
    before: list[bytes] = []
    blobs: list[bytes] = []
    for step in STEPS:
        before, blobs = blobs, [member.step(step, blobs) for member in members]
    return before, blobs


def secret_of(federation: Federation) -> np.ndarray:
    """Return the secret key that the sums are opened with, (L, N), in the NTT domain: for judging only."""
    parameters = federation.encoding.parameters
    moduli = Ring(parameters).moduli
    if len(federation.holders) > 1:
        secret = np.zeros((len(moduli), parameters.poly_degree), np.uint64)
        for holder in federation.holders:
            add(secret, holder._share.secret, moduli)
        return secret
    with SealBuffer() as buffer:
        body = buffer.dump(federation.client._secret_key._key, parameters.key_bytes)
    words = np.frombuffer(body, "<u8")[-(len(moduli) + 1) * parameters.poly_degree :]
    return words.reshape(len(moduli) + 1, -1)[:-1]


def masks_sum(federation: Federation, encoded: Sequence[Encoded], index: int = 0) -> np.ndarray:
    """Return the sum of the c1 of ciphertext ``index``, (L, N), where they travel; see :func:`in_ntt`."""
    wire = federation.encoding.wire()
    total = np.zeros(wire.shape, np.uint64)
    for update in encoded:
        if len(federation.holders) > 1:
            c1 = wire.unpack(polynomial(wire, update.mask, index))
        else:
            c1 = uniform(bytes(update.mask), index, wire.moduli, wire.shape[1])
        add(total, c1, wire.moduli)
    return total


def in_ntt(federation: Federation) -> bool:
    """Whether polynomials travel in the NTT domain: those of SEAL's own CKKS ciphertexts."""
    return federation.server.scheme == "ckks" and len(federation.holders) > 1


def polynomial(wire, packed: bytes, index: int) -> memoryview:
    """Return the packed polynomial ``index``."""
    return memoryview(packed)[index * wire.polynomial_bytes : (index + 1) * wire.polynomial_bytes]


def phase(federation: Federation, encoded: Sequence[Encoded], index: int = 0) -> np.ndarray:
    """Return c0 + c1 s of the sum in coefficients, (L, N), with no smudging: for judging only."""
    wire, ring = federation.encoding.wire(), Ring(federation.encoding.parameters)
    ntt = in_ntt(federation)
    c1 = masks_sum(federation, encoded, index)
    c0 = np.zeros(wire.shape, np.uint64)
    for update in encoded:
        add(c0, wire.unpack(polynomial(wire, update.body, index)), wire.moduli)
    with SealBuffer() as buffer:
        total = ring.times(buffer, c1, ring.factor(buffer, secret_of(federation)), ntt)
        add(total, ring.from_ntt(buffer, c0) if ntt else c0, wire.moduli)
    return total


def lift(residues: np.ndarray, moduli: np.ndarray) -> list[int]:
    """Return the integers in (-q/2, q/2] with these residues, by the Chinese remainder theorem."""
    primes = [int(prime) for prime in moduli.reshape(-1)]
    q = int(np.prod(np.array(primes, object)))
    idempotents = [(q // prime) * pow(q // prime, -1, prime) for prime in primes]
    sums = sum(row.astype(object) * one for row, one in zip(residues, idempotents, strict=True)) % q
    return [int(value) - q if value > q // 2 else int(value) for value in sums]


def noise(federation: Federation, residues: np.ndarray) -> np.ndarray:
    """Return how far each coefficient of a BFV phase lies from the nearest q m / t, float64."""
    moduli, t = federation.encoding.wire().moduli, federation.encoding.parameters.plain_modulus
    q = int(np.prod(moduli.astype(object)))
    scaled = [(t * value + q // 2) % q - q // 2 for value in lift(residues, moduli)]
    return np.array([value / t for value in scaled])


def random_key(federation: Federation) -> Any:
    """Return a decryptor with a fresh key of the same parameters."""
    context = seal_context(federation.encoding.parameters)
    return sealapi.Decryptor(context, sealapi.KeyGenerator(context).secret_key())


def new_run() -> bytes:
    """Return another run."""
    return os.urandom(16)


Founder = Callable[..., Federation]
