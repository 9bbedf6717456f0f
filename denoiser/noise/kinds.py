"""The table of noise kinds, and the chain that applies several in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from denoiser.noise.base import Noise, Random
from denoiser.noise.camera import Camera
from denoiser.noise.compression import Jpeg
from denoiser.noise.defects import Blocks, Events, HotPixels, Mask, SaltPepper, Stripes
from denoiser.noise.grain import Banding, Correlated, Gaussian, GaussianBlind, Poisson, PoissonGaussian, Speckle

KINDS: dict[str, type[Noise]] = {
    "gaussian": Gaussian,
    "gaussian-blind": GaussianBlind,
    "poisson": Poisson,
    "poisson-gaussian": PoissonGaussian,
    "speckle": Speckle,
    "salt-pepper": SaltPepper,
    "stripes": Stripes,
    "blocks": Blocks,
    "mask": Mask,
    "events": Events,
    "correlated": Correlated,
    "banding": Banding,
    "hot-pixels": HotPixels,
    "jpeg": Jpeg,
    "camera": Camera,
}
"""Name in a noise specification -> class."""


@dataclass(frozen=True)
class Chain:
    """Several kinds, each applied to what the one before has made."""

    name: ClassVar[str] = "chain"
    kinds: tuple[Noise, ...]

    def apply(self, x: Any, random: Random) -> Any:
        for kind in self.kinds:
            x = kind.apply(x, random)
        return x


def parts(noise: Noise) -> tuple[Noise, ...]:
    """The kinds of a chain; any other noise alone."""
    return noise.kinds if isinstance(noise, Chain) else (noise,)
