"""What is compared: networks and classical methods behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoiser.benchmark import filters
from denoiser.benchmark.holes import makes_holes
from denoiser.benchmark.options import BIHARMONIC, DEFAULT_CLASSICAL, NONE, BenchmarkOptions
from denoiser.benchmark.pictures import Picture
from denoiser.errors import UnavailableError, UsageError
from denoiser.images.pixels import ValueRange

if TYPE_CHECKING:
    from denoiser.inference import AutoDenoiser, Denoiser


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
    fills : bool
        Whether it fills the holes that it is told, and is left out where the noise makes none.
    """

    name: str
    kind: str
    restore: Callable[[Picture, float], NDArray[Any]]
    parameters: int | None = None
    macs_per_pixel: float | None = None
    weights: str = ""
    where: str = "cpu"
    fills: bool = False


def load(options: BenchmarkOptions) -> list[Method]:
    """The methods that the options name, classical ones first.

    Raises
    ------
    UnavailableError
        If a model, a device, ``bm3d`` or OpenCV is not there.
    UsageError
        If a name is given twice.
    """
    if options.paired and options.noisy is None:
        return []
    classical = () if NONE in options.classical else options.classical or _default_classical(options)
    methods = [_classical(name) for name in classical]
    methods += [] if NONE in options.models else _models(options)
    names = [method.name for method in methods]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{', '.join(sorted(twice))}: named more than once")
    for method in methods:  # what the first call imports and allocates is no part of a method's speed
        method.restore(_first(options), 0.1)
    return methods


def _first(options: BenchmarkOptions) -> Picture:
    """A black picture with holes, of a type whose range the options do not speak of."""
    hole = np.eye(filters.SMALLEST, dtype=bool)[:, :, None]
    shape = (filters.SMALLEST, filters.SMALLEST, 3)
    if options.white is None and options.black is None:
        return Picture(np.zeros(shape, np.uint8), ValueRange(0, 255), 255, hole)
    return Picture(np.zeros(shape, np.float32), ValueRange(0, 1), None, hole)


def _default_classical(options: BenchmarkOptions) -> tuple[str, ...]:
    """Those that every installation has, OpenCV's where it is there, and one that fills holes where there are any."""
    opencv = ("opencv",) if util.find_spec("cv2") is not None else ()
    return (*DEFAULT_CLASSICAL, *opencv, *((BIHARMONIC,) if any(map(makes_holes, options.specs)) else ()))


def _models(options: BenchmarkOptions) -> list[Method]:
    from denoiser import weights
    from denoiser.inference import AutoDenoiser, InferenceOptions, auto

    inference = InferenceOptions(options.device, options.precision, ensemble=options.ensemble)
    found = []
    for name in options.models or tuple(weights.bundled()):
        networks = auto.load(name, inference)
        cards = [network.card for network in networks.values() if network.card is not None]
        model = AutoDenoiser(networks) if name == weights.AUTO else networks[name]
        where = dict.fromkeys("{device}, {precision}".format(**network.describe()) for network in networks.values())
        found.append(
            Method(
                name,
                "model",
                _restorer(model, networks.values(), options),
                sum(card.parameters for card in cards),
                max(card.macs_per_pixel for card in cards) * options.ensemble,
                weights.model_hash(name),
                "; ".join(where),
            )
        )
    if not found:
        raise UnavailableError("no bundled weights were found; install the package again, or name a model")
    return found


def _restorer(
    model: Denoiser | AutoDenoiser, networks: Collection[Denoiser], options: BenchmarkOptions
) -> Callable[[Picture, float], NDArray[Any]]:
    """A model as a method. It is told what the user declares, as in a run, and the range of floats if it asks."""
    from denoiser.inference import AutoDenoiser

    takes_sigma = any(network.needs.takes_sigma for network in networks)
    asks = takes_sigma or any(network.needs_range for network in networks)

    def restore(noisy: Picture, rms: float) -> NDArray[Any]:
        integers = noisy.stored.dtype.kind in "iu"
        sigma = rms * 255 if takes_sigma else None
        white, black = (options.white, options.black) if integers else (1.0 if asks else None, None)
        # As one page of a stack: many channels by themselves may as well be pictures.
        stack, network = noisy.stored[None], model
        if isinstance(model, AutoDenoiser) and not integers and noisy.depth is not None:
            network = model.networks[model.choose(stack, 1.0).model]  # as for the file whose noise was not clipped
        restored = network.denoise(stack, white=white, black=black, sigma=sigma)[0]
        return Picture(restored, noisy.range, noisy.depth).values

    return restore


NEEDED = {
    "bm3d": ("bm3d", "pip install bm3d (free for non-commercial use only)"),
    "opencv": ("cv2", "pip install opencv-python-headless"),
}
"""Classical method -> the package that it needs, which is no dependency, and how to get it."""


def _classical(name: str) -> Method:
    if name in NEEDED and util.find_spec(NEEDED[name][0]) is None:
        raise UnavailableError(f"{name} is not installed: {NEEDED[name][1]}")
    if name == BIHARMONIC:
        return Method(name, "classical", _fill, fills=True)
    method = filters.FILTERS[name]

    def restore(noisy: Picture, rms: float) -> NDArray[Any]:
        return filters.apply(method, noisy.values.astype(np.float32), rms)

    return Method(name, "classical", restore)


def _fill(noisy: Picture, rms: float) -> NDArray[Any]:
    assert noisy.hole is not None  # that of a method which fills
    return filters.fill(noisy.values, np.broadcast_to(noisy.hole, noisy.stored.shape))
