"""What the relays cost: images through four of them, and plain images straight to the same model server.

Workload: rendered eyes of 36 x 60, gaze and emotion asked of each, ``--in-flight`` images under way at any
time from one client process. A whole constellation as processes on loopback: 4 relays, 3 additive shares
of every image, one model server, which for the direct path also takes images in clear. Both paths have the
same client library, connections, batching and concurrency; the direct one has no shares, seals, relays or
retries. The ways are interleaved in slices, every other time in the opposite order, and each slice is
sustained load. Every answer is compared with that of the same models in this process: what has none, or a
wrong one, is lost. With 5 repeats of 30 seconds it takes about 70 seconds.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from experiments.bench._load import Load, load, processor_seconds, series
from experiments.bench._protocol import protocol_us
from fedpriv.errors import UserError
from fedpriv.relays.client import RelayClient
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.plain import PlainClient
from fedpriv.relays.plan import MODEL_SERVER, Plan
from fedpriv.relays.settings import ClientSettings
from fedpriv.serving.answers import KINDS
from fedpriv.serving.defaults import load_models
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES

WAYS = ("relays", "direct")
_MOST_IN_FLIGHT = 128
_PEOPLE, _PICTURES = 8, 32
_WARM_UP_S, _UNLOADED_SHARE = 1.0, 0.1


def measure(repeats: int, seconds: float = 30.0, in_flight: int = 64) -> dict[str, Any]:
    """Load both ways for ``seconds`` each, in ``repeats`` slices, interleaved.

    Returns:
        Figures of the direct path begin with ``direct_``.

        ``images_per_s``: answered rightly, median over the slices; ``ratio``: ours over direct;
        ``slice_ratios``: each pair of slices.
        ``p50_ms``, ``p95_ms``: from question to answer, over all images, with ``in_flight`` under way;
        ``unloaded_p50_ms``: with one.
        ``lost``: images without an answer, or with a wrong one; ``shared_anew``: those shared more than once.
        ``inferred_images_per_image``: by the model server's own count: 1 when nothing is computed twice.
        ``bytes_per_image``: in bodies of HTTP: what the client sent, the relays took, the model server took
        from them, and what came back to the client; ``direct``, the same for a plain image;
        ``least``: n shares of a padded payload, which must move over either hop; ``pixels``: the image's.
        ``requests_per_image``: to all relays, to the model server: what batching makes of n shares.
        ``cpu_us_per_image``: by way and party, user and system time; the relays' added up.
        ``protocol_us``: see :func:`experiments.bench._protocol.protocol_us`.

    Raises:
        UserError: a number is out of range.
    """
    if not 0.1 <= seconds <= 3600:
        raise UserError(f"bench relays: --seconds {seconds:g}: give 0.1 to 3600")
    if not 1 <= in_flight <= _MOST_IN_FLIGHT:
        raise UserError(
            f"bench relays: --in-flight {in_flight}: give 1 to {_MOST_IN_FLIGHT}, half of a session's window"
        )
    plan = Plan(allow_plain=True)
    images, models = _eyes(), load_models()
    expected = models.answer(images, [KINDS] * len(images))
    with (
        tempfile.TemporaryDirectory(prefix="bench-relays-") as folder,
        Constellation(Path(folder), plan) as up,
    ):
        run = _Run(up, images, expected, seconds / repeats, in_flight)
        uvloop.run(run.all(repeats))
    return {
        "benchmark": "relays",
        "n_relays": plan.relays,
        "shares": plan.shares,
        "scheme": plan.scheme.kind,
        "in_flight": in_flight,
        "seconds": seconds,
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "image_shape": list(images[0].shape),
        "payload_bytes": DEFAULT_PAYLOAD_BYTES,
        **run.figures(),
        "protocol_us": protocol_us(images, models, plan.names, plan.scheme),
    }


def _eyes() -> list[np.ndarray]:
    from fedpriv.data.synthetic.eyes import render_person

    people = [render_person(0, person, _PICTURES).images for person in range(_PEOPLE)]
    return list(np.concatenate(people)[:, 0])


class _Run:
    """The slices of one run, and what they add up to."""

    def __init__(
        self,
        up: Constellation,
        images: Sequence[Any],
        expected: Sequence[Any],
        slice_s: float,
        in_flight: int,
    ) -> None:
        self._up, self._images, self._expected = up, images, expected
        self._slice_s, self._in_flight = slice_s, in_flight
        self._slices: dict[str, list[Load]] = {way: [] for way in WAYS}
        self._unloaded = {way: Load() for way in WAYS}
        self._grown: dict[str, dict[str, float]] = {way: defaultdict(float) for way in WAYS}

    async def all(self, repeats: int) -> None:
        """Warm up, then load."""
        settings = ClientSettings.read(self._up.layout.client_settings())
        async with RelayClient(settings) as ours, PlainClient(self._up.urls[MODEL_SERVER]) as direct:
            asks = {"relays": ours.ask, "direct": direct.ask}
            print("warming up", file=sys.stderr)
            for way in WAYS:
                await self._load(asks[way], min(_WARM_UP_S, self._slice_s), self._in_flight)
            for repeat in range(repeats):
                for way in WAYS[:: -1 if repeat % 2 else 1]:
                    print(f"slice {repeat + 1} of {repeats}: {way}", file=sys.stderr)
                    unloaded = await self._load(asks[way], _UNLOADED_SHARE * self._slice_s, 1)
                    self._unloaded[way].add(unloaded)
                    before = await asyncio.to_thread(self._counts)
                    self._slices[way].append(await self._load(asks[way], self._slice_s, self._in_flight))
                    for name, value in (await asyncio.to_thread(self._counts)).items():
                        self._grown[way][name] += value - before.get(name, 0.0)
            await ours.settle()  # the last records, for client_received

    async def _load(self, ask: Any, seconds: float, in_flight: int) -> Load:
        return await load(ask, self._images, self._expected, seconds, in_flight)

    def _counts(self) -> dict[str, float]:
        """Return processor times and counters of all parties, the relays' added up."""
        own = time.process_time(), os.times().system
        found: dict[str, float] = defaultdict(float)
        found["client user"], found["client system"] = own[0] - own[1], own[1]
        for service in self._up.plan.services:
            party = "relays" if service.startswith("relay-") else service
            user, system = processor_seconds(self._up.pid(service))
            found[f"{party} user"] += user
            found[f"{party} system"] += system
            for name, value in series(self._up.urls[service]).items():
                found[f"{party} {name}"] += value
        return found

    def figures(self) -> dict[str, Any]:
        """Return the results."""
        whole = {way: Load() for way in WAYS}
        for way in WAYS:
            for part in self._slices[way]:
                whole[way].add(part)
        found: dict[str, Any] = {}
        for way, prefix in (("relays", ""), ("direct", "direct_")):
            latencies, alone = whole[way].latencies or [np.nan], self._unloaded[way].latencies or [np.nan]
            found |= {
                f"{prefix}images_per_s": round(statistics.median(e.per_second for e in self._slices[way]), 1),
                f"{prefix}p50_ms": _ms(latencies, 50),
                f"{prefix}p95_ms": _ms(latencies, 95),
                f"{prefix}unloaded_p50_ms": _ms(alone, 50),
                f"{prefix}images": whole[way].images + self._unloaded[way].images,
                f"{prefix}lost": whole[way].lost + self._unloaded[way].lost,
            }
        pairs = zip(self._slices["relays"], self._slices["direct"], strict=True)
        ours, direct = found["images_per_s"], found["direct_images_per_s"]
        inferred = f"{MODEL_SERVER} fedpriv_inferred_images"
        each = {way: self._per_image(way, whole[way].images) for way in WAYS}
        return {
            **found,
            "ratio": round(ours / direct, 3) if direct else None,
            "slice_ratios": [round(a.per_second / b.per_second, 3) for a, b in pairs if b.images],
            "shared_anew": whole["relays"].shared_anew + self._unloaded["relays"].shared_anew,
            "inferred_images_per_image": round(each["relays"][inferred], 4),
            **self._traffic(whole, each),
            "cpu_us_per_image": {way: _processor(each[way]) for way in WAYS},
        }

    def _per_image(self, way: str, images: int) -> Mapping[str, float]:
        grown = self._grown[way]
        return defaultdict(float, {name: value / max(images, 1) for name, value in grown.items()})

    def _traffic(self, whole: Mapping[str, Load], each: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        ours, plan = each["relays"], self._up.plan
        count = max(whole["relays"].images, 1)
        shares = 'fedpriv_requests_total{path="/v1/shares",status="200"}'
        bodies = "fedpriv_body_bytes_total"
        return {
            "bytes_per_image": {
                "client_sent": round(whole["relays"].sent_bytes / count),
                "relays_took": round(ours[f"relays {bodies}"]),
                "model_server_took": round(ours[f"{MODEL_SERVER} {bodies}"]),
                "client_received": round(whole["relays"].received_bytes / count),
                "direct": round(each["direct"][f"{MODEL_SERVER} {bodies}"]),
                "least": plan.scheme.n * plan.scheme.share_bytes(DEFAULT_PAYLOAD_BYTES),
                "pixels": self._images[0].size,
            },
            "requests_per_image": {
                "to_relays": round(ours[f"relays {shares}"], 3),
                "to_model_server": round(ours[f"{MODEL_SERVER} {shares}"], 3),
                "direct": round(each["direct"][f"{MODEL_SERVER} {shares.replace('shares', 'images')}"], 3),
            },
        }


def _processor(each: Mapping[str, float]) -> dict[str, Any]:
    parties = {
        party: {clock: round(1e6 * each[f"{party} {clock}"]) for clock in ("user", "system")}
        for party in ("client", "relays", MODEL_SERVER)
    }
    return {**parties, "all": sum(sum(clocks.values()) for clocks in parties.values())}


def _ms(seconds: Sequence[float], percent: float) -> float:
    return round(1000 * float(np.percentile(seconds, percent)), 2)
