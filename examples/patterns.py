"""Measure what models do to regular fine patterns, as of fabric, mesh, halftone and screens.

    python examples/patterns.py [--model FILE ...]

Each pattern lies on a smooth picture and repeats every 3 to 8 pixels. Denoised without noise it should come back as it
was; with noise of sigma 10 it should at least not be worse than the noisy picture. Hexagons, weave and the spiral are
of no kind that `denoiser train --patterns` draws.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import denoiser
from denoiser.metrics import psnr

SIDE, MARGIN = 256, 32
PERIODS = (3, 4, 5, 6, 8)
MOST_PSNR = 60.0
SIGMA = 10

Plane = NDArray[np.float64]
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(float)


def wave(period: float, angle: float = 0.0) -> Plane:
    return np.asarray(np.sin(2 * np.pi * (X * math.cos(angle) + Y * math.sin(angle)) / period))


def checks(period: float) -> Plane:
    return np.where(wave(period) * wave(period, math.pi / 2) > 0, 0.6, -0.6)


def mesh(period: float) -> Plane:
    return np.where((X % period < 1) | (Y % period < 1), -1.0, 0.4)


def dots(period: float) -> Plane:
    distance = np.hypot(X % period - period / 2 + 0.5, Y % period - period / 2 + 0.5)
    return np.asarray(1 - 2 * np.exp(-((4 * distance / period) ** 2)))


def hexagons(period: float) -> Plane:
    return np.asarray(sum(wave(period, angle) for angle in (0.1, 0.1 + math.pi / 3, 0.1 + 2 * math.pi / 3)) / 2)


def weave(period: float) -> Plane:
    over = (X // period + Y // period) % 2
    thread = np.where(over > 0, np.sin(np.pi * (X % period) / period), np.sin(np.pi * (Y % period) / period))
    return np.asarray(2 * thread - 1)


def spiral(period: float) -> Plane:
    """Two families of spirals that cross, as the seeds of a sunflower."""
    radius, angle = np.hypot(X - SIDE / 2, Y - SIDE / 2) + 1, np.arctan2(Y - SIDE / 2, X - SIDE / 2)
    along = 2 * np.pi * radius / period
    return np.asarray(np.sin(13 * angle + along) * np.sin(-21 * angle + along))


KINDS: dict[str, Callable[[float], Plane]] = {
    each.__name__: each for each in (checks, mesh, dots, hexagons, weave, spiral)
}


def picture(kind: str, period: float) -> NDArray[np.uint8]:
    """The pattern in the middle of slow gradients, (256, 256, 3)."""
    made = np.stack([90 + X / 4, 110 + Y / 5, 140 - X / 6], axis=2)
    inside = slice(MARGIN, SIDE - MARGIN)
    made[inside, inside] = 128 + 60 * KINDS[kind](period)[inside, inside, None] * np.array([1, 0.95, 0.9])
    return np.rint(made.clip(0, 255)).astype(np.uint8)


def measured(model: denoiser.Denoiser, kind: str) -> tuple[list[float], list[float]]:
    """PSNR of the clean patterns after denoising, and the gain over the noisy ones, one for each period."""
    kept, gained = [], []
    for period in PERIODS:
        clean = picture(kind, period)
        kept.append(min(MOST_PSNR, psnr(clean, model.denoise(clean), 255)))
        noisy = denoiser.corrupt(clean, f"gaussian:{SIGMA}", seed=period)
        gained.append(psnr(clean, model.denoise(noisy), 255) - psnr(clean, noisy, 255))
    return kept, gained


def loaded(names: Sequence[str]) -> dict[str, Any]:
    """Models by stem, or by the whole name where stems repeat: training calls every file model.safetensors."""
    stems = Counter(Path(name).stem for name in set(names))
    return {name if stems[Path(name).stem] > 1 else Path(name).stem: denoiser.load(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="bundled model or weights file (default: unet, unet-photo)")
    models = loaded(parser.parse_args().model or ("unet", "unet-photo"))
    columns = [f"{name}, {what}" for name in models for what in ("PSNR without noise", f"gain at sigma {SIGMA}")]
    print(f"| mean (and least) over {len(PERIODS)} periods, in dB | {' | '.join(columns)} |")
    print("|---" * (1 + 2 * len(models)) + "|")
    for kind in KINDS:
        cells = [
            f"{np.mean(values):{sign}.1f} ({min(values):{sign}.1f})"
            for model in models.values()
            for values, sign in zip(measured(model, kind), ("", "+"), strict=True)
        ]
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
