"""Measure how fast many small pictures are done, beside a script that does them one at a time, and print ratios.

    python examples/bench_small.py [--pictures 5000] [--side 28] [--one-at-a-time 500]

Gray pictures of 28 x 28 pixels with noise are written as PNG. Then, in one process and with the bundled ``unet``:

- one at a time: the same network in eager fp32 torch on one picture after the other, all processors on each, the
  network alone and with the reading and writing of the files by Pillow;
- in memory: ``Denoiser.denoise`` of all pictures as one stack;
- directory to directory: ``denoiser.run``, reading, checking, writing and syncing each file included, and without the
  loading of the network.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import pad

import denoiser
from denoiser import tuning, weights
from denoiser.inference import devices

SIGMA = 25
TARGET = 8
"""How many times as many pictures per second are to be done as one at a time."""

Picture = NDArray[np.uint8]


def make_pictures(folder: Path, count: int, side: int) -> list[Picture]:
    """Write noisy waves."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    pictures = []
    for index in range(count):
        clean = 128 + 90 * np.sin(x / random.uniform(2, 9) + y / random.uniform(2, 9))
        pictures.append(np.rint((clean + random.normal(0, SIGMA, clean.shape)).clip(0, 255)).astype(np.uint8))
        Image.fromarray(pictures[-1]).save(folder / f"{index:05}.png")
    return pictures


class OneAtATime:
    """The bundled network as a plain script uses it."""

    def __init__(self) -> None:
        self.module, _ = weights.load("unet")
        self.module.eval()
        self.multiple = self.module.needs.multiple_of

    @torch.inference_mode()
    def denoise(self, picture: Picture) -> Picture:
        x = torch.from_numpy(picture.astype(np.float32) / 255)[None, None].expand(1, 3, -1, -1)
        height, width = picture.shape
        x = pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="reflect")
        residual = self.module(x, torch.ones(1, 1, 1, 1))
        values = (x - residual).mean(dim=1)[0, :height, :width]
        return np.rint(values.clip(0, 1).numpy() * 255).astype(np.uint8)

    def file(self, source: Path, target: Path) -> None:
        with Image.open(source) as image:
            picture = np.asarray(image)
        Image.fromarray(self.denoise(picture)).save(target)


def rate(work: Callable[[Any], object], pictures: Sequence[Any]) -> float:
    """Pictures per second."""
    work(pictures[0])
    start = time.perf_counter()
    for picture in pictures:
        work(picture)
    return len(pictures) / (time.perf_counter() - start)


def difference(a: Picture, b: Picture) -> int:
    return int(np.abs(a.astype(np.int16) - b).max())


def in_memory(model: denoiser.Denoiser, pictures: Sequence[Picture]) -> float:
    stack = np.stack(pictures)[..., None]
    model.denoise(stack[:100])
    start = time.perf_counter()
    model.denoise(stack)
    return len(stack) / (time.perf_counter() - start)


def directory_to_directory(model: denoiser.Denoiser, source: Path, out: Path, count: int) -> float:
    start = time.perf_counter()
    report = denoiser.run([source], out, denoiser.RunOptions(model="unet"), denoiser=model)
    seconds = time.perf_counter() - start
    if report.exit_code != 0:
        raise SystemExit(f"the run failed with exit code {report.exit_code}")
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--one-at-a-time", type=int, default=500, help="how many pictures the plain script does")
    arguments = parser.parse_args()
    if not tuning.TORCH_SETTINGS.keys() <= os.environ.keys():
        tuning.set_environment()  # as the command does, before torch is loaded
        os.execv(sys.executable, sys.orig_argv)
    tuning.keep_freed_memory()
    torch.set_num_threads(devices.threads())
    some = slice(arguments.one_at_a_time)
    print(f"{devices.threads()} processors, torch {torch.__version__}, {arguments.pictures} pictures", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        source, plain = Path(temporary, "in"), Path(temporary, "plain")
        source.mkdir()
        plain.mkdir()
        pictures = make_pictures(source, arguments.pictures, arguments.side)
        script = OneAtATime()
        alone = rate(script.denoise, pictures[some])
        files = rate(lambda path: script.file(path, plain / path.name), sorted(source.iterdir())[some])
        print(f"one at a time: {alone:.0f} pictures/s, {files:.0f} with files", flush=True)
        model = denoiser.load("unet", device="cpu")
        apart = max(difference(script.denoise(picture), model.denoise(picture)) for picture in pictures[:8])
        print(f"results of both: largest difference {apart} of 255", flush=True)
        stack = in_memory(model, pictures)
        print(f"in memory: {stack:.0f} pictures/s, {stack / alone:.1f} times as many (aim {TARGET})", flush=True)
        run = directory_to_directory(model, source, Path(temporary, "out"), arguments.pictures)
        print(
            f"directory to directory: {run:.0f} pictures/s, {run / files:.1f} times as many as with files, "
            f"{run / alone:.1f} times as many as the network alone (aim {TARGET})",
            flush=True,
        )


if __name__ == "__main__":
    main()
