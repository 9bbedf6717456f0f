"""Kinds that replace some pixels and leave the others as they are: dropped, dead, covered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from denoiser.noise.base import Random, Range, parameter, whole


@dataclass(frozen=True)
class SaltPepper:
    """Impulse noise: a value is replaced with probability ``amount``, by 1 (salt) or by 0 (pepper).

    Each channel of a pixel is decided by itself, as in MATLAB's ``imnoise`` and scikit-image's ``random_noise``, whose
    default amount this is.
    """

    name: ClassVar[str] = "salt-pepper"
    amount: Range = parameter(Range(0.05, 0.05), "probability that a value is replaced", 0, 1)
    salt: Range = parameter(Range(0.5, 0.5), "share of salt among the replaced values", 0, 1)

    def apply(self, x: Any, random: Random) -> Any:
        amount, salt = self.amount.draw(x.shape[0], random), self.salt.draw(x.shape[0], random)
        u = random.uniform(tuple(x.shape))
        return random.where(u < amount * salt, 1.0, random.where(u < amount, 0.0, x))


@dataclass(frozen=True)
class HotPixels:
    """Stuck photosites: each value is replaced by ``value`` with probability ``share``; 0 makes dead pixels.

    Each channel of a pixel is decided by itself: on a sensor with a colour filter a site has one colour.
    """

    name: ClassVar[str] = "hot-pixels"
    share: Range = parameter(Range(0.001, 0.001), "probability that a value is stuck", 0, 1)
    value: Range = parameter(Range(1, 1), "what it is stuck at, in full range", 0, 1)

    def apply(self, x: Any, random: Random) -> Any:
        share, value = self.share.draw(x.shape[0], random), self.value.draw(x.shape[0], random)
        return random.where(random.uniform(tuple(x.shape)) < share, value, x)


@dataclass(frozen=True)
class Stripes:
    """Distinct rows, chosen uniformly without replacement, are set to one colour in all channels.

    The default, black lines one pixel thick over 10 of 28 rows, is that of the classic inpainting experiment on MNIST.
    They begin on multiples of ``thickness`` and may touch; the nearest whole number to ``share`` of these places is
    covered.
    """

    name: ClassVar[str] = "stripes"
    share: Range = parameter(Range(10 / 28, 10 / 28), "share of rows that are covered", 0, 1)
    thickness: int = parameter(1, "thickness of a stripe, in pixels", 1)
    colour: Range = parameter(Range(0, 0), "colour of the stripes, 0 black to 1 white", 0, 1)
    direction: str = parameter("rows", "what a stripe covers", words=("rows", "columns"))

    def apply(self, x: Any, random: Random) -> Any:
        count, height, width, _ = tuple(x.shape)
        share, colour = self.share.draw(count, random), self.colour.draw(count, random)
        length = height if self.direction == "rows" else width
        thickness = min(self.thickness, length)
        places = -(-length // thickness)
        # The order of random numbers is a random permutation: each picture covers its first few places.
        rank = random.uniform((count, places)).argsort().argsort()
        chosen = whole(share * places)
        covered = rank < (chosen if isinstance(chosen, float) else chosen.reshape(count, 1))
        lines = covered[:, np.arange(length) // thickness]
        shape = (count, length, 1, 1) if self.direction == "rows" else (count, 1, length, 1)
        return random.where(lines.reshape(shape), colour, x)


@dataclass(frozen=True)
class Blocks:
    """Squares are set to one value in all channels, their corners uniform over all places that hold a whole square.

    The default, one square of value 0.5 and 10 of 28 pixels a side, is that of the classic inpainting experiment on
    MNIST. ``side`` is a share of the shorter side of the picture.
    """

    name: ClassVar[str] = "blocks"
    number: int = parameter(1, "number of squares, which may overlap", 0, 10_000)
    side: Range = parameter(Range(10 / 28, 10 / 28), "side of a square, as a share of the picture's shorter side", 0, 1)
    value: Range = parameter(Range(0.5, 0.5), "value of the squares, in full range", 0, 1)

    def apply(self, x: Any, random: Random) -> Any:
        count, height, width, _ = tuple(x.shape)
        side = whole(self.side.draw(count, random) * min(height, width))
        value = self.value.draw(count, random)
        row = random.array(np.arange(height, dtype=np.float32).reshape(1, height, 1, 1))
        column = random.array(np.arange(width, dtype=np.float32).reshape(1, 1, width, 1))
        for _ in range(self.number):
            top = random.uniform((count, 1, 1, 1)) * (height - side + 1) // 1
            left = random.uniform((count, 1, 1, 1)) * (width - side + 1) // 1
            inside = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
            x = random.where(inside, value, x)
        return x


@dataclass(frozen=True)
class Mask:
    """Whole pixels are dropped, set to 0 in all channels, with probability p.

    With ``scale=yes`` the survivors are multiplied by 1 / (1 - p), which keeps the mean: that is dropout on the input,
    as in the classic masking autoencoder, whose p this is.
    """

    name: ClassVar[str] = "mask"
    p: Range = parameter(Range(0.3, 0.3), "probability that a pixel is dropped", 0, 0.999)
    scale: str = parameter("no", "whether survivors are multiplied by 1 / (1 - p)", words=("no", "yes"))

    def apply(self, x: Any, random: Random) -> Any:
        count, height, width, _ = tuple(x.shape)
        p = self.p.draw(count, random)
        kept = random.uniform((count, height, width, 1)) >= p
        return random.where(kept, x / (1 - p) if self.scale == "yes" else x, 0 * x)


@dataclass(frozen=True)
class Events:
    """Errors of an event camera, on frames whose pixels are -1, 0 or +1, here 0, 0.5 and 1 of full range.

    A pixel without an event (nearest to 0.5) gets one with probability ``spurious``, positive with probability
    ``positive``; an event is lost (becomes 0.5) with probability ``missing``. The defaults are the rates between the
    noisy and the clean frames of the N-MNIST test set of the classic event denoising experiment. Integers that are
    stored as -1, 0, 1 need a black of -1 and a white of 1.
    """

    name: ClassVar[str] = "events"
    spurious: Range = parameter(Range(0.0223, 0.0223), "probability of an event where there is none", 0, 1)
    positive: Range = parameter(Range(0.91, 0.91), "share of positive among the spurious events", 0, 1)
    missing: Range = parameter(Range(0.008, 0.008), "probability that an event is lost", 0, 1)

    def apply(self, x: Any, random: Random) -> Any:
        count = x.shape[0]
        spurious, positive = self.spurious.draw(count, random), self.positive.draw(count, random)
        missing = self.missing.draw(count, random)
        u = random.uniform(tuple(x.shape))
        empty = (x > 0.25) & (x < 0.75)
        fired = empty & (u < spurious)
        lost = ~empty & (u < missing)
        sign = random.where(u < spurious * positive, 1.0, 0 * x)
        return random.where(fired, sign, random.where(lost, 0.5, x))
