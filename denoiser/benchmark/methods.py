"""What is compared: networks and classical methods behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.benchmark.options import DEFAULT_CLASSICAL, NONE, BenchmarkOptions
from denoiser.benchmark.pictures import Picture
from denoiser.errors import UnavailableError, UsageError
from denoiser.images.pixels import ValueRange

if TYPE_CHECKING:
    from denoiser.inference import Denoiser

SMALLEST = 16
"""Pixels: smaller pictures are mirrored to this size for classical methods, some of which cannot take them."""

Filter = Callable[[NDArray[np.float32], float], NDArray[Any]]
"""A classical method: (picture in units of the full range, noise level in the same units) -> picture."""


@dataclass(frozen=True)
class Method:
    """One row of the table, for every kind of noise.

    Attributes
    ----------
    name : str
    kind : str
        ``model`` or ``classical``.
    restore : callable
        (noisy picture, RMS of its noise in units of the full range) -> (H, W, C) in units of the full range.
    parameters, macs_per_pixel : number or None
        None for classical methods.
    weights : str
        SHA-256 of the weights file; empty for classical methods.
    where : str
        Device and precision.
    """

    name: str
    kind: str
    restore: Callable[[Picture, float], NDArray[Any]]
    parameters: int | None = None
    macs_per_pixel: float | None = None
    weights: str = ""
    where: str = "cpu"


def load(options: BenchmarkOptions) -> list[Method]:
    """The methods that the options name, classical ones first.

    Raises
    ------
    UnavailableError
        If a model, a device or ``bm3d`` is not there.
    UsageError
        If a name is given twice.
    """
    if options.paired and options.noisy is None:
        return []
    classical = () if NONE in options.classical else options.classical or DEFAULT_CLASSICAL
    methods = [_classical(name) for name in classical]
    methods += [] if NONE in options.models else _models(options)
    names = [method.name for method in methods]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{', '.join(sorted(twice))}: named more than once")
    for method in methods:  # what the first call imports and allocates is no part of a method's speed
        method.restore(Picture(np.zeros((SMALLEST, SMALLEST, 3), np.uint8), ValueRange(0, 255), 255), 0.1)
    return methods


def _models(options: BenchmarkOptions) -> list[Method]:
    from denoiser import weights
    from denoiser.inference import Denoiser, InferenceOptions

    found = []
    for name in options.models or tuple(weights.bundled()):
        path = weights.resolve(name)
        module, card = weights.load(name)
        model = Denoiser(module, card, InferenceOptions(device=options.device, precision=options.precision))
        facts = model.describe()
        found.append(
            Method(
                name,
                "model",
                _restorer(model),
                card.parameters,
                card.macs_per_pixel,
                weights.file_hash(path),
                f"{facts['device']}, {facts['precision']}",
            )
        )
    if not found:
        raise UnavailableError("no bundled weights were found; install the package again, or name a model")
    return found


def _restorer(model: Denoiser) -> Callable[[Picture, float], NDArray[Any]]:
    """A network as a method. It is told the container's range, as ``denoiser run`` tells it, and nothing of floats."""

    def restore(noisy: Picture, rms: float) -> NDArray[Any]:
        integers = noisy.stored.dtype.kind in "iu"
        sigma = rms * 255 if model.needs.takes_sigma else None
        white = noisy.range.white if integers else 1.0 if model.needs.takes_sigma else None
        black = noisy.range.black if integers else None
        restored = model.denoise(noisy.stored, white=white, black=black, sigma=sigma)
        return Picture(restored, noisy.range, noisy.depth).values

    return restore


def _classical(name: str) -> Method:
    if name == "bm3d" and util.find_spec("bm3d") is None:
        raise UnavailableError("bm3d is not installed: pip install bm3d (free for non-commercial use only)")
    method = FILTERS[name]

    def restore(noisy: Picture, rms: float) -> NDArray[Any]:
        return _apply(method, noisy.values.astype(np.float32), rms)

    return Method(name, "classical", restore)


def _apply(method: Filter, values: NDArray[np.float32], rms: float) -> NDArray[Any]:
    """Filter a picture of any size: three channels as colour, any other number one by one."""
    if rms == 0:  # nothing to remove, and most of the formulas divide by it
        return values
    height, width, channels = values.shape
    margin = ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)), (0, 0))
    padded = np.pad(values, margin, mode="symmetric")
    if channels == 3:
        return method(padded, rms)[:height, :width]
    parts = [method(np.ascontiguousarray(padded[:, :, i]), rms) for i in range(channels)]
    return np.stack(parts, axis=2)[:height, :width]


def _axis(x: NDArray[np.float32]) -> int | None:
    return 2 if x.ndim == 3 else None


def _median(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """3 x 3, per channel; its strength cannot be chosen."""
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(x, size=(3, 3, 1)[: x.ndim], mode="mirror"))


def _bilateral(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Spatial 1.8 pixels, range twice the noise: the optimum found by Zhang and Gunturk 2008, section II."""
    from skimage.restoration import denoise_bilateral

    # scikit-image divides the length of a colour difference by 3, where white noise makes it grow by sqrt(3).
    width = 2 * sigma / 3**0.5 if x.ndim == 3 else 2 * sigma
    return np.asarray(
        denoise_bilateral(x, sigma_color=width, sigma_spatial=1.8, mode="symmetric", channel_axis=_axis(x))
    )


def _tv(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Chambolle 2004, weight equal to the noise level."""
    from skimage.restoration import denoise_tv_chambolle

    return np.asarray(denoise_tv_chambolle(x, weight=sigma, channel_axis=_axis(x)))


def _wavelet(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """BayesShrink (Chang et al. 2000), soft thresholds."""
    from skimage.restoration import denoise_wavelet

    return np.asarray(
        denoise_wavelet(x, sigma=sigma, method="BayesShrink", mode="soft", rescale_sigma=True, channel_axis=_axis(x))
    )


def _nlm(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Buades et al. 2005 in the fast form of Darbon et al. 2008: 5 x 5 patches within 6 pixels, h = 0.6 sigma."""
    from skimage.restoration import denoise_nl_means

    return np.asarray(
        denoise_nl_means(x, patch_size=5, patch_distance=6, h=0.6 * sigma, sigma=sigma, channel_axis=_axis(x))
    )


def _bm3d(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Dabov et al. 2007, in the implementation of Mäkinen et al. 2020 with its own settings."""
    from bm3d import bm3d, bm3d_rgb

    return np.asarray(bm3d_rgb(x, sigma) if x.ndim == 3 else bm3d(x, sigma))


FILTERS: dict[str, Filter] = {
    "median": _median,
    "bilateral": _bilateral,
    "tv": _tv,
    "wavelet": _wavelet,
    "nlm": _nlm,
    "bm3d": _bm3d,
}
