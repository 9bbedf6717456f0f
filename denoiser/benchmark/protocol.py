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

from denoiser.benchmark.options import BenchmarkOptions
from denoiser.benchmark.pictures import Picture, as_in_a_file, crop_of
from denoiser.benchmark.result import Measured, Score
from denoiser.metrics import SSIM_WINDOW, mse, psnr_of_mse, ssim
from denoiser.noise import NumpyRandom, parse

LIBRARIES = ("torch", "numpy", "scikit-image", "scipy", "pillow")


def add_noise(truth: Picture, spec: str, name: str, options: BenchmarkOptions) -> Picture:
    """Corrupt a picture; the same every time, whatever else is measured beside it.

    Parameters
    ----------
    name : str
        Of the picture: with ``spec`` and the seed it decides about the random numbers.
    """
    digest = hashlib.sha256(f"{options.seed}\0{spec}\0{name}".encode("utf-8", "surrogateescape")).digest()
    random = NumpyRandom(np.random.default_rng(list(digest)))
    clean = truth.values.astype(np.float32)
    noisy = np.asarray(parse(spec).apply(clean[None], random))[0]
    if truth.depth is None or options.protocol == "literature":
        return Picture(noisy.astype(np.float32), truth.range, truth.depth)
    stored = np.rint(as_in_a_file(noisy, truth.depth) * truth.depth + truth.range.black)
    return Picture(stored.astype(truth.stored.dtype), truth.range, truth.depth)


def score(name: str, truth: Picture, estimate: NDArray[Any], seconds: float = 0.0) -> Score:
    """Compare a picture with the truth; both in units of the full range, (H, W, C)."""
    values, height, width = truth.values, *truth.stored.shape[:2]
    error = mse(values, estimate)
    large = min(height, width) >= SSIM_WINDOW
    return Score(
        picture=name,
        mse=error,
        psnr=psnr_of_mse(error) if error else None,
        ssim=ssim(values, np.asarray(estimate), 1.0) if large else None,
        megapixels=height * width / 1e6,
        seconds=seconds,
    )


def describe(options: BenchmarkOptions, pictures: Sequence[Measured], devices: Sequence[str]) -> dict[str, Any]:
    """The protocol as plain data, with a ``statement`` in words."""
    facts = {
        "name": "files" if options.paired else options.protocol,
        "pictures": len(pictures),
        "colours": _colours(pictures),
        "data_range": sorted({picture.data_range for picture in pictures}),
        "crop": crop_of(options),
        "seed": None if options.paired else options.seed,
        "ssim": "Gaussian window, sigma 1.5, 11 x 11, K1 0.01, K2 0.03, population covariance (scikit-image)",
        "interval": "95%, Student's t over pictures",
        "device": "; ".join(devices) or "cpu",
        "versions": {"denoiser": _own_version(), **{name: metadata.version(name) for name in LIBRARIES}},
        "python": platform.python_version(),
    }
    return {**facts, "statement": _statement(options, facts)}


def _own_version() -> str:
    from denoiser import __version__

    return __version__


def _colours(pictures: Sequence[Measured]) -> dict[str, int]:
    words = {1: "gray", 3: "colour"}
    return dict(Counter(words.get(picture.channels, f"{picture.channels} channels") for picture in pictures))


def _statement(options: BenchmarkOptions, facts: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count} {word}" for word, count in facts["colours"].items())
    source = "the samples of scikit-image" if options.clean is None else f"{options.clean.name or options.clean}"
    crop = f", the central {facts['crop']} x {facts['crop']} pixels at most" if facts["crop"] else ""
    ranges = ", ".join(f"{value:g}" for value in facts["data_range"])
    noise = {
        "literature": f"noise neither clipped nor rounded, seed {options.seed}",
        "file": f"noisy pictures clipped and rounded to their own bit depth, seed {options.seed}",
        "files": "noisy or restored pictures as they are in their files",
    }[facts["name"]]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Protocol {facts['name']!r}: {source} ({kinds}{crop}); data range {ranges}; {noise}; "
        "restored pictures clipped and rounded to the bit depth of the truth (floats as they are); "
        "PSNR over all pixels and channels, mean of the pictures' PSNRs; "
        f"SSIM with {facts['ssim']}; intervals {facts['interval']}. Classical methods are told the true RMS of each "
        f"picture's noise, models are told nothing unless they ask. Speed: wall time, one picture at a time, on "
        f"{facts['device']}. {versions}."
    )
