"""Unpacking speed: ``fedpriv-data extract``, and plain Python writing the same files.

Workload: 20,000 different JPEG images of 112 x 112 pixels and 200 people in one RecordIO file with its
index, identity by identity. Ours reads records, checks, names, hashes and journals them; the plain way has
all bytes in memory and does nothing but ``open(path, "wb").write(...)``, one file after another into the
same folders. Each run is a fresh process whose imports are not counted; the ways are interleaved.
"""

import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

IMAGES, FEW, PEOPLE = 20_000, 2_000, 200
WAYS = ("ours", "copy", "few")


def measure(repeats: int) -> dict[str, Any]:
    """Run every way ``repeats`` times, interleaved, and return the medians.

    Returns:
        ``images_per_s``, ``copy_images_per_s``, their ``ratio`` (ours over copying; medians),
        ``peak_rss_mb`` of ours with all images and ``peak_rss_mb_2000`` with a tenth of them.

    Raises:
        RuntimeError: when a way fails, or ours and the copy differ in a byte.
    """
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="bench-extract-") as name:
        folder = Path(name)
        size = _make(folder / "all.rec", IMAGES)
        _make(folder / "few.rec", FEW)
        _in_fresh_process("ours", folder)
        (folder / "out").rename(folder / "model")
        for repeat in range(repeats):
            for way in WAYS:
                print(f"run {repeat + 1} of {repeats}: {way}", file=sys.stderr)
                runs[way].append(_in_fresh_process(way, folder))
                if way != "few":
                    _compare(folder / "model", folder / "out")
                shutil.rmtree(folder / "out")
    seconds = {way: statistics.median(run["s"] for run in runs[way]) for way in WAYS}
    return {
        "benchmark": "extract",
        "images": IMAGES,
        "bytes": size,
        "repeats": repeats,
        "cores": len(os.sched_getaffinity(0)),
        "images_per_s": round(IMAGES / seconds["ours"]),
        "copy_images_per_s": round(IMAGES / seconds["copy"]),
        "ratio": round(seconds["copy"] / seconds["ours"], 3),
        "peak_rss_mb": round(statistics.median(run["rss_mb"] for run in runs["ours"]), 1),
        "peak_rss_mb_2000": round(statistics.median(run["rss_mb"] for run in runs["few"]), 1),
    }


def _make(path: Path, count: int) -> int:
    """Write a record file of different JPEGs; returns its bytes."""
    from PIL import Image

    from fedpriv.formats.image_record import ImageHeader, pack_image_record
    from fedpriv.formats.record_index import write_index
    from fedpriv.formats.recordio_writer import RecordWriter

    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 112, dtype=np.float32)
    models = []
    for _ in range(500):
        shade = np.add.outer(ramp * random.random(), ramp * random.random())[..., None] * random.random(3)
        pixels = np.clip(shade + random.normal(0, 12, (112, 112, 3)), 0, 255).astype(np.uint8)
        saved = io.BytesIO()
        Image.fromarray(pixels).save(saved, "JPEG", quality=int(random.integers(70, 95)))
        models.append(saved.getvalue())
    offsets = {}
    with RecordWriter(path) as writer:
        for number in range(count):
            # a comment segment behind the start of image makes every file another
            content = models[number % len(models)]
            comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")
            header = ImageHeader(float(number * PEOPLE // count), number)
            offsets[number] = writer.write(pack_image_record(header, content[:2] + comment + content[2:]))
    write_index(path.with_suffix(".idx"), offsets)
    return path.stat().st_size


def _compare(model: Path, other: Path) -> None:
    for path in model.glob("*/*"):
        if path.read_bytes() != (other / path.relative_to(model)).read_bytes():
            raise RuntimeError(f"{path.name}: ours and the copy differ")


def _in_fresh_process(way: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "experiments.bench.extract", way, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _run_way(way: str, folder: Path) -> dict[str, float]:
    out = folder / "out"
    os.sync()  # what an earlier run left to write is not counted
    if way == "copy":
        files = [
            (str(out / path.relative_to(folder / "model")), path.read_bytes())
            for path in sorted((folder / "model").glob("*/*"))
        ]
        started = time.perf_counter()
        for person in {os.path.dirname(path) for path, _ in files}:  # noqa: PTH120 - the plain way
            os.makedirs(person)  # noqa: PTH103
        for path, content in files:
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(content)
    else:
        from data_tools.extract import extract

        rec = folder / ("few.rec" if way == "few" else "all.rec")
        started = time.perf_counter()
        extract(rec, out, idx=rec.with_suffix(".idx"))
    seconds = time.perf_counter() - started
    return {"s": seconds, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    print(json.dumps(_run_way(sys.argv[1], Path(sys.argv[2]))))
