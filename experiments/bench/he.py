"""What an encrypted update costs: ours with either kind of key, and NVIDIA FLARE's default.

Workload: 16 clients with different weights, a model of 65 tensors and 1,084,586 parameters shaped as
ResNet-20 (He, Zhang, Ren, Sun 2015, arXiv 1512.03385, section 4.2) at twice its width with projection
shortcuts. Ours is the whole of what a party does but the transport: weighting, quantising, encrypting,
hashing and signing at the client; signature, digests, residues of the mask and sum at the server;
signatures, digests, sum of masks and key at the holders, of whom the slowest counts. The peer is TenSEAL
called as FLARE calls it, see :mod:`experiments.bench._flare`; what FLARE signs and checks around it is not
counted. Ours runs on one thread, the peer with TenSEAL's default. One process, keys made beforehand and not
counted, the ways interleaved and their order rotated; client by client, so that no way holds all updates in
memory.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import _flare, _sealed
from experiments.bench._cohort import Cohort, Shapes, layer_shapes

CLIENTS, HOLDERS = 16, 3
WAYS = ("ours_shared", "ours_committee", "nvflare_default")
OURS = {"ours_shared": "authority", "ours_committee": "committee"}


def measure(repeats: int) -> dict[str, Any]:
    """Run every way ``repeats`` times, interleaved, and return the medians.

    Returns:
        Each a dictionary by way, times in nanoseconds of wall time (``*_cpu_*``: of all threads together):

        ``bytes_per_param``: one client to the server, envelopes included.
        ``client_ns_per_param``: one client, the mean over the clients.
        ``server_ns_per_param_per_client``: checking, reading and adding one update, the mean.
        ``finish_ns_per_param``: what the server does once a round before anybody decrypts: ours
        serialises the sum; the peer multiplies it by one over the steps and serialises it.
        ``decrypt_ns_per_param``: ours is the slowest key holder's whole answer, for a committee works at
        the same time on several machines, and the server's opening; the peer's is one client that reads and
        decrypts, and every client does.
        ``holder_ns_per_param_per_client``: the part of ``decrypt`` that grows with the clients, (all
        clients - two) / (clients - 2), the mean over the holders: a holder checks and adds each mask, which
        spares the server half of every ciphertext.
        ``holder_bytes_per_param_per_client``: server to one holder, mask and signed header.
        ``sum_bytes_per_param``: once a round, ours to each holder, the peer's to every client;
        ``answer_bytes_per_param``: each holder's reply.
        ``max_abs_error``: of the weighted sum, against float64; ``error_bound``: step * clients.

        The sums of ours are the sums of the rounded integers exactly, or this raises.

    Raises:
        RuntimeError: when a sum is wrong.
    """
    from fedpriv.federated.engines.allocator import keep_freed_memory

    keep_freed_memory()  # as our engine does; it speeds the peer up as well
    return compare(layer_shapes(), CLIENTS, repeats)


def compare(shapes: Shapes, clients: int, repeats: int) -> dict[str, Any]:
    """Do what :func:`measure` does, for any model and number of clients (3 or more)."""
    length = sum(map(prod, shapes.values()))
    cohort = Cohort(shapes, clients)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="bench-he-") as name, _flare.without_warnings():
        contexts = _flare.provision()
        ways: dict[str, Callable[[Cohort], dict[str, float]]] = {
            "nvflare_default": partial(_run_flare, contexts)
        }
        for way, keys in OURS.items():
            folder = Path(name, way)
            folder.mkdir()
            federation = _sealed.Federation(folder, keys, clients, length, HOLDERS)
            ways[way] = partial(_run_ours, federation)
        print("warming up", file=sys.stderr)
        for way in WAYS:
            ways[way](cohort)
        for repeat in range(repeats):
            turn = repeat % len(WAYS)
            for way in (*WAYS[turn:], *WAYS[:turn]):
                print(f"run {repeat + 1} of {repeats}: {way}", file=sys.stderr)
                runs[way].append(ways[way](cohort))
    return {
        "benchmark": "he",
        "params": length,
        "tensors": len(shapes),
        "layers": {name: list(shape) for name, shape in shapes.items()},
        "clients": clients,
        "holders": {"ours_shared": 1, "ours_committee": HOLDERS},
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "threads": 1,
        "peer_threads": os.cpu_count(),
        "exact": True,
        "step": cohort.step,
        "error_bound": cohort.step * clients,
        **_summary(runs, length, clients),
    }


def _summary(runs: Mapping[str, Sequence[dict[str, float]]], length: int, clients: int) -> dict[str, Any]:
    def per_param(key: str, ways: Sequence[str], share: float = 1.0) -> dict[str, float]:
        return {
            way: float(f"{statistics.median(run[key] for run in runs[way]) * share / length:.4g}")
            for way in ways
        }

    nano = 1e9
    found: dict[str, Any] = {"bytes_per_param": {**per_param("bytes", WAYS), "float32": 4.0}}
    for clock in ("", "_cpu"):
        found |= {
            f"client{clock}_ns_per_param": per_param(f"client{clock}", WAYS, nano / clients),
            f"server{clock}_ns_per_param_per_client": per_param(f"server{clock}", WAYS, nano / clients),
            f"finish{clock}_ns_per_param": per_param(f"finish{clock}", WAYS, nano),
            f"decrypt{clock}_ns_per_param": per_param(f"decrypt{clock}", WAYS, nano),
        }
    ours = tuple(OURS)
    found["holder_ns_per_param_per_client"] = per_param("holder", ours, nano)
    found["holder_bytes_per_param_per_client"] = per_param("holder_bytes", ours)
    found["sum_bytes_per_param"] = per_param("sum_bytes", WAYS)
    found["answer_bytes_per_param"] = per_param("answer_bytes", ours)
    found["max_abs_error"] = {way: max(run["error"] for run in runs[way]) for way in WAYS}
    for key in ("client_ns_per_param", "server_ns_per_param_per_client"):
        peer = found[key]["nvflare_default"]
        found[f"peer_over_{key}"] = {way: round(peer / found[key][way], 2) for way in ours}
    return found


class _Clock:
    """Adds up wall and processor seconds under names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds[f"{name}_cpu"] += time.process_time() - processor
        self.seconds[name] += time.perf_counter() - wall


def _run_ours(federation: _sealed.Federation, cohort: Cohort) -> dict[str, float]:
    clock, received, sealed_bytes = _Clock(), [], 0
    total, of_two = federation.aggregator(), federation.aggregator()
    for client, update in enumerate(cohort.updates):
        weight, random = cohort.weights[client], cohort.rounding(client)
        with clock.on("client"):
            data = federation.seal(client, update, weight, random)
        sealed_bytes += len(data)
        with clock.on("server"):
            received.append(federation.receive(client, data, weight, total))
        if client < 2:
            federation.receive(client, data, weight, of_two)
    with clock.on("finish"):
        body_sum = total.body_sum()
    sum_of_two = of_two.body_sum()
    answers = []
    for number in range(federation.holders):
        with clock.on(f"holder {number}"):
            answers.append(federation.answer(number, received, body_sum))
        with clock.on("holders_of_two"):
            federation.answer(number, received[:2], sum_of_two)
    with clock.on("open"):
        opened = total.open(answers)
    if not np.array_equal(opened, cohort.integers):
        raise RuntimeError("the opened sum is not the sum of the rounded updates")
    clients, seconds = len(cohort.updates), clock.seconds
    for kind in ("", "_cpu"):
        seconds[f"decrypt{kind}"] = slowest(seconds, federation.holders, kind) + seconds[f"open{kind}"]
    of_all = sum(seconds[f"holder {number}"] for number in range(federation.holders))
    grown = (of_all - seconds["holders_of_two"]) / federation.holders
    return {
        **seconds,
        "holder": grown / (clients - 2),
        "bytes": sealed_bytes / clients,
        "holder_bytes": sum(len(one.signed) + len(one.mask) for one in received) / clients,
        "sum_bytes": len(body_sum),
        "answer_bytes": len(answers[0]),
        "error": cohort.error(opened),
    }


def slowest(seconds: Mapping[str, float], holders: int, kind: str) -> float:
    """Return the time of the key holder that the server waits for; ``kind`` is empty or ``_cpu``."""
    return max(seconds[f"holder {number}{kind}"] for number in range(holders))


def _run_flare(contexts: tuple[bytes, bytes], cohort: Cohort) -> dict[str, float]:
    clock, sent = _Clock(), 0
    party, server = _flare.FlareClient(contexts[0]), _flare.FlareServer(contexts[1])
    for client, steps in enumerate(cohort.steps):
        layers = cohort.layers(client)
        with clock.on("client"):
            update = party.encrypt(layers, steps)
        sent += sum(map(len, update.values()))
        with clock.on("server"):
            server.accept(update, steps)
    with clock.on("finish"):
        mean = server.aggregate()
    with clock.on("decrypt"):
        opened = party.decrypt(mean)
    total = np.concatenate([np.asarray(values) for values in opened.values()]) * sum(cohort.weights)
    error = cohort.error(total)
    if error > 1e-4:
        raise RuntimeError(f"the peer's sum is {error} off: it is not called as it should be")
    return {
        **clock.seconds,
        "bytes": sent / len(cohort.steps),
        "sum_bytes": sum(map(len, mean.values())),
        "error": error,
    }
