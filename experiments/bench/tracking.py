"""What tracking adds to a run: the same command with MLflow and without, interleaved.

Workload: the main job, what ``make run`` runs (private, encrypted gaze of 8 clients and 20 rounds). Each run
is a fresh process, imports and exit and all, with a privacy ledger of its own. One run before the others
makes the database, which a user does once; its start is measured apart. Processor time, of worker processes
too, stands beside that of the clock, for others may use the machine.
"""

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OVERRIDES: tuple[str, ...] = ("+experiment=quickstart",)
PHASES = ("start", "rounds", "writing", "end")
PARTS = ("before", "training", "after")
"""Of a run by the clock: until round 0 is evaluated, until the last round is, until the process has ended."""


def measure(repeats: int, rounds: int | None = None) -> dict[str, Any]:
    """Run with and without tracking ``repeats`` times each, interleaved, and return medians.

    Args:
        repeats: runs of each way.
        rounds: of every run; None for those of the workload.

    Returns:
        ``off_wall_s``, ``on_wall_s``, ``off_cpu_s``, ``on_cpu_s``: medians of whole processes, from start to
        exit; ``overhead``, ``overhead_cpu``: on / off - 1; ``pairs``: on / off - 1 of the clock for each two
        runs beside each other, and so how far machine and chance move it;
        ``off_before_s``, ``off_training_s``, ``off_after_s`` and ``on_...``: see :data:`PARTS`; what tracking
        adds before and after is fixed, what it adds between is disturbed by the machine the more the longer;
        ``start_s``, ``rounds_s``, ``writing_s``, ``end_s`` (and ``_cpu_s``): of a tracked run spent on
        opening store and run and on trying the model out, while worker processes start; on passing rounds to
        the thread that writes them; in that thread, while clients train; on pictures and model;
        ``first_start_s``: of a run that makes the database; ``rounds``, ``round_s``: the workload's, and what
        one takes without tracking; ``per_round_ms``: of the thread's time, for each round. What the thread
        writes before and after the rounds is in its time too, though the run waits for that.
    """
    found: dict[str, list[dict[str, float]]] = {"on": [], "off": []}
    overrides = OVERRIDES if rounds is None else (*OVERRIDES, f"federation.rounds={rounds}")
    with tempfile.TemporaryDirectory() as name:
        folder, load = Path(name), os.getloadavg()[0]
        first = _in_fresh_process("on", folder, (*overrides, "federation.rounds=1"))
        for repeat in range(repeats):
            for way in ("off", "on") if repeat % 2 else ("on", "off"):
                print(f"run {repeat + 1} of {repeats}: tracking {way}", file=sys.stderr)
                found[way].append(_in_fresh_process(way, folder, overrides))
    median = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in found.items()
    }
    on, off = median["on"], median["off"]
    pairs = [a["wall_s"] / b["wall_s"] - 1 for a, b in zip(found["on"], found["off"], strict=True)]
    return {
        "benchmark": "tracking",
        "overrides": " ".join(overrides),
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "machine": _machine(),
        "load_before": round(load, 1),
        **{
            f"{way}_{key}_s": round(median[way][f"{key}_s"], 3)
            for way in ("off", "on")
            for key in ("wall", "cpu", *PARTS)
        },
        "overhead": round(on["wall_s"] / off["wall_s"] - 1, 4),
        "overhead_cpu": round(on["cpu_s"] / off["cpu_s"] - 1, 4),
        "pairs": [round(pair, 4) for pair in pairs],
        **{f"{phase}{unit}": round(on[f"{phase}{unit}"], 6) for unit in ("_s", "_cpu_s") for phase in PHASES},
        "first_start_s": round(first["start_s"], 3),
        "first_start_cpu_s": round(first["start_cpu_s"], 3),
        "rounds": int(off["rounds"]),
        "round_s": round(off["round_s"], 4),
        "per_round_ms": round(1e3 * on["writing_s"] / (on["rounds"] + 1), 2),  # round 0 is written too
    }


def _in_fresh_process(way: str, folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    tracked = (
        ("tracking=mlflow", f"tracking.uri=sqlite:///{folder}/mlflow.db")
        if way == "on"
        else ("tracking=none",)
    )
    with tempfile.TemporaryDirectory(dir=folder) as output:
        phases, log = Path(output, "phases.json"), Path(output, "log")
        command = [
            sys.executable,
            "-P",
            "-m",
            "experiments.bench.tracking",
            str(phases),
            *overrides,
            *tracked,
        ]
        begun = time.monotonic()
        with log.open("w") as written:
            process = subprocess.Popen(
                [*command, f"hydra.run.dir={output}/out", f"privacy.ledger={output}/ledger"],
                stdout=written,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        ended = time.monotonic()
        if process.returncode:
            raise RuntimeError(f"tracking {way} failed:\n{log.read_text()[-2000:]}")
        found: dict[str, float] = json.loads(phases.read_text())
    first, last = found.pop("first"), found.pop("last")
    parts = {"before_s": first - begun, "training_s": last - first, "after_s": ended - last}
    return {"wall_s": ended - begun, "cpu_s": used.ru_utime + used.ru_stime, **parts, **found}


class _Clock:
    """Adds up seconds of the clock and of the calling thread's processor by phase."""

    def __init__(self) -> None:
        self.seconds = {f"{phase}{unit}": 0.0 for phase in PHASES for unit in ("_s", "_cpu_s")}

    @contextmanager
    def on(self, phase: str) -> Iterator[None]:
        begun, used = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.seconds[f"{phase}_s"] += time.perf_counter() - begun
            self.seconds[f"{phase}_cpu_s"] += time.thread_time() - used

    def every_call(self, owner: Any, name: str, phase: str) -> None:
        """Time each call of ``owner.name``."""
        called = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.on(phase):
                return called(*arguments, **named)

        setattr(owner, name, timed)

    @staticmethod
    def moments(owner: Any, name: str) -> list[float]:
        """Return a list to which each call of ``owner.name`` adds when it began."""
        called, begun = getattr(owner, name), list[float]()

        def noted(*arguments: Any, **named: Any) -> Any:
            begun.append(time.monotonic())
            return called(*arguments, **named)

        setattr(owner, name, noted)
        return begun


def _run(phases: Path, overrides: Sequence[str]) -> None:
    """Run as ``fedpriv run`` does, with a clock at what the run says to MLflow."""
    gc.disable()  # as experiments.run does before it imports
    from experiments.run import main
    from fedpriv import runner
    from fedpriv.watch import Watch

    clock, opening = _Clock(), vars(runner)["open_tracker"]
    for name, phase in (("tracking_store", "start"), ("log_partition", "start"), ("try_results", "start")):
        clock.every_call(runner, name, phase)
    clock.every_call(runner, "log_results", "end")

    @contextmanager
    def open_tracker(*arguments: Any) -> Iterator[Any]:
        with clock.on("start"):
            opened = opening(*arguments)
            tracker = opened.__enter__()
        if tracker is not None:
            from fedpriv.tracking import outbox  # it was imported by now

            clock.every_call(outbox._Writer, "_write", "writing")
            clock.every_call(tracker, "log_baseline", "start")
            clock.every_call(tracker, "log_round", "rounds")
        yield tracker  # a run that fails ends the benchmark
        with clock.on("end"):
            opened.__exit__(None, None, None)

    vars(runner)["open_tracker"] = open_tracker
    ends = clock.moments(Watch, "round_done")
    sys.argv = ["fedpriv run", *overrides]
    main()
    rounds = len(ends) - 1  # the first is round 0, the model before training
    length = {"rounds": rounds, "round_s": (ends[-1] - ends[0]) / rounds, "first": ends[0], "last": ends[-1]}
    phases.write_text(json.dumps({**clock.seconds, **length}))


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2:])
