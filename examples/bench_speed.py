"""Measure the speed of the bundled unet beside other denoisers, in one process, and print ratios.

    python examples/bench_speed.py CLEAN_DIR [--pictures 24] [--side 2450] [--skip-bm3d]

The pictures of CLEAN_DIR are enlarged to photographs of about 6 megapixels, get Gaussian noise of sigma 15 and are
written as PNG and as JPEG (quality 92). Then:

- network only: forward passes alone, on windows of the shape that the program uses, all processors busy, in fp32 and,
  where the processor multiplies bfloat16, in bf16; in the precision that a run chooses also between and after the
  runs, because the speed of a machine drifts (the mean counts);
- directory to directory: ``denoiser.run`` from files to files, reading, checking, writing and syncing included; a first
  run over one picture loads the modules;
- DnCNN (20 layers, 64 channels, colour) and an FFDNet-sized network (12 layers of 96 channels at half resolution),
  eager fp32 torch with random weights on a whole photograph, the way their published scripts run;
- scikit-image's fast non-local means, and bm3d on a 512 x 512 part (its time per pixel does not depend on size).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.restoration import denoise_nl_means
from torch import nn

import denoiser
from denoiser import tuning, weights
from denoiser.inference import devices
from denoiser.inference.network import Network
from denoiser.inference.sizing import FLOW_WIDTH, FLOW_WINDOW
from denoiser.tiling import choose_tile, plan_windows

SIGMA = 15
TARGETS = {"DnCNN": 20, "FFDNet-size": 10, "non-local means": 2, "bm3d": 100}
"""How many times as fast directory to directory is to be."""


def make_photographs(clean: Path, folder: Path, count: int, side: int) -> float:
    """Write the noisy photographs as PNG and JPEG; returns their megapixels."""
    files = sorted(clean.glob("*.png"))
    for suffix in ("png", "jpg"):
        (folder / suffix).mkdir()
    for index in range(count):
        enlarged = Image.open(files[index % len(files)]).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(index).standard_normal((side, side, 3), dtype=np.float32) * SIGMA
        noisy = Image.fromarray(np.rint(np.clip(np.asarray(enlarged) + noise, 0, 255)).astype(np.uint8))
        noisy.save(folder / "png" / f"{index:02}.png", compress_level=1)
        noisy.save(folder / "jpg" / f"{index:02}.jpg", quality=92)
    return count * side * side / 1e6


def network_only(precision: str, side: int, seconds: float = 8.0) -> float:
    """Megapixels of pictures per second of the network alone, one window per processor at a time."""
    module, _ = weights.load("unet")
    needs = module.needs
    network = Network(module, torch.device("cpu"), precision)
    tile = choose_tile(side, side, needs.receptive_field, needs.multiple_of, FLOW_WINDOW, FLOW_WIDTH)
    windows = len(plan_windows(side, side, tile, needs.receptive_field, needs.multiple_of))
    height, width = tile
    workers = devices.threads()
    ready = threading.Barrier(workers)

    def work(_: int) -> int:
        torch.set_num_threads(1)
        stored = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        values = np.empty(stored.shape, np.float32)

        def read(top: int, stop: int) -> NDArray[np.float32]:
            return np.multiply(stored[top:stop], np.float32(1 / 255), out=values[top:stop])

        def write(top: int, noise: NDArray[np.float32]) -> None:
            values[top : top + len(noise)] -= noise

        def compute() -> None:
            network.go_down(height, width, 1.0, read, write)

        compute()
        ready.wait()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            compute()
            count += 1
        return count * side**2 / windows / (time.perf_counter() - start)

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(work, range(workers))) / 1e6


def directory_to_directory(folder: Path, megapixels: float) -> float:
    out = folder.parent / f"out-{folder.name}"
    start = time.perf_counter()
    report = denoiser.run([folder], out, denoiser.RunOptions(model="unet"))
    seconds = time.perf_counter() - start
    if report.exit_code != 0:
        raise SystemExit(f"the run failed with exit code {report.exit_code}")
    shutil.rmtree(out)
    return megapixels / seconds


def convolutions(depth: int, channels: int, ends: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(ends, channels, 3, padding=1), nn.ReLU(inplace=True)]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels, ends, 3, padding=1))


def eager(module: nn.Module, picture: NDArray[np.uint8]) -> float:
    """Megapixels per second of an fp32 network on a whole picture, all processors on one pass."""
    torch.set_num_threads(devices.threads())
    x = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()
    with torch.inference_mode():
        module(x[:, :, :256, :256])
        return timed(lambda: module(x), picture)


def timed(work: Callable[[], Any], picture: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    work()
    return picture.shape[0] * picture.shape[1] / (time.perf_counter() - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clean", type=Path)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--side", type=int, default=2450)
    parser.add_argument("--skip-bm3d", action="store_true")
    arguments = parser.parse_args()
    if not any(arguments.clean.glob("*.png")):
        parser.error(f"{arguments.clean}: no PNG picture in it")
    if not tuning.TORCH_SETTINGS.keys() <= os.environ.keys():
        tuning.set_environment()  # as the command does, before torch is loaded
        os.execv(sys.executable, sys.orig_argv)
    tuning.keep_freed_memory()
    print(f"{devices.threads()} processors, torch {torch.__version__}, {arguments.pictures} pictures", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        megapixels = make_photographs(arguments.clean, folder, arguments.pictures, arguments.side)
        precision, network = "fp32", [network_only("fp32", arguments.side)]
        if devices.has_bf16(torch.device("cpu")):
            print(f"network only, fp32: {network[0]:.2f} MP/s", flush=True)
            precision, network = "bf16", [network_only("bf16", arguments.side)]
        (folder / "first").mkdir()
        shutil.copy(folder / "jpg" / "00.jpg", folder / "first")
        directory_to_directory(folder / "first", megapixels)
        runs = {}
        for kind in ("png", "jpg"):
            runs[kind] = directory_to_directory(folder / kind, megapixels)
            network.append(network_only(precision, arguments.side))
        print(f"network only, {precision}: {', '.join(f'{speed:.2f}' for speed in network)} MP/s", flush=True)
        for kind, speed in runs.items():
            share = speed / fmean(network)
            print(f"directory to directory, {kind}: {speed:.2f} MP/s, {share:.2f} of network only", flush=True)
        picture = np.asarray(Image.open(folder / "png" / "00.png"))
    floats = picture.astype(np.float32) / 255
    part = floats[:512, :512].astype(np.float64)
    sigma = SIGMA / 255
    others: dict[str, Callable[[], float]] = {
        "DnCNN": lambda: eager(convolutions(20, 64, 3), picture),
        "FFDNet-size": lambda: eager(
            nn.Sequential(nn.PixelUnshuffle(2), convolutions(12, 96, 12), nn.PixelShuffle(2)), picture
        ),
        "non-local means": lambda: timed(
            lambda: denoise_nl_means(
                floats, patch_size=5, patch_distance=6, h=0.6 * sigma, sigma=sigma, fast_mode=True, channel_axis=2
            ),
            picture,
        ),
    }
    if not arguments.skip_bm3d:
        from bm3d import bm3d_rgb

        others["bm3d"] = lambda: timed(lambda: bm3d_rgb(part, sigma), picture[:512, :512])
    slower = min(runs.values())
    for name, measure in others.items():
        speed = measure()
        print(
            f"{name}: {speed:.3f} MP/s; directory to directory is {slower / speed:.1f} times as fast "
            f"(aim {TARGETS[name]})",
            flush=True,
        )


if __name__ == "__main__":
    main()
