"""What both passes over the pictures share: with the truth (``core``) and without it (``blind``)."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from denoiser.benchmark import memory
from denoiser.benchmark.album import Album
from denoiser.benchmark.methods import Method
from denoiser.benchmark.options import BenchmarkOptions
from denoiser.benchmark.pictures import Picture, Subject, as_in_a_file, crop_of
from denoiser.benchmark.result import Measured, Timed
from denoiser.noise.sidecar import Told
from denoiser.progress import Progress

INPUT = "noisy input"

Key = tuple[str, str]
"""(noise, method): what a row is."""


@dataclass(frozen=True)
class Found:
    """All scores of one picture, and whether its noise looks correlated, which is looked at without the truth alone."""

    measured: Measured
    scores: dict[Key, Timed]
    correlated: bool = False


@dataclass(frozen=True)
class Job:
    """What is done with every picture.

    Attributes
    ----------
    options : BenchmarkOptions
    methods : list of Method
    album : Album
    watched : str
        Name of the picture during which memory is measured.
    label : str
        What stands in the place of a noise specification where pictures come from files.
    told : Told
        What ``corruption.json`` says of the noisy files.
    """

    options: BenchmarkOptions
    methods: list[Method]
    album: Album
    watched: str
    label: str
    told: Told

    def restore(self, name: str, method: Method, noisy: Picture, rms: float) -> tuple[NDArray[Any], dict[str, Any]]:
        """Restore one picture.

        Returns
        -------
        values : ndarray
            (H, W, C) in units of the full range, as a file would hold them.
        cost : dict
            ``seconds`` and ``memory`` of a score.
        """

        def work() -> tuple[NDArray[Any], float]:
            start = time.perf_counter()
            values = method.restore(noisy, rms)
            return values, time.perf_counter() - start

        grown = None
        if name == self.watched:
            (values, seconds), grown = memory.watch(work, method.where)
        else:
            values, seconds = work()
        return as_in_a_file(values, noisy.depth), {"seconds": seconds, "memory": grown}


def largest(subjects: list[Subject], options: BenchmarkOptions) -> str:
    """The name of the picture of which most is measured."""
    return max(subjects, key=lambda subject: megapixels_of(subject, options)).name if subjects else ""


def megapixels_of(subject: Subject, options: BenchmarkOptions) -> float:
    """How much of a picture is measured."""
    height, width = size_of(subject, options)
    return height * width / 1e6


def size_of(subject: Subject, options: BenchmarkOptions) -> tuple[int, int]:
    """Height and width of what is measured of a picture."""
    page, crop = subject.source.page, crop_of(options) or sys.maxsize
    return min(page.height, crop), min(page.width, crop)


class Steps:
    """Tells the progress of one picture in equal shares, one per method and noise, and what is left at the end."""

    def __init__(self, progress: Progress, megapixels: float, steps: int) -> None:
        self.progress = progress
        self.share = megapixels / max(1, steps)
        self.left = megapixels

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.progress.advance(1, self.left)

    def done(self) -> None:
        self.progress.advance(0, self.share)
        self.left -= self.share
