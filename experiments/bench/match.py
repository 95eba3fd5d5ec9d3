"""Encrypted face matching: ours by columns, and the way in which it is commonly shown, pair by pair.

Workload: 4,096 people of 128 dimensions, encrypted, and an encrypted probe; unit vectors, random ones and
    those on
which errors add up. The peer is TenSEAL as the notebook calls it that many tutorials copy: CKKS with N =
8192, primes of 60, 40, 40 and 60 bits and scale 2^40, one vector for each person, ``d = a - b; d.dot(d)``.
A second, fairer one has the same with primes of 60, 50 and 60 bits and scale 2^50. Ours is timed from the
ciphertexts in memory to score ciphertexts, relinearised and rescaled; the peers from vectors in memory to
the ciphertext of a distance: nobody's parsing is counted, and everybody's is in the ``request`` of ours.
One process, interleaved; ours on one core, the peers with TenSEAL's default threads. Then 100,000 people,
enrolled on disk and matched by one process for each core.
"""

import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tenseal
from numpy.typing import NDArray

from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher, PlainMatcher
from fedpriv.he.matching.opening import exact_scores, open_question
from fedpriv.he.matching.people import EncryptedProbe, encrypted_probe, enrolment, new_id, read_probe, unit
from fedpriv.he.matching.products import Products
from fedpriv.he.matching.reading import read_columns
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from fedpriv.seeding import generator

PEOPLE, DIM, MANY = 4096, 128, 100_000
PAIRS = 5
PEERS = {"naive": ((60, 40, 40, 60), 40), "naive_scale_50": ((60, 50, 60), 50)}
MODES = ("encrypted_x_encrypted", "encrypted_x_plain", "plain_x_encrypted")
Vectors = NDArray[np.float64]


def measure(repeats: int) -> dict[str, Any]:
    """Run every way ``repeats`` times, interleaved, and return the medians.

    Returns:
        ``us_per_identity``: both encrypted, one core; ``us_per_identity_plain_probe``: the same with a
            plain probe.
        ``naive_us_per_pair``, ``naive_scale_50_us_per_pair``: the peers; ``speedup``, ``speedup_scale_50``:
        these over ours. ``max_abs_error``: largest distance of a score to float64, over all modes and
        vectors; ``errors`` by mode; ``naive_max_abs_error`` and ``naive_scale_50_max_abs_error``: of the
        peers' squared distances. ``request_ms``: one identification with all that belongs to it: reading
        the probe, its claims, products, blinding, and the bytes to the key holder; ``open_ms``: the key
        holder's. ``probe_bytes``, ``gallery_disk_bytes``, ``gallery_memory_bytes``. ``large``: the row of
        100,000 people: ``enrol_s`` (encrypting included), ``load_s``, ``seconds`` (an identification with
        an encrypted probe), ``seconds_plain_probe``, ``memory_bytes`` of the ciphertexts and
        ``resident_bytes`` of the matching processes, ``disk_bytes``, ``max_abs_error``.

    Raises:
        RuntimeError: when a score is wrong, or the best match is not that of float64.
    """
    return compare(PEOPLE, DIM, MANY, repeats)


def compare(people: int, dim: int, many: int, repeats: int, workers: int | None = None) -> dict[str, Any]:
    """Do what :func:`measure` does, for any sizes."""
    cores = workers or len(os.sched_getaffinity(0))
    keys = UserKeys.make(parameter_set("faces"))
    with tempfile.TemporaryDirectory(prefix="bench-match-") as name:
        rows = {"gallery": people, "dim": dim, **_pairs(keys, Path(name, "small"), people, dim, repeats)}
        large = _many(keys, Path(name, "large"), many, dim, repeats, cores)
    return {"benchmark": "match", "repeats": repeats, "cores": cores, **rows, "large": large}


def vectors(people: int, dim: int) -> Vectors:
    """Return (people, dim) unit vectors: constant and alternating ones, axes, and random ones."""
    rows = generator(0, "bench match").normal(size=(people, dim))
    steps = np.ones(dim)
    for number, row in enumerate(
        (steps, -steps, steps * (-1.0) ** np.arange(dim), np.eye(dim)[0], -np.eye(dim)[-1])
    ):
        if number < people // 2:
            rows[number] = row
    return unit(rows)


def probe_of(rows: Vectors, number: int) -> Vectors:
    """Return a second picture of a person: the same direction, with noise."""
    noise = generator(1, "bench match", number).normal(size=rows.shape[1])
    return unit(rows[number] + 0.3 * unit(np.asarray(noise, np.float64)))


def _pairs(keys: UserKeys, folder: Path, people: int, dim: int, repeats: int) -> dict[str, Any]:
    rows = vectors(people, dim)
    gallery = _enrolled(keys, folder, rows)
    probe = probe_of(rows, people - 1)
    sent = b"".join(encrypted_probe(keys, probe))
    received = read_probe(io.BytesIO(sent), keys.public, dim, "probe")
    ways = {name: _Pair(bits, scale, rows[0], probe) for name, (bits, scale) in PEERS.items()}
    seconds: dict[str, list[float]] = {
        "ours": [],
        "plain": [],
        "request": [],
        "open": [],
        **{n: [] for n in ways},
    }
    ours = _Columns(keys, gallery, received, probe)
    with Matcher(gallery) as matcher:
        for repeat in range(repeats + 1):
            print(f"run {repeat} of {repeats}", file=sys.stderr)
            took = {"ours": _timed(ours.encrypted), "plain": _timed(ours.plain)}
            for name, pair in ways.items():
                took[name] = _timed(lambda pair=pair: [pair.distance() for _ in range(PAIRS)]) / PAIRS
            began = time.perf_counter()
            question = matcher.identify(read_probe(io.BytesIO(sent), keys.public, dim, "probe"), 0.5)
            body = question.to_bytes()
            took["request"] = time.perf_counter() - began
            took["open"] = _timed(lambda body=body: open_question(keys, io.BytesIO(body), "question"))
            for name, value in took.items():
                # the first one warms up
                seconds[name] += [value] if repeat else []
        memory = matcher.memory_bytes
        errors = _errors(keys, matcher, rows, (people - 1, 0, min(2, people - 1), min(3, people - 1)))
        _require_best(keys, matcher, rows, probe, sent)
    micro = {name: 1e6 * statistics.median(values) for name, values in seconds.items()}
    each, plain = micro["ours"] / people, micro["plain"] / people
    found = {
        "us_per_identity": round(each, 3),
        "us_per_identity_plain_probe": round(plain, 3),
        "naive_us_per_pair": round(micro["naive"], 1),
        "naive_scale_50_us_per_pair": round(micro["naive_scale_50"], 1),
        "speedup": round(micro["naive"] / each, 1),
        "speedup_scale_50": round(micro["naive_scale_50"] / each, 1),
        "max_abs_error": max(errors.values()),
        "errors": errors,
        **{f"{name}_max_abs_error": pair.error() for name, pair in ways.items()},
        "request_ms": round(micro["request"] / 1e3, 1),
        "open_ms": round(micro["open"] / 1e3, 1),
        "probe_bytes": len(sent),
        "gallery_disk_bytes": _disk(folder),
        "gallery_memory_bytes": memory,
    }
    if max(errors.values()) > 1e-6:
        raise RuntimeError(f"a score is {max(errors.values())} off")
    return found


def _many(keys: UserKeys, folder: Path, people: int, dim: int, repeats: int, workers: int) -> dict[str, Any]:
    rows = vectors(people, dim)
    probe = probe_of(rows, people - 1)
    print(f"enrolling {people}", file=sys.stderr)
    began = time.perf_counter()
    gallery = _enrolled(keys, folder, rows)
    enrolled = time.perf_counter() - began
    sent = b"".join(encrypted_probe(keys, probe))
    received = read_probe(io.BytesIO(sent), keys.public, dim, "probe")
    began = time.perf_counter()
    with Matcher(gallery, workers) as matcher:
        loaded = time.perf_counter() - began
        given: dict[str, EncryptedProbe | Vectors] = {"seconds": received, "seconds_plain_probe": probe}
        seconds: dict[str, list[float]] = {name: [] for name in given}
        for repeat in range(repeats):
            print(f"{people} people, run {repeat + 1} of {repeats}", file=sys.stderr)
            for name, one in given.items():
                seconds[name].append(_timed(lambda one=one: matcher.identify(one, 0.5)))
        resident = sum(_resident(each.pid) for each in multiprocessing.active_children() if each.pid)
        error = max(_errors(keys, matcher, rows, (people - 1,)).values())
        _require_best(keys, matcher, rows, probe, sent)
        return {
            "gallery": people,
            "dim": dim,
            "workers": workers,
            "enrol_s": round(enrolled, 2),
            "load_s": round(loaded, 2),
            **{name: round(statistics.median(values), 3) for name, values in seconds.items()},
            "memory_bytes": matcher.memory_bytes,
            "resident_bytes": resident,
            "disk_bytes": _disk(folder),
            "max_abs_error": error,
        }


class _Columns:
    """Ours, from ciphertexts in memory to a score ciphertext."""

    def __init__(self, keys: UserKeys, gallery: Gallery, received: EncryptedProbe, probe: Vectors) -> None:
        self._products, dim = Products(keys.public), gallery.dim
        self._blocks = [
            read_columns(gallery.files.path_of(segment), keys.public, segment, dim, range(dim))
            for segments in gallery.segments().values()
            for segment in segments
        ]
        self._encrypted, self._probe = self._products.factors(received), probe

    def encrypted(self) -> list[Any]:
        evaluation = self._products.evaluation
        return [
            evaluation.rescale(evaluation.relinearise(self._products.sum(columns, self._encrypted)))
            for columns in self._blocks
        ]

    def plain(self) -> list[Any]:
        evaluation, factors = self._products.evaluation, self._products.factors(self._probe)
        return [evaluation.rescale(self._products.sum(columns, factors)) for columns in self._blocks]


class _Pair:
    """The notebook's way: two vectors of 128 slots, and the square of their distance."""

    def __init__(self, bits: Sequence[int], scale: int, first: Vectors, second: Vectors) -> None:
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=list(bits)
        )
        self._context.generate_galois_keys()
        self._context.global_scale = 2.0**scale
        self._first = tenseal.ckks_vector(self._context, first.tolist())
        self._second = tenseal.ckks_vector(self._context, second.tolist())
        self._expected = float(np.sum((first - second) ** 2))

    def distance(self) -> Any:
        difference = self._first - self._second
        return difference.dot(difference)

    def error(self) -> float:
        return max(abs(float(self.distance().decrypt()[0]) - self._expected) for _ in range(PAIRS))


def _enrolled(keys: UserKeys, folder: Path, rows: Vectors) -> Gallery:
    gallery, begin = Gallery.make(folder, keys.public, rows.shape[1]), 0
    for place in gallery.free(len(rows)):
        end = begin + len(place.slots)
        file = gallery.inbox / "enrolment"
        with file.open("wb") as out:
            out.writelines(enrolment(keys, place, [new_id() for _ in place.slots], rows[begin:end]))
        gallery.add(file)
        begin = end
    return gallery


def _errors(keys: UserKeys, matcher: Matcher, rows: Vectors, numbers: Sequence[int]) -> dict[str, float]:
    """Return the largest error of a score by mode, for second pictures of some people and for axes."""
    found = dict.fromkeys(MODES, 0.0)
    plain = PlainMatcher(keys.public, rows[:PEOPLE])
    for number in numbers:
        probe = probe_of(rows, number)
        sent = io.BytesIO(b"".join(encrypted_probe(keys.public, probe)))
        received = read_probe(sent, keys.public, rows.shape[1], "probe")
        asked = {
            "encrypted_x_encrypted": matcher.scores(received),
            "encrypted_x_plain": matcher.scores(probe),
            "plain_x_encrypted": plain.ask("scores", received),
        }
        for mode, question in asked.items():
            blocks = question.ciphertexts[: len(question.asked)]
            exact = exact_scores(keys, blocks).reshape(-1)
            expected = rows[: len(rows) if mode != MODES[2] else PEOPLE] @ probe
            found[mode] = max(found[mode], float(np.abs(exact[: len(expected)] - expected).max()))
    return found


def _require_best(keys: UserKeys, matcher: Matcher, rows: Vectors, probe: Vectors, sent: bytes) -> None:
    received = read_probe(io.BytesIO(sent), keys.public, rows.shape[1], "probe")
    answer = open_question(keys, io.BytesIO(matcher.identify(received, 0.5).to_bytes()), "question")
    best = int(np.argmax(rows @ probe))
    if answer.accepted != (divmod(best, keys.set.slots),):
        raise RuntimeError(f"the best match is {answer.accepted}, and by float64 it is person {best}")


def _timed(function: Any) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))
