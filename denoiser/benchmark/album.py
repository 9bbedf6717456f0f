"""The pictures of a report: small parts of each, as WebP, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoiser.benchmark.pictures import Picture
from denoiser.images import Header
from denoiser.images.conversion import seen

SIDES = (96, 256)
"""Pixels: the least and the largest side of the central part of a picture that is shown."""

BUDGET = 4_500_000
"""Characters of all pictures together, so that a page stays below 5 MB."""

PER_PIXEL = 0.4
"""Characters per pixel of one result and its share of the noisy picture and the truth; measured on the samples."""

QUALITY = 80
NOISY_QUALITY = 90
"""Of WebP. The page takes residuals from these pictures: in the noisy one the noise must survive."""


@dataclass(frozen=True)
class Shot:
    """One method's result on one noisy picture; pictures are data URIs, ``caption`` is what its figures say."""

    method: str
    image: str
    caption: str


@dataclass
class Case:
    """One noisy picture (none where only restored ones were given) and what became of it."""

    noise: str
    noisy: str = ""
    caption: str = ""
    shots: list[Shot] = field(default_factory=list)


@dataclass
class Sheet:
    """One picture: the truth, where it is known, and its cases."""

    name: str
    width: int
    height: int
    truth: str
    cases: list[Case] = field(default_factory=list)


class Album:
    """Collects sheets until the budget is spent; later pictures are measured, but not shown.

    Parameters
    ----------
    budget : int
        Characters; 0 for an album that keeps nothing.
    results : int
        How many are expected: the more, the smaller are the parts that are shown.

    Attributes
    ----------
    sheets : list of Sheet
    side : int
    """

    def __init__(self, budget: int, results: int) -> None:
        self.sheets: list[Sheet] = []
        self.left = budget
        self.side = int(np.clip((budget / PER_PIXEL / max(1, results)) ** 0.5, *SIDES))
        self.sheet: Sheet | None = None
        self.like: Header | None = None

    def begin(self, name: str, source: Picture, known: bool = True) -> None:
        """A new picture: the truth, where it is known, or the noisy one."""
        self.sheet = None
        if self.left > 0:
            self.like = source.like
            height, width = source.stored.shape[:2]
            truth = _uri(self._shown(source.values), QUALITY) if known else ""
            self.sheet = Sheet(name, min(width, self.side), min(height, self.side), truth)

    def add_noisy(self, noise: str, noisy: NDArray[Any] | None, caption: str) -> None:
        """A new case of the picture; ``noisy`` is None where there is none."""
        if self.sheet is not None:
            image = "" if noisy is None else _uri(self._shown(noisy), NOISY_QUALITY)
            self.sheet.cases.append(Case(noise, image, caption))

    def add_shot(self, method: str, restored: NDArray[Any], caption: str) -> None:
        """A result of the newest case."""
        if self.sheet is not None:
            self.sheet.cases[-1].shots.append(Shot(method, _uri(self._shown(restored), QUALITY), caption))

    def end(self) -> None:
        """The picture is whole: keep its sheet if there is room for it."""
        if self.sheet is None:
            return
        cost = len(self.sheet.truth) + sum(
            len(case.noisy) + sum(len(shot.image) for shot in case.shots) for case in self.sheet.cases
        )
        if cost <= self.left:
            self.sheets.append(self.sheet)
            self.left -= cost
        else:
            self.left = 0  # no smaller picture jumps the queue
        self.sheet = None

    def _shown(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The centre of values, (H, W, C) in units of the full range, in 8 bit for the screen."""
        assert self.like is not None
        top, left = (max(0, (length - self.side) // 2) for length in values.shape[:2])
        part = np.clip(values[top : top + self.side, left : left + self.side], 0, 1)
        return np.asarray(np.rint(seen(part, self.like) * 255), np.uint8)


def _uri(pixels: NDArray[np.uint8], quality: int) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
