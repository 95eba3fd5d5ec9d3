"""Prometheus metrics of one service, in a registry of its own."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ServiceMetrics:
    """Counts what every service has: requests, refusals, latency, bytes, records by outcome.

    Guarantee:
        - The number of series is bounded: paths that a service does not have are counted as ``other``.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        """Count for these paths."""
        self.registry = CollectorRegistry()
        self._paths = frozenset(paths)
        self._requests = Counter(
            "fedpriv_requests", "Requests by path and status", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "fedpriv_request_seconds",
            "From the headers to the end of the response",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._bytes = Counter("fedpriv_body_bytes", "Bytes of bodies taken", registry=self.registry)
        self._running = Gauge("fedpriv_requests_running", "Requests now", registry=self.registry)
        self._records = Counter(
            "fedpriv_records",
            "Envelopes or images by outcome: answered, or the cause of refusal",
            ["outcome"],
            registry=self.registry,
        )
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._outcomes: dict[str, Any] = {}

    def began(self) -> None:
        """Count a request that began."""
        self._running.inc()

    def ended(self, path: str, status: int, seconds: float, body_bytes: int) -> None:
        """Count a request that ended."""
        path = path if path in self._paths else "other"
        found = self._children.get((path, status))
        if found is None:
            found = self._requests.labels(path, str(status)), self._seconds.labels(path)
            self._children[path, status] = found
        found[0].inc()
        found[1].observe(seconds)
        self._running.dec()
        if body_bytes:
            self._bytes.inc(body_bytes)

    def outcome(self, outcome: str) -> None:
        """Count one envelope or image; ``outcome`` is one of a few names."""
        child = self._outcomes.get(outcome)
        if child is None:
            child = self._outcomes[outcome] = self._records.labels(outcome)
        child.inc()

    def watch(
        self, counters: Callable[[], Mapping[str, int]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        """Show totals and levels that are kept elsewhere, read when they are asked for."""
        self.registry.register(_Watched(counters, gauges))

    def text(self) -> bytes:
        """Return all in Prometheus' text format."""
        return generate_latest(self.registry)


class _Watched(Collector):
    def __init__(
        self, counters: Callable[[], Mapping[str, int]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        self._counters, self._gauges = counters, gauges

    def collect(self) -> Iterator[Metric]:
        totals = CounterMetricFamily(
            "fedpriv_shares", "Shares and images by what became of them", labels=["outcome"]
        )
        for name, value in sorted(self._counters().items()):
            totals.add_metric([name], value)
        yield totals
        for name, level in sorted(self._gauges().items()):
            yield GaugeMetricFamily(f"fedpriv_{name}", name.replace("_", " "), value=level)
