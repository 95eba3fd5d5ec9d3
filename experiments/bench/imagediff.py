"""What the difference of two encrypted pictures costs: ours, and one value per slot under CKKS.

Workload: two RGB pictures of 1280 x 960 of noise, 3,686,400 values each. Ours: BFV N = 4096, four values to a
slot, seeded symmetric ciphertexts, signed and checked, and opened with every check. The peer is TenSEAL's
high-level interface: ``ckks_vector`` of N / 2 = 4096 values, N = 8192, scale 2^40, rounded after decryption;
its checks are TenSEAL's. Once with primes [60, 40, 40, 60], TenSEAL's tutorial set that programs of this kind
take, and once with [60, 60], the least that a subtraction needs (``ckks_vector_lean``). All in one process's
memory, without a network; the ways interleaved, every other time in the opposite order; keys made beforehand.
Ours runs on one thread, TenSEAL with its default. ``over_http_seconds`` is ours again, by a client and a
server process on loopback, pictures in memory to difference in memory.
"""

import io
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from fedpriv.he.pictures.difference import encrypted, opened
from fedpriv.he.pictures.packing import ValuePacking
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from fedpriv.imagediff.answering import DifferenceServer
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.local import local_server
from fedpriv.imagediff.protocol import PART
from fedpriv.imagediff.store import ReferenceStore
from fedpriv.seeding import generator

WAYS = ("ours", "ckks_vector", "ckks_vector_lean")
PHASES = ("encrypt", "subtract", "decrypt")
SHAPE = (960, 1280, 3)
_PEER_DEGREE, _PEER_SCALE = 8192, 2.0**40
_PEER_BITS = {"ckks_vector": [60, 40, 40, 60], "ckks_vector_lean": [60, 60]}

Values = NDArray[np.uint8]


def measure(repeats: int) -> dict[str, Any]:
    """Subtract the pictures ``repeats`` times each way, interleaved, and return medians.

    Returns:
        ``seconds``: of all phases, by way, and ``*_seconds`` of each: encryption of both pictures and
        writing, reading, subtraction and writing at the server, reading and decryption.
        ``sent_bytes``: both pictures; ``received_bytes``: the difference; ``sent_bytes_per_value``.
        ``ciphertexts``: of one picture. ``max_abs_error``: against numpy, before the peer rounds;
        ``exact``: whether all differences are numpy's, after it.
        ``over_http_seconds``: median; ``speedup``, ``fewer_bytes_sent``: each peer over ours.

    Raises:
        RuntimeError: when a difference of ours is wrong.
    """
    return compare(SHAPE, repeats)


def compare(shape: tuple[int, int, int], repeats: int) -> dict[str, Any]:
    """Do what :func:`measure` does, for pictures of any (rows, columns, channels)."""
    random = generator(0, "bench", "imagediff")
    first, second = (random.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    expected = second.astype(np.int16) - first
    keys = UserKeys.make(parameter_set("images"))
    contexts = {}
    for way, bits in _PEER_BITS.items():
        contexts[way] = ts.context(ts.SCHEME_TYPE.CKKS, _PEER_DEGREE, coeff_mod_bit_sizes=bits)
        contexts[way].global_scale = _PEER_SCALE
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    over_http: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-imagediff-") as folder, local_server() as url:
        server = DifferenceServer(ReferenceStore(Path(folder, "own"), 1 << 30), 1)
        server.add_key(keys.public.to_bytes())
        ways: dict[str, Callable[[Values, Values], tuple[NDArray[Any], dict[str, float]]]] = {
            "ours": lambda a, b: _ours(keys, server, a, b),
            **{way: partial(_peer, context) for way, context in contexts.items()},
        }
        with DifferenceClient(url, keys) as client:
            print("warming up", file=sys.stderr)
            for way in WAYS:
                ways[way](first.reshape(-1)[:20_000], second.reshape(-1)[:20_000])
            client.difference(first[:1], second[:1])
            for repeat in range(repeats):
                for way in WAYS[:: -1 if repeat % 2 else 1]:
                    print(f"run {repeat + 1} of {repeats}: {way}", file=sys.stderr)
                    found, figures = ways[way](first.reshape(-1), second.reshape(-1))
                    wrong = expected.reshape(-1) - found
                    figures |= {"error": float(np.abs(wrong).max()), "exact": float(not np.rint(wrong).any())}
                    runs[way].append(figures)
                begin = time.perf_counter()
                difference = client.difference(first, second)
                over_http.append(time.perf_counter() - begin)
                if not np.array_equal(difference, expected) or runs["ours"][-1]["error"]:
                    raise RuntimeError("a difference is not numpy's")
    return {
        "benchmark": "imagediff",
        "shape": list(shape),
        "values": first.size,
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "values_per_slot": ValuePacking(keys.set).per_slot,
        "peer": {"poly_degree": _PEER_DEGREE, "coeff_bits": _PEER_BITS, "log2_scale": 40},
        "over_http_seconds": round(statistics.median(over_http), 3),
        **_summary(runs, first.size),
    }


def _summary(runs: dict[str, list[dict[str, float]]], values: int) -> dict[str, Any]:
    def medians(key: str) -> dict[str, float]:
        return {way: statistics.median(run[key] for run in runs[way]) for way in WAYS}

    for run in (each for way in WAYS for each in runs[way]):
        run["all"] = sum(run[phase] for phase in PHASES)
    seconds, sent = medians("all"), medians("sent")
    return {
        "seconds": {way: round(each, 3) for way, each in seconds.items()},
        **{f"{phase}_seconds": {w: round(s, 3) for w, s in medians(phase).items()} for phase in PHASES},
        "sent_bytes": {way: int(each) for way, each in sent.items()},
        "sent_bytes_per_value": {way: round(each / values / 2, 3) for way, each in sent.items()},
        "received_bytes": {way: int(each) for way, each in medians("received").items()},
        "ciphertexts": {way: int(each) for way, each in medians("ciphertexts").items()},
        "max_abs_error": {way: max(run["error"] for run in runs[way]) for way in WAYS},
        "exact": {way: all(run["exact"] for run in runs[way]) for way in WAYS},
        "speedup": {way: round(seconds[way] / seconds["ours"], 1) for way in _PEER_BITS},
        "fewer_bytes_sent": {way: round(sent[way] / sent["ours"], 1) for way in _PEER_BITS},
    }


class _Clock:
    def __init__(self) -> None:
        self.figures: dict[str, float] = defaultdict(float)

    @contextmanager
    def on(self, phase: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.figures[phase] += time.perf_counter() - begin


def _ours(
    keys: UserKeys, server: DifferenceServer, first: Values, second: Values
) -> tuple[NDArray[np.int16], dict[str, float]]:
    clock, parts = _Clock(), []
    encryptor, packing = keys.encryptor(), ValuePacking(keys.set)
    size = PART * packing.per_ciphertext
    for at in range(0, len(first), size):
        sides = first[at : at + size], second[at : at + size]
        count = packing.ciphertexts(len(sides[0]))
        with clock.on("encrypt"):
            head = CipherHead(
                keys.set, keys.fingerprint, encryptor.shape, 2 * count, {"for": "difference"}, True
            )
            stream = CipherStream(head, keys.signer)
            pairs = zip(*(encrypted(encryptor, side) for side in sides), strict=True)
            request = b"".join(
                [stream.head(), *(stream.body(each) for pair in pairs for each in pair), stream.tail()]
            )
        with clock.on("subtract"):
            answer = server.difference(keys.fingerprint, request)
        with clock.on("decrypt"):
            reader = CipherReader(io.BytesIO(answer), keys.public, source="answer", most=count)
            parts.append(opened(keys, list(reader), len(sides[0])))
        clock.figures["sent"] += len(request)
        clock.figures["received"] += len(answer)
        clock.figures["ciphertexts"] += count
    return np.concatenate(parts), clock.figures


def _peer(context: Any, first: Values, second: Values) -> tuple[NDArray[np.float64], dict[str, float]]:
    clock, parts, size = _Clock(), [], _PEER_DEGREE // 2
    public = context.copy()
    public.make_context_public()
    for at in range(0, len(first), size):
        with clock.on("encrypt"):
            sent = [
                ts.ckks_vector(context, side[at : at + size].astype(np.float64)).serialize()
                for side in (first, second)
            ]
        with clock.on("subtract"):
            one, other = (ts.ckks_vector_from(public, each) for each in sent)
            answer = (other - one).serialize()
        with clock.on("decrypt"):
            parts.append(np.array(ts.ckks_vector_from(context, answer).decrypt()))
        clock.figures["sent"] += sum(map(len, sent))
        clock.figures["received"] += len(answer)
        clock.figures["ciphertexts"] += 1
    return np.concatenate(parts), clock.figures
