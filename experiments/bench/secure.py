"""What encryption adds to a run: the gaze task under every scheme, and the same with ``secure=none``.

Workload: 8 clients, 20 rounds, 32 people to train on and 8 to judge by, the run's own settings for all
else. Every way is what ``fedpriv run`` does, checkpoint and MLflow included, each in a fresh process with a
temporary store of its own; the ways are interleaved, and every other time in the opposite order. All 4 ways
with 5 repeats take about 7 minutes on 2 cores; ``--schemes bfv`` half of that.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCHEMES = ("bfv", "bfv_committee", "ckks")
"""What ``--schemes`` may name: choices of the configuration group ``secure``."""
SETTINGS = ("task=gaze", "privacy=none", "federation.clients=8", "federation.rounds=20")


def measure(repeats: int, schemes: Sequence[str] = SCHEMES) -> dict[str, Any]:
    """Run ``none`` and every scheme ``repeats`` times, interleaved, and return the medians in seconds.

    Returns:
        ``<way>_s``: all rounds with their evaluation, checkpoints and MLflow records, start-up and shutdown
        apart (``Report.seconds``).
        ``<way>_whole_s``: the whole run, with keys, data, start-up, pictures and the logged model, imports
        apart; ``<way>_whole_cpu_s``: processor time of the same, worker processes included.
        ``<scheme>_ratio``, ``<scheme>_whole_ratio``, ``<scheme>_whole_cpu_ratio``: these over those of
        ``none``; ``<scheme>_paired_ratios``: the first for each repeat. ``overhead_ratio``: ``ratio`` of the
        first scheme.
        ``<way>_phases_s``: seconds per phase, summed over the rounds (``encrypt`` is one client's own time,
        inside ``train``); ``<way>_update_bytes``: one client's sealed update; ``<way>_final``: the metric
        after the last round.

    Raises:
        RuntimeError: when a way fails or is not logged.
    """
    return compare(SETTINGS, repeats, schemes)


def compare(settings: Sequence[str], repeats: int, schemes: Sequence[str] = SCHEMES) -> dict[str, Any]:
    """Do what :func:`measure` does, for any settings."""
    ways = ("none", *schemes)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for repeat in range(repeats):
        for way in ways[:: -1 if repeat % 2 else 1]:
            print(f"run {repeat + 1} of {repeats}: secure={way}", file=sys.stderr)
            runs[way].append(_in_fresh_process(way, settings))
    found: dict[str, Any] = {
        "benchmark": "secure",
        "settings": list(settings),
        "tracking": "mlflow, a temporary store for each run",
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "parameters": runs["none"][0]["parameters"],
        "metric": runs["none"][0]["metric"],
    }
    for way in ways:
        for key in ("s", "whole_s", "whole_cpu_s"):
            found[f"{way}_{key}"] = round(_median(runs[way], key), 3)
        found[f"{way}_phases_s"] = {
            phase: round(_median([run["phases_s"] for run in runs[way]], phase), 3)
            for phase in runs[way][0]["phases_s"]
        }
        for key in ("update_bytes", "final"):
            found[f"{way}_{key}"] = runs[way][0][key]
    for scheme in schemes:
        for ratio, key in (("ratio", "s"), ("whole_ratio", "whole_s"), ("whole_cpu_ratio", "whole_cpu_s")):
            found[f"{scheme}_{ratio}"] = round(_median(runs[scheme], key) / _median(runs["none"], key), 3)
        pairs = zip(runs[scheme], runs["none"], strict=True)
        found[f"{scheme}_paired_ratios"] = [round(run["s"] / plain["s"], 3) for run, plain in pairs]
    found["overhead_ratio"] = found[f"{schemes[0]}_ratio"]
    return found


def _median(runs: Sequence[dict[str, Any]], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))


def _in_fresh_process(way: str, settings: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "experiments.bench.secure", f"secure={way}", *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"secure={way} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _run_way(overrides: list[str]) -> dict[str, Any]:
    from fedpriv.config.compose import compose_run
    from fedpriv.runner import run
    from fedpriv.training.local import warm_up

    warm_up()
    with tempfile.TemporaryDirectory(prefix="bench-secure-") as name:
        folder = Path(name)
        config = compose_run(*overrides, "tracking=mlflow", f"tracking.uri=sqlite:///{folder}/mlflow.db")
        started, busy = time.perf_counter(), _processor_seconds()
        report = run(config, overrides, folder / "run")
        whole, busy = time.perf_counter() - started, _processor_seconds() - busy
    if report.mlflow_run_id is None:
        raise RuntimeError(f"{overrides[0]}: was not logged")
    phases: dict[str, float] = defaultdict(float)
    for result in report.history[1:]:
        for phase, seconds in result.seconds.items():
            phases[phase] += seconds
    return {
        "s": report.seconds,
        "whole_s": whole,
        "whole_cpu_s": busy,
        "phases_s": phases,
        "parameters": len(report.parameters),
        "update_bytes": report.history[-1].update_bytes,
        "metric": report.metric,
        "final": report.history[-1].metrics[report.metric],
    }


def _processor_seconds() -> float:
    """Return the processor time of this process and of the workers that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    print(json.dumps(_run_way(sys.argv[1:])))
