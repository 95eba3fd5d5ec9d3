"""What all clients together found when they asked through the relays."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Self

from fedpriv.console.wording import bytes_text, causes_text, number_text
from fedpriv.federated.latencies import percentile_ms
from fedpriv.federated.relayed import RelayedAnswers
from fedpriv.serving.sums import score_sums
from fedpriv.types import Metrics


@dataclass(frozen=True)
class Found:
    """Sums over all clients that replied.

    Attributes:
        metric: name of the metric that the task is judged by.
        relayed: metrics of the answers through the relays; empty without any answer.
        local: metrics of local inference on the same images, in float64 as the model server does it.
        evaluated: the run's own evaluation of the same model: float32, all test images; NaN without one.
        images: asked about.
        lost: got no answer, by cause.
        differing: answers that are not those of local inference, number by number.
        p50_ms: median of the time from asking to the answer, queueing for others included.
        p95_ms: its 95th percentile.
        sent_bytes: per answered image: envelopes, retries included.
        received_bytes: per answered image: records.
        retries: how often an image was shared anew.
        failures: clients without a usable reply, by cause.
    """

    metric: str
    relayed: Metrics
    local: Metrics
    evaluated: float
    images: int
    lost: dict[str, int]
    differing: int
    p50_ms: float
    p95_ms: float
    sent_bytes: float
    received_bytes: float
    retries: int
    failures: dict[str, int]

    @classmethod
    def of(cls, answers: RelayedAnswers, kind: str, metric: str, evaluated: float) -> Self:
        """Add up what the clients found.

        Args:
            answers: of all clients.
            kind: what was asked.
            metric: see the class.
            evaluated: see the class.
        """
        replies = list(answers.replies.values())
        answered = sum(reply.answered for reply in replies)
        lost: Counter[str] = Counter()
        for reply in replies:
            lost.update(reply.lost)
        relayed: Metrics = {}
        local: Metrics = {}
        if answered:
            relayed = score_sums(kind, answered, _added([reply.relayed for reply in replies]))
            local = score_sums(kind, answered, _added([reply.local for reply in replies]))
        latencies = _added([reply.latencies for reply in replies])
        return cls(
            metric=metric,
            relayed=relayed,
            local=local,
            evaluated=evaluated,
            images=sum(reply.images for reply in replies),
            lost={cause: count for cause, count in sorted(lost.items()) if count},
            differing=sum(reply.differing for reply in replies),
            p50_ms=percentile_ms(latencies, 0.5),
            p95_ms=percentile_ms(latencies, 0.95),
            sent_bytes=sum(reply.sent_bytes for reply in replies) / max(1, answered),
            received_bytes=sum(reply.received_bytes for reply in replies) / max(1, answered),
            retries=sum(reply.retries for reply in replies),
            failures=dict(sorted(Counter(answers.failures.values()).items())),
        )

    @property
    def difference(self) -> float:
        """The metric through the relays less the local one; NaN without an answer."""
        return self.relayed.get(self.metric, math.nan) - self.local.get(self.metric, math.nan)

    @property
    def figures(self) -> Metrics:
        """What is logged, by name; figures that there are none of are NaN."""
        return {
            **{f"relayed/{name}": value for name, value in self.relayed.items()},
            **{f"local/{name}": value for name, value in self.local.items()},
            f"local/{self.metric}_float32": self.evaluated,
            "relayed/difference": self.difference,
            "relayed/differing_answers": float(self.differing),
            "relayed/images": float(self.images),
            "relayed/lost": float(sum(self.lost.values())),
            "relayed/p50_ms": self.p50_ms,
            "relayed/p95_ms": self.p95_ms,
            "relayed/bytes_per_image": self.sent_bytes + self.received_bytes,
            "relayed/sent_bytes_per_image": self.sent_bytes,
            "relayed/received_bytes_per_image": self.received_bytes,
            "relayed/retries": float(self.retries),
            "relayed/clients_failed": float(sum(self.failures.values())),
            **{f"relayed/lost_{cause}": float(count) for cause, count in self.lost.items()},
            **{f"relayed/clients_failed_{cause}": float(count) for cause, count in self.failures.items()},
        }


def relayed_rows(found: Found) -> list[tuple[str, str]]:
    """Write what was found as rows of a run's summary."""
    seen, local = found.relayed.get(found.metric, math.nan), found.local.get(found.metric, math.nan)
    rows = [
        ("through relays", f"{number_text(seen)}, local {number_text(local)}: {_compared(found)}"),
        ("  run's own evaluation", f"{number_text(found.evaluated)}, all test images, in float32"),
        ("  images", f"{found.images}, {sum(found.lost.values())} lost, {found.retries} shared anew"),
        ("  answered in", f"{found.p50_ms:.3g} ms (median), {found.p95_ms:.3g} ms (95 %)"),
        ("  per image", f"{bytes_text(found.sent_bytes)} sent, {bytes_text(found.received_bytes)} received"),
    ]
    if found.failures:
        rows.append(("  clients failed", causes_text(found.failures)))
    return rows


def _compared(found: Found) -> str:
    same = found.difference == 0.0 and not found.differing
    return "the same, every answer" if same else f"{found.differing} answers differ"


def _added(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))
