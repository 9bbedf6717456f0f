"""Denoise pictures, one or a hundred thousand, without losing a bit of what the files hold.

The names below are the public interface; everything that needs torch is imported when it is first
used, so ``import denoiser`` is quick.

>>> import denoiser
>>> model = denoiser.load("unet")               # doctest: +SKIP
>>> clean = model.denoise(noisy)                # doctest: +SKIP
>>> noisy = denoiser.corrupt(clean, "stripes", seed=0)  # doctest: +SKIP
>>> report = denoiser.run(["in"], "out", denoiser.RunOptions())  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from denoiser.errors import (
    DenoiserError,
    ExitCode,
    InputError,
    LockedError,
    NothingToDoError,
    OutputError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from denoiser.batch import CorruptOptions, Report, RunOptions, corrupt, corrupt_files, run
    from denoiser.inference import AutoDenoiser, Denoiser
    from denoiser.training import TrainOptions, TrainResult, train

__version__ = "0.1.0"

__all__ = [
    "AutoDenoiser",
    "CorruptOptions",
    "Denoiser",
    "DenoiserError",
    "ExitCode",
    "InputError",
    "LockedError",
    "NothingToDoError",
    "OutputError",
    "Report",
    "RunOptions",
    "TrainOptions",
    "TrainResult",
    "UnavailableError",
    "UsageError",
    "__version__",
    "corrupt",
    "corrupt_files",
    "load",
    "run",
    "train",
]

_LAZY = {
    "AutoDenoiser": "denoiser.inference",
    "CorruptOptions": "denoiser.batch",
    "Denoiser": "denoiser.inference",
    "Report": "denoiser.batch",
    "RunOptions": "denoiser.batch",
    "corrupt": "denoiser.batch",
    "corrupt_files": "denoiser.batch",
    "run": "denoiser.batch",
    "TrainOptions": "denoiser.training",
    "TrainResult": "denoiser.training",
    "train": "denoiser.training",
}


@overload
def load(  # type: ignore[overload-overlap]  # "auto" is a str like any other name
    model: Literal["auto"],
    *,
    device: str = "auto",
    precision: str = "auto",
    tile: str | int = "auto",
    halo: str | int = "auto",
    batch: str | int = "auto",
    max_memory: int | None = None,
    ensemble: int = 1,
) -> AutoDenoiser: ...


@overload
def load(
    model: str | Path = "unet",
    *,
    device: str = "auto",
    precision: str = "auto",
    tile: str | int = "auto",
    halo: str | int = "auto",
    batch: str | int = "auto",
    max_memory: int | None = None,
    ensemble: int = 1,
) -> Denoiser: ...


def load(
    model: str | Path = "unet",
    *,
    device: str = "auto",
    precision: str = "auto",
    tile: str | int = "auto",
    halo: str | int = "auto",
    batch: str | int = "auto",
    max_memory: int | None = None,
    ensemble: int = 1,
) -> Denoiser | AutoDenoiser:
    """Load a model and put it on a device.

    Parameters
    ----------
    model : str or Path
        Name of a bundled model (``denoiser models list``), a ``.safetensors`` file made by
        ``denoiser train``, or ``auto``: each picture gets one of two bundled models, by its noise.
    device : str
        ``auto`` (the best present), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : str
        ``auto`` (the fastest that passes a self-check on this device), ``fp32``, ``bf16``, ``fp16``.
    tile, halo, batch : str or int
        As the options of ``denoiser run``.
    max_memory : int or None
        Budget in bytes; None takes half of what is free.
    ensemble : int
        1, 2, 4 or 8: the mean of so many results, of the picture turned and mirrored, which takes as many times as
        long and is a little better.

    Returns
    -------
    Denoiser or AutoDenoiser
        Its method ``denoise`` takes and returns NumPy arrays. The second for ``auto``.

    Raises
    ------
    UnavailableError
        If the model or the device is not there, or the weights are damaged.
    UsageError
        If an option has no meaning.
    """
    from denoiser import weights
    from denoiser.inference import AutoDenoiser, InferenceOptions, auto

    options = InferenceOptions(
        device=device,
        precision=precision,
        tile=tile,
        halo=halo,
        batch=batch,
        max_memory=max_memory,
        ensemble=ensemble,
    )
    name = str(model)
    networks = auto.load(name, options)
    return AutoDenoiser(networks) if name == weights.AUTO else networks[name]


if not TYPE_CHECKING:  # or every misspelt name would be of type Any

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
