"""Measure what the Dask path costs: throughput of a Dask cluster over that of plain shards, as many processes each.

    python examples/bench_cluster.py CLEAN_DIR [--pictures 48] [--side 700] [--processes 2] [--rounds 2]

The pictures of CLEAN_DIR are resized, get Gaussian noise of sigma 15 and are written as PNG. Then, in turns:

- shards: N processes ``denoiser run --shard i/N`` at the same time, until the last has ended;
- Dask: one ``denoiser run --backend dask`` with N worker processes of one thread each that are there already.

Both have the same number of processor threads. Each is also run over N tiny pictures, and this time is taken off:
imports and the first network cost the same whatever the number of pictures. Seconds of processor time, which other
programs on the machine hardly change, are printed beside the wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from distributed import LocalCluster
from PIL import Image

SIGMA = 15
LEAST = 0.9
"""The ratio to reach."""


class Cost(NamedTuple):
    """Wall time and processor time in seconds."""

    wall: float
    cpu: float

    def without(self, start: Cost) -> Cost:
        return Cost(self.wall - start.wall, self.cpu - start.cpu)


def make_pictures(clean: Path, folder: Path, count: int, side: int) -> Path:
    """Write noisy pictures."""
    folder.mkdir()
    files = sorted(clean.glob("*.png"))
    for index in range(count):
        resized = Image.open(files[index % len(files)]).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(index).standard_normal((side, side, 3), dtype=np.float32) * SIGMA
        noisy = Image.fromarray(np.rint(np.clip(np.asarray(resized) + noise, 0, 255)).astype(np.uint8))
        noisy.save(folder / f"{index:04}.png", compress_level=1)
    return folder


def command(source: Path, out: Path, *options: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "denoiser", "run", source, out, "--quiet", "--device", "cpu", *options]
    return subprocess.Popen(list(map(str, words)))


def shards(source: Path, out: Path, processes: int) -> None:
    """Plain shares, all at the same time."""
    started = [command(source, out, "--shard", f"{index}/{processes}") for index in range(processes)]
    if any(process.wait() for process in started):
        raise SystemExit("a share failed")


def dask(source: Path, out: Path, scheduler: str) -> None:
    """The same on the cluster."""
    if command(source, out, "--backend", "dask", "--scheduler", scheduler).wait():
        raise SystemExit("the Dask run failed")


def cost(work: Callable[[Path], None], folder: Path, workers: Callable[[], float]) -> Cost:
    """What one run costs, that of the workers included; its outputs are removed."""
    out = folder / "out"
    before = _children() + workers()
    began = time.perf_counter()
    work(out)
    spent = Cost(time.perf_counter() - began, _children() + workers() - before)
    shutil.rmtree(out)
    return spent


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--side", type=int, default=700)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    if not any(given.clean.glob("*.png")):
        parser.error(f"{given.clean}: no PNG picture in it")
    count = given.processes
    threads = max(1, (os.cpu_count() or 1) // count)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    options = {"n_workers": count, "threads_per_worker": 1, "memory_limit": 0, "silence_logs": 50}
    with tempfile.TemporaryDirectory() as name, LocalCluster(**options, dashboard_address="127.0.0.1:0") as cluster:
        folder = Path(name)
        many = make_pictures(given.clean, folder / "many", given.pictures, given.side)
        tiny = make_pictures(given.clean, folder / "tiny", count, 64)
        pids = [worker.pid for worker in cluster.workers.values()]
        ways: dict[str, Callable[[Path, Path], None]] = {
            "shards": lambda source, out: shards(source, out, count),
            "dask": lambda source, out: dask(source, out, cluster.scheduler_address),
        }
        totals = {way: Cost(0.0, 0.0) for way in ways}
        for number in range(given.rounds):
            for way, run in ways.items():
                start = cost(lambda out, run=run: run(tiny, out), folder, lambda: _of(pids))  # type: ignore[misc]
                whole = cost(lambda out, run=run: run(many, out), folder, lambda: _of(pids))  # type: ignore[misc]
                own = whole.without(start)
                totals[way] = Cost(totals[way].wall + own.wall, totals[way].cpu + own.cpu)
                print(
                    f"round {number + 1} {way:7} {own.wall:7.1f} s (start {start.wall:4.1f} s), "
                    f"{own.cpu:7.1f} s of processors (start {start.cpu:4.1f} s)"
                )
    megapixels = given.rounds * given.pictures * given.side**2 / 1e6
    for way, total in totals.items():
        print(f"{way:7} {megapixels / total.wall:6.2f} MP/s, {total.cpu / megapixels:6.3f} s of processors per MP")
    wall, cpu = totals["shards"].wall / totals["dask"].wall, totals["shards"].cpu / totals["dask"].cpu
    print(f"Dask / shards with {count} processes: {wall:.2f} in throughput (at least {LEAST}), {cpu:.2f} by processors")


def _of(pids: list[int]) -> float:
    import psutil

    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(each.user + each.system for each in times))


if __name__ == "__main__":
    main()
