"""What tracking adds to a run: the same command with MLflow and without, interleaved.

Workload: the main job, what ``make run`` runs (private, encrypted gaze of 8 clients and 20 rounds). Each run
is a fresh process, imports and exit and all, with a privacy ledger of its own. One run before the others
makes the database, which a user does once; its start is measured apart. Processor time, of worker processes
too, stands beside that of the clock, for others may use the machine.
"""

import gc
import json
import math
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
PHASES = ("start", "rounds", "end")
UNITS = ("wall_s", "cpu_s")
BOUND = 0.03
"""What tracking may add to a run, as a share of its wall time."""
LONGER = (100, 1000)
"""Rounds of the runs whose overhead is computed, not measured."""


def measure(repeats: int, rounds: int | None = None) -> dict[str, Any]:
    """Run with and without tracking ``repeats`` times each, interleaved, and return medians.

    Args:
        repeats: runs of each way.
        rounds: of every run; None for those of the workload.

    Returns:
        ``off_wall_s``, ``on_wall_s``, ``off_cpu_s``, ``on_cpu_s``: whole processes, from start to exit;
        ``overhead``, ``overhead_cpu``: on / off - 1; ``start_s``, ``rounds_s``, ``end_s`` (and ``_cpu_s``):
        of them spent on opening the store and the run, on writing rounds, on pictures and model;
        ``within_calls``, ``within_calls_cpu``: these three over ``off_wall_s`` and ``off_cpu_s``, which
        other users of the machine disturb less than a difference of two runs; ``first_start_s``: of a run
        that makes the database; ``fixed_s``, ``fixed_cpu_s``: what tracking adds but for writing rounds,
        exit included; ``per_round_ms``: what writing one round adds; ``rounds`` and ``round_s``: the
        workload's, and what one takes without tracking; ``computed``: see :func:`longer`, none of it
        measured.
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
    fixed = {unit: on[unit] - off[unit] - on[f"rounds_{unit.removeprefix('wall_')}"] for unit in UNITS}
    length, per_round_s = int(off["rounds"]), on["rounds_s"] / (on["rounds"] + 1)  # round 0 is written too
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
            for key in ("wall", "cpu")
        },
        "overhead": round(on["wall_s"] / off["wall_s"] - 1, 4),
        "overhead_cpu": round(on["cpu_s"] / off["cpu_s"] - 1, 4),
        **{f"{phase}{unit}": round(on[f"{phase}{unit}"], 3) for unit in ("_s", "_cpu_s") for phase in PHASES},
        "within_calls": round(sum(on[f"{phase}_s"] for phase in PHASES) / off["wall_s"], 4),
        "within_calls_cpu": round(sum(on[f"{phase}_cpu_s"] for phase in PHASES) / off["cpu_s"], 4),
        "first_start_s": round(first["start_s"], 3),
        "first_start_cpu_s": round(first["start_cpu_s"], 3),
        "fixed_s": round(fixed["wall_s"], 3),
        "fixed_cpu_s": round(fixed["cpu_s"], 3),
        "per_round_ms": round(1e3 * per_round_s, 2),
        "rounds": length,
        "round_s": round(off["round_s"], 4),
        "computed": longer(off["wall_s"], length, off["round_s"], fixed["wall_s"], per_round_s),
    }


def longer(off_s: float, rounds: int, round_s: float, fixed_s: float, per_round_s: float) -> dict[str, Any]:
    """Compute from what was measured at one length what tracking adds to longer runs of the same kind.

    A run of R rounds is taken to last ``off_s + (R - rounds) round_s`` without tracking, which adds
    ``fixed_s + (R + 1) per_round_s``.

    Args:
        off_s: of the measured run without tracking.
        rounds: of the measured run.
        round_s: of one of its rounds.
        fixed_s: what tracking adds to any run.
        per_round_s: what it adds for each round that is written, round 0 too.

    Returns:
        ``assumes``: the above in words; ``overhead_of_rounds``: of runs of so many rounds;
        ``below_bound_from_rounds``, ``below_bound_from_s``: the fewest rounds for which the overhead is at
        most :data:`BOUND`, and how long such a run is without tracking; None if there are none.
    """

    def off(length: int) -> float:
        return off_s + (length - rounds) * round_s

    def overhead(length: int) -> float:
        return (fixed_s + (length + 1) * per_round_s) / off(length)

    gain = BOUND * round_s - per_round_s
    missing = fixed_s + per_round_s - BOUND * (off_s - rounds * round_s)
    fewest = None if gain <= 0 else max(1, math.ceil(missing / gain))
    return {
        "assumes": "all rounds cost what the measured ones did, and the fixed cost does not grow",
        "overhead_of_rounds": {str(length): round(overhead(length), 4) for length in LONGER},
        "below_bound_from_rounds": fewest,
        "below_bound_from_s": None if fewest is None else round(off(fewest), 1),
    }


def _in_fresh_process(way: str, folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    tracked = (
        ("tracking=mlflow", f"tracking.uri=sqlite:///{folder}/mlflow.db")
        if way == "on"
        else ("tracking=none",)
    )
    with tempfile.TemporaryDirectory(dir=folder) as output:
        phases, log = Path(output, "phases.json"), Path(output, "log")
        command = [sys.executable, "-m", "experiments.bench.tracking", str(phases), *overrides, *tracked]
        begun = time.perf_counter()
        with log.open("w") as written:
            process = subprocess.Popen(
                [*command, f"hydra.run.dir={output}/out", f"privacy.ledger={output}/ledger"],
                stdout=written,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        if process.returncode:
            raise RuntimeError(f"tracking {way} failed:\n{log.read_text()[-2000:]}")
        seconds: dict[str, float] = json.loads(phases.read_text())
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, **seconds}


class _Clock:
    """Adds up seconds of the clock and of this process's processors by phase."""

    def __init__(self) -> None:
        self.seconds = {f"{phase}{unit}": 0.0 for phase in PHASES for unit in ("_s", "_cpu_s")}

    @contextmanager
    def on(self, phase: str) -> Iterator[None]:
        begun, used = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[f"{phase}_s"] += time.perf_counter() - begun
            self.seconds[f"{phase}_cpu_s"] += time.process_time() - used

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
            begun.append(time.perf_counter())
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
    for name, phase in (("tracking_store", "start"), ("log_partition", "start"), ("log_results", "end")):
        clock.every_call(runner, name, phase)

    @contextmanager
    def open_tracker(*arguments: Any) -> Iterator[Any]:
        with clock.on("start"):
            opened = opening(*arguments)
            tracker = opened.__enter__()
        if tracker is not None:
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
    length = {"rounds": rounds, "round_s": (ends[-1] - ends[0]) / rounds}
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
