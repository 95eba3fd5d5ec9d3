"""Simulation speed: our engine, a bare loop over the same training, and Flower on Ray.

Workload: 100 users x 50 images 3x32x32, CNN of about 120 k parameters, cohort 20, batch 10, one
local epoch, 20 rounds, evaluation after each on 50 images of one more user. Each way runs in a fresh
process, whose own imports are not counted; the ways are interleaved, and all must end with the same
model. ``bare`` and ``inprocess`` use all cores as torch threads; ``bare_single`` is the same loop on
one thread, what each of the pool's two processes has.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CLIENTS, COHORT, ROUNDS = 100, 20, 20
WORKERS = 2
WAYS = ("bare", "bare_single", "inprocess", "pool", "ray")
OVERRIDES = (
    "task=classification",
    f"federation.clients={CLIENTS}",
    f"federation.cohort={COHORT}",
    f"federation.rounds={ROUNDS}",
    "tracking=none",
)


def measure(repeats: int) -> dict[str, Any]:
    """Run every way ``repeats`` times, interleaved, and return the medians in seconds.

    Returns:
        ``bare_s``, ``bare_single_s``, ``inprocess_s``, ``pool_s``, ``ray_s``: all rounds with their
        evaluation;
        ``*_startup_s``, ``*_shutdown_s``; ``*_outside_s``: wall time from start-up to shutdown less
        local training (divided by the processes that train side by side); ``overhead_ratio``:
        Ray's outside over ours.

    Raises:
        RuntimeError: when a way fails, or ends with another model than the bare loop.
    """
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    models: dict[str, np.ndarray] = {}
    for repeat in range(repeats):
        for way in WAYS:
            print(f"run {repeat + 1} of {repeats}: {way}", file=sys.stderr)
            found = _in_fresh_process(way)
            models[way] = np.frombuffer(bytes.fromhex(found.pop("model")), dtype="<f4")
            runs[way].append(found)
            if _apart(models[way], models["bare"]) > 0.01:
                raise RuntimeError(f"{way} trained another model than the bare loop")
    median = {
        f"{way}_{key}": round(statistics.median(run[key] for run in runs[way]), 3)
        for way in WAYS
        for key in ("s", "startup_s", "shutdown_s", "outside_s")
    }
    return {
        "benchmark": "engine",
        "clients": CLIENTS,
        "cohort": COHORT,
        "rounds": ROUNDS,
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "parameters": int(runs["bare"][0]["parameters"]),
        **median,
        "inprocess_over_bare": round(median["inprocess_s"] / median["bare_s"], 3),
        "pool_over_bare_single": round(median["pool_s"] / median["bare_single_s"], 3),
        "pool_over_bare": round(median["pool_s"] / median["bare_s"], 3),
        "overhead_ratio": round(median["ray_outside_s"] / median["inprocess_outside_s"], 1),
        "largest_relative_difference": max(_apart(models[way], models["bare"]) for way in WAYS),
    }


def _apart(model: np.ndarray, other: np.ndarray) -> float:
    """Return ||model - other|| / ||other||: threads add in another order, and training amplifies it."""
    return float(np.linalg.norm(model - other) / np.linalg.norm(other))


def _in_fresh_process(way: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "experiments.bench.engine", way],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _bare(config: Any, text: str, threads: int) -> dict[str, Any]:
    """Train the same clients on the same batches without any framework."""
    import torch

    from fedpriv.config.parties import build_server_plan, build_site
    from fedpriv.federated.engines.allocator import keep_freed_memory
    from fedpriv.seeding import derive, generator
    from fedpriv.training.local import train_plain

    started = time.perf_counter()
    keep_freed_memory()  # as our engine does
    torch.set_num_threads(threads)
    site, plan = build_site(text), build_server_plan(text)
    flat = site.parameters
    model = flat.read()
    plan.task.evaluate(site.backbone, plan.test)
    begun, training = time.perf_counter(), 0.0
    for server_round in range(1, ROUNDS + 1):
        drawn = sorted(generator(config.seed, "cohort", server_round).permutation(CLIENTS)[:COHORT])
        total = np.zeros(len(model))
        for client in drawn:
            data = site.data(int(client))
            at = time.perf_counter()
            flat.load(model)
            train_plain(
                site.task,
                site.backbone,
                None,
                data,
                site.local,
                derive(config.seed, "client", int(client), server_round),
            )
            training += time.perf_counter() - at
            total += flat.change_since(model)
        model = (model + total / COHORT).astype(np.float32)
        flat.load(model)
        plan.task.evaluate(site.backbone, plan.test)
    ended = time.perf_counter()
    return {
        "s": ended - begun,
        "startup_s": begun - started,
        "shutdown_s": 0.0,
        "outside_s": ended - started - training,
        "parameters": len(model),
        "model": model.tobytes().hex(),
    }


def _engine(launch: Callable[[Any, Any], None], text: str, side_by_side: int) -> dict[str, Any]:
    """Run our apps with ``launch(server_app, client_app)`` and time them from outside."""
    from fedpriv.apps import client_app, server_app

    times: list[float] = []
    trained: list[float] = []
    outcomes: list[Any] = []

    class Watch:
        def client_done(self, done: int, asked: int) -> None:
            pass

        def round_done(self, result: Any, parameters: Any) -> None:
            times.append(time.perf_counter())
            trained.append(result.local_seconds)

    started = time.perf_counter()
    launch(server_app(text, (Watch(),), outcomes.append), client_app(text))
    ended = time.perf_counter()
    parameters = outcomes[0].parameters
    return {
        "s": times[-1] - times[0],
        "startup_s": times[0] - started,
        "shutdown_s": ended - times[-1],
        "outside_s": ended - started - sum(trained) / side_by_side,
        "parameters": len(parameters),
        "model": parameters.tobytes().hex(),
    }


def _run_way(way: str) -> dict[str, Any]:
    from fedpriv.config.compose import compose_run
    from fedpriv.run_keys import key_folder
    from fedpriv.training.local import warm_up

    config = compose_run(*OVERRIDES)
    config.run_id = "00" * 16
    warm_up()  # what torch imports at its first step, as it imports itself
    with key_folder(config) as folder:
        config.secure.key_folder = folder
        return _run_with_keys(way, config)


def _run_with_keys(way: str, config: Any) -> dict[str, Any]:
    from fedpriv.config.as_json import to_json

    text = to_json(config)
    if way.startswith("bare"):
        return _bare(config, text, 1 if way == "bare_single" else len(os.sched_getaffinity(0)))
    if way == "ray":
        from fedpriv.federated.engines.ray import run_on_ray

        return _engine(lambda server, client: run_on_ray(server, client, CLIENTS, 1, 0), text, WORKERS)
    from fedpriv.federated.engines.launch import launch_inprocess

    workers = WORKERS if way == "pool" else 0

    def launch(server: Any, client: Any) -> None:
        launch_inprocess(server, client, "fedpriv.apps:client_app", text, CLIENTS, workers, None)

    return _engine(launch, text, max(1, workers))


if __name__ == "__main__":
    print(json.dumps(_run_way(sys.argv[1])))
