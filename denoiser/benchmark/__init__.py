"""Numbers that can be compared: models and classical methods on the same pictures, noise and protocol.

``benchmark(BenchmarkOptions(...))`` is the door. Inside: ``pictures`` (which, and their pixels), ``protocol`` (noise
and scores), ``methods`` (what is compared), ``core`` (the pass over the pictures), ``result`` (rows and the document),
``gate`` (comparison with an earlier result), ``tables`` (text), ``report`` and ``album`` (the HTML page). What needs
torch or scikit-image is imported late.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoiser.benchmark.options import BenchmarkOptions

if TYPE_CHECKING:
    from denoiser.benchmark.core import benchmark
    from denoiser.benchmark.result import Result

__all__ = ["BenchmarkOptions", "Result", "benchmark"]

_LAZY = {"Result": "denoiser.benchmark.result", "benchmark": "denoiser.benchmark.core"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
