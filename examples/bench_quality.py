"""Measure the bundled unet and classical methods on clean pictures with Gaussian noise; print one table per protocol.

    python examples/bench_quality.py CLEAN_DIR [--model unet] [--ensemble 8] [--bm3d-every 4]

Colour pictures, white Gaussian noise of sigma 15, 25 and 50 (units of 1/255), restored pictures rounded to 8 bit,
mean over pictures of RGB PSNR. Two protocols: ``literature`` (noise neither clipped nor rounded) and ``file`` (the
noisy picture clipped and rounded to 8 bit). The network is told nothing. The classical methods are told the true
sigma, and the free parameter of non-local means and of total variation is the best of a grid for each column, so
they are shown at their best. bm3d is slow: it is measured on every N-th picture, beside the network on the same ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

import denoiser
from denoiser.metrics import psnr
from denoiser.noise import PROTOCOLS, noisy_version

SIGMAS = (15, 25, 50)
Picture = NDArray[Any]


def nlm(strength: float) -> Callable[[Picture, float], Picture]:
    return lambda x, s: denoise_nl_means(
        x, patch_size=5, patch_distance=6, h=strength * s, sigma=s, fast_mode=True, channel_axis=2
    )


def tv(strength: float) -> Callable[[Picture, float], Picture]:
    return lambda x, s: denoise_tv_chambolle(x, weight=strength * s, channel_axis=2)


def wavelet(x: Picture, s: float) -> Picture:
    return denoise_wavelet(x, sigma=s, method="BayesShrink", mode="soft", channel_axis=2, rescale_sigma=True)


BASELINES: dict[str, list[Callable[[Picture, float], Picture]]] = {
    "noisy input": [lambda x, s: x],
    "non-local means": [nlm(h) for h in (0.4, 0.5, 0.6, 0.7)],
    "wavelet (BayesShrink)": [wavelet],
    "total variation": [tv(w) for w in (0.6, 0.8, 1.0, 1.3)],
}


def as_float(noisy: Picture) -> Picture:
    return noisy / np.float32(255) if noisy.dtype == np.uint8 else noisy


def rounded(values: Picture) -> Picture:
    return np.rint(np.clip(values, 0, 1) * 255)


def best(clean: list[Picture], noisy: list[Picture], sigma: float, methods: list[Any]) -> float:
    """The mean PSNR of the best of several settings."""
    pairs = list(zip(clean, noisy, strict=True))
    return max(mean(psnr(c, rounded(m(as_float(n), sigma / 255)), 255) for c, n in pairs) for m in methods)


def white_of(model: Any, noisy: Picture) -> float | None:
    """White of floats for a network that must know it; the others are told nothing, and ``auto`` has none that must."""
    return 1.0 if noisy.dtype != np.uint8 and getattr(model, "needs_range", False) else None


def network(model: Any, clean: list[Picture], noisy: list[Picture]) -> float:
    restored = [np.asarray(model.denoise(n, white=white_of(model, n))) for n in noisy]
    return mean(psnr(c, r if r.dtype == np.uint8 else rounded(r), 255) for c, r in zip(clean, restored, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clean", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--ensemble", action="append", type=int, default=[], help="also the mean of so many views")
    parser.add_argument("--bm3d-every", type=int, default=0, help="0 leaves bm3d out")
    parser.add_argument(
        "--json", type=Path, help="write the figures here; those of classical methods that are there are not made again"
    )
    arguments = parser.parse_args()
    files = sorted(arguments.clean.glob("*.png"))
    if not files:
        parser.error(f"{arguments.clean}: no PNG picture in it")
    clean = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    models = {}
    for name in arguments.model or ["unet"]:
        models[name] = denoiser.load(name)
        models |= {f"{name}, {n} views": denoiser.load(name, ensemble=n) for n in arguments.ensemble}
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    rows: dict[str, dict[str, float]] = {}
    for protocol in PROTOCOLS:
        for sigma in SIGMAS:
            column = f"{protocol} {sigma}"
            noisy = [noisy_version(picture, sigma, protocol, index) for index, picture in enumerate(clean)]
            for name, methods in BASELINES.items():
                found = known.get(name, {}).get(column)
                rows.setdefault(name, {})[column] = found or best(clean, noisy, sigma, methods)
            for name, model in models.items():
                rows.setdefault(name, {})[column] = network(model, clean, noisy)
            if step := arguments.bm3d_every:
                from bm3d import bm3d_rgb

                some = f"(1 picture in {step})" if step > 1 else "(all)"
                found = known.get(f"bm3d {some}", {}).get(column)
                found = found or best(clean[::step], noisy[::step], sigma, [bm3d_rgb])
                rows.setdefault(f"bm3d {some}", {})[column] = found
                for name, model in models.items():
                    rows.setdefault(f"{name} {some}", {})[column] = network(model, clean[::step], noisy[::step])
            if arguments.json:  # now, for the slow methods take long
                arguments.json.write_text(json.dumps(known | rows, indent=1))
    for name, model in models.items():
        changed = mean(float(np.mean(np.abs(model.denoise(c).astype(float) - c))) for c in clean)
        print(f"{name}: changes noise-free pictures by {changed:.3f} of 255 on average")
    columns = [f"{protocol} {sigma}" for protocol in PROTOCOLS for sigma in SIGMAS]
    print(f"\nMean RGB PSNR in dB, {len(clean)} pictures\n")
    print("| method | " + " | ".join(columns) + " |\n|---" * 1 + "|---" * len(columns) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[column]:.2f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
