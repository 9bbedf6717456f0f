"""How good a network is on pictures that it was not trained on.

Where the truth is known the score is PSNR: in the two protocols of the benchmark with Gaussian noise of three
strengths, which stands for every kind of grain, and with the specifications of other kinds that are trained; or on
the noisy partners.
Where nobody knows the truth it is how well the network's own objective is met, in dB as well.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from denoiser.metrics import psnr
from denoiser.models import Network
from denoiser.noise import PROTOCOLS, Noise, NumpyRandom, noisy_version, parse
from denoiser.training.data import TorchRandom
from denoiser.training.folder import Picture
from denoiser.training.objectives import Objective

SIGMAS = (15, 25, 50)
GRAINS = {"gaussian", "gaussian-blind", "poisson", "poisson-gaussian"}
"""Kinds that Gaussian noise stands for."""
LARGEST = 512
"""Side of the middle of a picture that is looked at, in pixels: it goes through the network in one piece."""
SAMPLE = 192
"""Side of the middle of a picture that is shown."""
MOST = 100.0
"""dB that a picture counts at most: one that equals its truth, as empty pages do, would make every mean infinite."""
UNSEEN_BATCHES = 8
"""Batches that judge where nobody knows the truth; they are the same every time."""

Scores = dict[str, dict[str, float]]
"""Protocol -> {kind or level of noise: dB}."""


DIM, BRIGHT = 0.3, 99.9
"""A sample whose values, up to this percentile, stay below this part of the range is drawn brighter."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture to look at; values are (H, W, 3) in [0, 1]."""

    label: str
    noisy: NDArray[np.float32] = field(repr=False)
    restored: NDArray[np.float32] = field(repr=False)
    clean: NDArray[np.float32] | None = field(repr=False, default=None)


class Validation(Protocol):
    """A set of pictures, and a way to judge by them."""

    is_psnr: bool
    """Whether the scores are PSNR against the truth."""
    measure_id: str
    """Differs where scores cannot be compared: a hash of the pictures and of how they are judged."""

    def measure(self, module: Network, device: torch.device, dtype: torch.dtype) -> tuple[Scores, list[Sample]]:
        """Scores in dB, and a few pictures to look at."""
        ...


@dataclass(frozen=True, eq=False)
class _Example:
    """A noisy picture and its truth, (H, W, 3) float32 in units of the value range."""

    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    white: float
    step: float


class _AgainstTruth:
    """Mean PSNR over pictures for each protocol and kind of noise."""

    is_psnr = True

    def examples(self) -> Iterator[tuple[str, str, list[_Example]]]:
        """Protocol, label and pictures, one group after the other."""
        raise NotImplementedError

    def measure(self, module: Network, device: torch.device, dtype: torch.dtype) -> tuple[Scores, list[Sample]]:
        scores: Scores = {}
        samples = []
        for number, (protocol, label, examples) in enumerate(self.examples()):
            values = []
            for index, example in enumerate(examples):
                estimate = restore(module, example.noisy, example.white, device, dtype)
                if example.step:  # floats may lie beyond black and white
                    estimate = estimate.clip(-1.0 if _goes_below(example.clean) else 0.0, 1)
                    estimate = np.rint(estimate / example.step) * np.float32(example.step)
                values.append(min(psnr(example.clean, estimate, 1.0), MOST))
                if index == number % len(examples):
                    title = f"{protocol} {label}: {values[-1]:.2f} dB"
                    samples.append(Sample(title, *_shown(example.noisy, estimate, example.clean)))
            scores.setdefault(protocol, {})[label] = round(mean(values), 4)
        return scores, samples


class Synthetic(_AgainstTruth):
    """Clean pictures with noise that is the same every time.

    Parameters
    ----------
    pictures : sequence of Picture
    specs : sequence of str
        The mixture that is trained. Gaussian noise of :data:`SIGMAS` stands for all kinds of grain in it.
    """

    def __init__(self, pictures: Sequence[Picture], specs: Sequence[str]) -> None:
        self.pictures = pictures
        kinds = {spec.partition("@")[0]: parse(spec.partition("@")[0]) for spec in specs}
        self.others: dict[str, Noise] = {spec: kind for spec, kind in kinds.items() if kind.name not in GRAINS}
        grain = len(self.others) < len(kinds)
        self.levels = (*(map(str, SIGMAS) if grain else ()), *self.others)
        self.measure_id = _hash(pictures, "synthetic", *self.levels)

    def examples(self) -> Iterator[tuple[str, str, list[_Example]]]:
        for protocol in PROTOCOLS:
            for level in self.levels:
                yield (
                    protocol,
                    level,
                    [self._example(picture, protocol, level, i) for i, picture in enumerate(self.pictures)],
                )

    def _example(self, picture: Picture, protocol: str, level: str, index: int) -> _Example:
        clean = _middle(picture.values, LARGEST)
        clips = protocol == "file" and not _goes_below(clean)
        noisy: NDArray[Any]
        if level in self.others:
            channels = clean[None, :, :, : picture.pixels.shape[2]]
            random = NumpyRandom(np.random.default_rng([len(level), index]))
            noisy = self.others[level].apply(channels.copy(), random)[0]
            noisy = np.rint(noisy.clip(0, 1) * 255) / 255 if clips else noisy
        else:
            levels = clean[:, :, : picture.pixels.shape[2]] * np.float32(255)
            kind = "file" if clips else "literature"
            noisy = noisy_version(levels, int(level), kind, index)  # type: ignore[arg-type]  # any numbers will do
            noisy = noisy / np.float32(255) if clips else noisy
        noisy = np.broadcast_to(noisy, clean.shape).astype(np.float32)
        return _Example(noisy, clean, float(clips), picture.step)


def _goes_below(clean: NDArray[np.float32]) -> bool:
    """Whether a picture has values below black, as signed numbers have: they do not clip there."""
    return bool(clean.min() < 0)


class Pairs(_AgainstTruth):
    """Noisy pictures and the clean ones that belong to them."""

    def __init__(self, noisy: Sequence[Picture], clean: Sequence[Picture]) -> None:
        self.pictures = list(zip(noisy, clean, strict=True))
        self.measure_id = _hash([*noisy, *clean], "pairs")

    def examples(self) -> Iterator[tuple[str, str, list[_Example]]]:
        pairs = [
            _Example(_middle(noisy.values, LARGEST), _middle(clean.values, LARGEST), noisy.white, clean.step)
            for noisy, clean in self.pictures
        ]
        yield "pairs", "all", pairs


class Unseen:
    """Noisy pictures without truth: how well what is hidden is predicted, as 20 log10(1 / distance).

    Parameters
    ----------
    objective : Objective
        Over the pictures held out.
    pictures : sequence of Picture
        The same, to look at.
    name : str
        Of the objective.
    batch, size : int
        Crops per batch, and their side.
    """

    is_psnr = False

    def __init__(self, objective: Objective, pictures: Sequence[Picture], name: str, batch: int, size: int) -> None:
        self.objective = objective
        self.pictures = pictures
        self.name = name
        self.batch = batch
        self.size = size
        self.measure_id = _hash(pictures, name, batch, size)

    @torch.inference_mode()
    def measure(self, module: Network, device: torch.device, dtype: torch.dtype) -> tuple[Scores, list[Sample]]:
        distances = []
        for index in range(UNSEEN_BATCHES):
            random = TorchRandom(torch.Generator(device).manual_seed(index))
            batch = self.objective.draw(self.batch, self.size, np.random.default_rng(index), random)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                distances.append(float(self.objective.distance(module, batch)))
        samples = []
        for picture in self.pictures[:6]:
            noisy = _middle(picture.values, SAMPLE)
            restored = restore(module, noisy, picture.white, device, dtype)
            samples.append(Sample("noisy alone", *_shown(noisy, restored)))
        return {"prediction": {self.name: round(-20 * math.log10(mean(distances)), 4)}}, samples


@torch.inference_mode()
def restore(
    module: Network, noisy: NDArray[np.float32], white: float, device: torch.device, dtype: torch.dtype
) -> NDArray[np.float32]:
    """Denoise one picture in one piece; (H, W, 3) float32 in and out."""
    x = torch.tensor(np.ascontiguousarray(noisy), device=device).permute(2, 0, 1)[None]  # (1, 3, H, W)
    height, width = x.shape[2:]
    multiple = module.needs.multiple_of
    padding = (0, -width % multiple, 0, -height % multiple)
    half = dtype != torch.float32 and width > multiple  # see Denoiser: narrow pictures need fp32
    with torch.autocast(device.type, dtype, enabled=half):
        told = torch.full((1, 1, 1, 1), white, device=device)
        residual = module(F.pad(x, padding, mode="replicate"), told)[:, :, :height, :width]
    estimate: NDArray[np.float32] = (x - residual.float())[0].permute(1, 2, 0).cpu().numpy()
    return estimate


def score(result: Scores) -> float:
    """One number to choose a checkpoint by: the mean over protocols and noise levels, in dB."""
    return mean(value for row in result.values() for value in row.values())


def _hash(pictures: Sequence[Picture], *how: object) -> str:
    found = hashlib.blake2b(repr(how).encode(), digest_size=16)
    for picture in pictures:
        found.update(repr((picture.pixels.shape, picture.scale, picture.step, picture.white)).encode())
        found.update(np.ascontiguousarray(picture.pixels).data)
    return found.hexdigest()


def _middle(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    top, left = (max(0, (length - side) // 2) for length in values.shape[:2])
    return values[top : top + side, left : left + side]


def _shown(noisy: NDArray[np.float32], *others: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The middles of pictures as they are drawn: all brighter where the noisy one would be all but black."""
    middles = [_middle(values, SAMPLE) for values in (noisy, *others)]
    bright = float(np.percentile(middles[0], BRIGHT))
    scale = np.float32(1 / bright if 0 < bright < DIM else 1)
    return [(values * scale).clip(0, 1) for values in middles]
