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
    """Counts what every service has: requests, refusals, latency, bytes, outcomes.

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
            "What was asked by outcome: answered, or the cause of refusal",
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
        """Count one thing that was asked; ``outcome`` is one of a few names."""
        child = self._outcomes.get(outcome)
        if child is None:
            child = self._outcomes[outcome] = self._records.labels(outcome)
        child.inc()

    def watch(self, levels: Callable[[], Mapping[str, float]]) -> None:
        """Show levels that are kept elsewhere, read when they are asked for, each as ``fedpriv_NAME``."""
        self.registry.register(_Levels(levels))

    def watch_totals(self, name: str, text: str, totals: Callable[[], Mapping[str, int]]) -> None:
        """Show totals by outcome that are kept elsewhere as ``fedpriv_NAME``, described by ``text``."""
        self.registry.register(_Totals(name, text, totals))

    def text(self) -> bytes:
        """Return all in Prometheus' text format."""
        return generate_latest(self.registry)


class _Levels(Collector):
    def __init__(self, levels: Callable[[], Mapping[str, float]]) -> None:
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        for name, level in sorted(self._levels().items()):
            yield GaugeMetricFamily(f"fedpriv_{name}", name.replace("_", " "), value=level)


class _Totals(Collector):
    def __init__(self, name: str, text: str, totals: Callable[[], Mapping[str, int]]) -> None:
        self._name, self._text, self._totals = name, text, totals

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(f"fedpriv_{self._name}", self._text, labels=["outcome"])
        for outcome, value in sorted(self._totals().items()):
            family.add_metric([outcome], value)
        yield family
