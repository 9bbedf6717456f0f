"""Measure what a file and a megapixel cost, stage by stage, and say from it how a run over millions of files scales.

    python examples/bench_scaling.py CLEAN_DIR [--files 1e7] [--megapixels 1] [--workers 1 2 4]

All costs are seconds of processor time of one thread, which other programs on the machine hardly change:

- in the process that plans: finding and planning a file, its line in a manifest that is read again, and with Dask
  sending a file to a worker and its result back;
- in the workers: a file's opening, hashing, syncing and renaming (measured by copying small files), and decoding,
  network and encoding per megapixel.

Then the model for a run: work of N workers at the same time, and the work of the process that plans, which nobody
shares. With --workers it is held against real runs of ``denoiser run --shard i/N``, as processor time per megapixel.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image

from denoiser import tuning, weights
from denoiser.batch import Destination, FileResult, RunOptions, Status, Stop, make_plan, run
from denoiser.batch.manifest import Entry, Manifest, Stamp
from denoiser.images import SUFFIXES, Target, open_source, save
from denoiser.inference import Denoiser, InferenceOptions
from denoiser.progress import Silent

SIDE = 1000
REPEATS = 4
EACH = 12
"""Files for each worker of a run."""
SMALL = 400
"""Files for what a file costs whatever its size."""
PLANNED = 20_000
HOUR = 3600.0


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this process and all its threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def noisy(clean: Path, side: int) -> Image.Image:
    """A picture of full range with noise of sigma 15."""
    picture = Image.open(sorted(clean.glob("*.png"))[0]).convert("RGB").resize((side, side))
    noise = np.random.default_rng(0).standard_normal((side, side, 3), dtype=np.float32) * 15
    return Image.fromarray(np.rint(np.clip(np.asarray(picture) + noise, 0, 255)).astype(np.uint8))


def planning(folder: Path) -> dict[str, float]:
    """Costs of a file in the process that plans."""
    source = folder / "names"
    for index in range(PLANNED):
        path = source / f"{index % 100:02}" / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    options, empty = RunOptions(), Manifest(folder / "nothing")
    plans = []
    memory = psutil.Process().memory_info().rss
    costs = {"plan": seconds(lambda: plans.append(make_plan([source], Destination(folder / "o"), options, "", empty)))}
    items = plans[0].items
    book = Manifest(folder / "book")
    book.open()
    for item in items:
        book.append(Entry(item.place, item.stamp, "0" * 32, Stamp(1, 1), "0" * 32))
    book.close()
    costs["read the manifest"] = seconds(book.load)
    results = [FileResult(item.source, item.target, Status.DONE, checks={"mean": 0.5}) for item in items]

    def send() -> None:
        for at in range(0, PLANNED, 64):
            for sent in (items[at : at + 64], results[at : at + 64]):
                pickle.loads(pickle.dumps(sent))

    print(
        f"{(psutil.Process().memory_info().rss - memory) / PLANNED:,.0f} bytes of memory per file, where it is planned"
    )
    costs["send to a worker and back"] = seconds(send)
    return {name: cost / PLANNED for name, cost in costs.items()}


def overhead(folder: Path) -> float:
    """Cost of a file in a worker besides its pixels."""
    source = folder / "small"
    source.mkdir()
    for index in range(SMALL):
        Image.new("RGB", (8, 8), (index % 256, 0, 0)).save(source / f"{index:04}.png")
    options = RunOptions(strength=0.0)
    return seconds(lambda: run(source, folder / "copies", options, Silent(), stop=Stop())) / SMALL


def codec(picture: Image.Image, clean: NDArray[np.uint8], path: Path) -> dict[str, float]:
    """Costs of reading a noisy picture in one format, and of writing what the network makes of it."""
    picture.save(path)
    out, form = path.with_stem("out"), Target(SUFFIXES[path.suffix])
    decode = encode = 0.0
    for _ in range(REPEATS):
        with open_source(path) as source:
            header = source.header
            decode += seconds(lambda source=source: source.read(0, 0, SIDE)) / REPEATS
        encode += seconds(lambda header=header: save(out, header, iter([iter([clean])]), form)) / REPEATS
    return {f"decode {path.suffix}": decode, f"encode {path.suffix}": encode}


def pixels(clean: Path, folder: Path) -> dict[str, float]:
    """Costs of a megapixel in a worker."""
    torch.set_num_threads(1)
    network = Denoiser(*weights.load("unet"), InferenceOptions(device="cpu"))
    picture = noisy(clean, SIDE)
    array = np.asarray(picture)
    denoised = network.denoise(array)
    costs = {}
    for suffix in (".png", ".jpg", ".tif"):
        costs |= codec(picture, denoised, folder / f"picture{suffix}")
    costs["network"] = seconds(lambda: [network.denoise(array) for _ in range(REPEATS)]) / REPEATS
    return {name: cost / (SIDE * SIDE / 1e6) for name, cost in costs.items()}


def measured(clean: Path, folder: Path, workers: int) -> float:
    """Processor seconds per file of so many shares at the same time, their start taken off; one megapixel each."""
    source = folder / f"run{workers}"
    source.mkdir()
    files = EACH * workers
    spent = []
    for count in (workers, files):
        for index in range(count):
            noisy(clean, SIDE).save(source / f"{index:02}.png")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [sys.executable, "-m", "denoiser", "run", source, folder / f"out{workers}-{count}", "-q"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        shares = [[*map(str, words), "--device", "cpu", "--shard", f"{i}/{workers}"] for i in range(workers)]
        for process in [subprocess.Popen(share, env=environment) for share in shares]:
            if process.wait():
                raise SystemExit("a share failed")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (spent[1] - spent[0]) / (files - workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--files", type=float, default=1e7)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    given = parser.parse_args()
    if not any(given.clean.glob("*.png")):
        parser.error(f"{given.clean}: no PNG picture in it")
    if not tuning.TORCH_SETTINGS.keys() <= os.environ.keys():
        tuning.set_environment()  # as the command does, before torch is loaded
        os.execv(sys.executable, sys.orig_argv)
    tuning.keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan, file, pixel = planning(folder), overhead(folder), pixels(given.clean, folder)
        for stage, cost in plan.items():
            print(f"{stage:28} {1e6 * cost:8.1f} us per file, in the process that plans")
        print(f"{'open, hash, sync, rename':28} {1e6 * file:8.1f} us per file, in a worker")
        for stage, cost in pixel.items():
            print(f"{stage:28} {1e3 * cost:8.1f} ms per MP, in a worker: {1 / cost:.1f} MP/s")
        central = plan["plan"] + plan["send to a worker and back"]
        each = file + given.megapixels * (pixel["decode .png"] + pixel["network"] + pixel["encode .png"])
        print(f"{given.files:,.0f} PNG files of {given.megapixels:g} MP, one CPU thread per worker:")
        for count in (1, 10, 100, 1000, 10_000):
            work, alone = given.files * each / count / HOUR, given.files * central / HOUR
            print(f"{count:6} workers {work:12,.1f} h; process that plans, with Dask {alone:.2f} h")
        print(f"the process that plans is busy all the time from {each / central:,.0f} workers on")
        for count in given.workers:
            real = measured(given.clean, folder, count)
            model = file + (SIDE * SIDE / 1e6) * (pixel["decode .png"] + pixel["network"] + pixel["encode .png"])
            print(f"{count} shares: {real:.3f} s of processors per 1 MP file, the model says {model:.3f}")


if __name__ == "__main__":
    main()
