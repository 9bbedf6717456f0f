"""How pictures are made noisy and scored, and the words that say so beside every figure."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.benchmark import holes
from denoiser.benchmark.options import BenchmarkOptions
from denoiser.benchmark.pictures import Picture, as_in_a_file, crop_of
from denoiser.benchmark.result import BLIND, Measured, Score
from denoiser.metrics import SSIM_WINDOW, mse, psnr_of_mse, ssim
from denoiser.noise import parse

SSIM = "Gaussian window, sigma 1.5, 11 x 11, K1 0.01, K2 0.03, population covariance (scikit-image)"

LIBRARIES = ("torch", "numpy", "scikit-image", "scipy", "pillow")


def add_noise(truth: Picture, spec: str, name: str, options: BenchmarkOptions) -> Picture:
    """Corrupt a picture; the same every time, whatever else is measured beside it.

    Parameters
    ----------
    name : str
        Of the picture: with ``spec`` and the seed it decides about the random numbers.
    """
    digest = hashlib.sha256(f"{options.seed}\0{spec}\0{name}".encode("utf-8", "surrogateescape")).digest()
    noisy, hole = holes.apply(parse(spec), truth.values.astype(np.float32), np.random.default_rng(list(digest)))
    if truth.depth is None or options.protocol == "literature":
        return Picture(noisy.astype(np.float32), truth.range, truth.depth, hole)
    stored = np.rint(as_in_a_file(noisy, truth.depth) * truth.depth + truth.range.black)
    return Picture(stored.astype(truth.stored.dtype), truth.range, truth.depth, hole)


def score(
    name: str,
    truth: Picture,
    estimate: NDArray[Any],
    hole: NDArray[np.bool_] | None = None,
    seconds: float = 0.0,
    memory: int | None = None,
) -> Score:
    """Compare a picture with the truth; both in units of the full range, (H, W, C)."""
    values, height, width = truth.values, *truth.stored.shape[:2]
    error = mse(values, estimate)
    large = min(height, width) >= SSIM_WINDOW
    return Score(
        picture=name,
        mse=error,
        psnr=psnr_of_mse(error) if error else None,
        ssim=ssim(values, np.asarray(estimate), 1.0) if large else None,
        hole_mse=mse(values[hole], estimate[hole]) if hole is not None and hole.any() else None,
        megapixels=height * width / 1e6,
        seconds=seconds,
        memory=memory,
    )


def describe(
    options: BenchmarkOptions,
    pictures: Sequence[Measured],
    devices: Sequence[str],
    correlated: int = 0,
    known_holes: bool = False,
) -> dict[str, Any]:
    """The protocol as plain data, with a ``statement`` in words.

    Parameters
    ----------
    devices : sequence of str
        Where methods computed.
    correlated : int
        Number of noisy pictures without truth whose noise looks correlated from pixel to pixel.
    known_holes : bool
        Whether it is known of files which values their noise replaced.
    """
    facts = {
        "name": BLIND if options.blind else "files" if options.paired else options.protocol,
        "pictures": len(pictures),
        "colours": _colours(pictures),
        "data_range": sorted({picture.data_range for picture in pictures}),
        "crop": crop_of(options),
        "seed": None if options.paired else options.seed,
        "correlated": correlated if options.blind else None,
        "holes": known_holes or any(map(holes.makes_holes, options.specs)),
        "ssim": None if options.blind else SSIM,
        "ensemble": options.ensemble,
        "interval": "95%, Student's t over pictures",
        "device": "; ".join(devices) or "cpu",
        "versions": {"denoiser": _own_version(), **{name: metadata.version(name) for name in LIBRARIES}},
        "python": platform.python_version(),
    }
    cost = f" Speed: wall time, one picture at a time, on {facts['device']}. {MEMORY_WORDS}" if devices else ""
    return {**facts, "statement": _statement(options, facts, cost)}


def _own_version() -> str:
    from denoiser import __version__

    return __version__


def _colours(pictures: Sequence[Measured]) -> dict[str, int]:
    words = {1: "gray", 3: "colour"}
    return dict(Counter(words.get(picture.channels, f"{picture.channels} channels") for picture in pictures))


def _statement(options: BenchmarkOptions, facts: dict[str, Any], cost: str) -> str:
    kinds = ", ".join(f"{count} {word}" for word, count in facts["colours"].items())
    root = options.noisy if options.blind else options.clean
    source = "the samples of scikit-image" if root is None else f"{root.name or root}"
    crop = f", the central {facts['crop']} x {facts['crop']} pixels at most" if facts["crop"] else ""
    ranges = ", ".join(f"{value:g}" for value in facts["data_range"])
    views = f" Models: the mean of {facts['ensemble']} views of each picture." if facts["ensemble"] > 1 else ""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Protocol {facts['name']!r}: {source} ({kinds}{crop}); data range {ranges}; "
        f"{_words_without_truth(facts) if options.blind else _words_with_truth(options, facts)}{views} "
        f"Intervals: {facts['interval']}.{cost} {versions}."
    )


def _words_without_truth(facts: dict[str, Any]) -> str:
    if not facts["correlated"]:
        return BLIND_WORDS
    return f"{BLIND_WORDS} Here the noise of {facts['correlated']} of {facts['pictures']} pictures looks correlated!"


def _words_with_truth(options: BenchmarkOptions, facts: dict[str, Any]) -> str:
    noise = {
        "literature": f"noise neither clipped nor rounded, seed {options.seed}",
        "file": f"noisy pictures clipped and rounded to their own bit depth, seed {options.seed}",
        "files": "noisy or restored pictures as they are in their files",
    }[facts["name"]]
    words = " PSNR in the hole: over the values that the noise replaced, which biharmonic alone is told."
    hole = words if facts["holes"] else ""
    return (
        f"{noise}; restored pictures clipped and rounded to the bit depth of the truth (floats as they are); "
        "PSNR over all pixels and channels, mean of the pictures' PSNRs; "
        f"SSIM with {facts['ssim']}.{hole} Classical methods are told the true RMS of each picture's noise, models are "
        "told nothing unless they ask."
    )


MEMORY_WORDS = (
    "Memory: by how much the resident memory of the process (on CUDA, torch's memory on the device) grows while a "
    "method works on the largest picture, which is left out of the speed where there are others; programs and weights "
    "are not counted."
)
"""How :mod:`denoiser.benchmark.memory` measures."""

BLIND_WORDS = (
    "no truth is known. Noise level: estimated from the picture, as by `denoiser estimate`, in 1/255 of full "
    "range (fine texture adds to low ones). Corr.: autocorrelation of what was removed, RMS over neighbours up to"
    " 2 pixels away; 0 is white. Edges: correlation of the local strength of what was removed with that of the "
    "result's edges; 0 is best, above it edges or texture were removed, below it noise was left there. Held out: "
    "every 16th pixel is replaced by the mean of its neighbours before denoising, and the result compared with "
    "its noisy value, RMS in 1/255 of full range; lower is better, the noise level is its floor; the noisy "
    "input's row is that of the neighbours' mean. It is valid for noise that is independent from pixel to pixel: "
    "correlated noise (from JPEG, demosaicing or resizing) can be predicted, and methods that keep it win. "
    "Classical methods are told the estimated level, models are told nothing unless they ask."
)
"""What the figures without a truth mean; :mod:`denoiser.benchmark.blind` computes them."""
