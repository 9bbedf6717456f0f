"""Directories: plan, manifest, pipeline, report. Importing this room does not import torch.

What reads pictures is imported when it is first used, so that options are checked at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from denoiser.batch.estimate_options import EstimateOptions
from denoiser.batch.flow import Stop
from denoiser.batch.options import CorruptOptions, RunOptions
from denoiser.batch.report import FileResult, Report, Status

if TYPE_CHECKING:
    from denoiser.batch.corruption import corrupt, corrupt_files
    from denoiser.batch.estimation import EstimateReport, FileEstimate, estimate_files
    from denoiser.batch.items import Action, Destination, Item, Plan
    from denoiser.batch.plan import make_plan
    from denoiser.batch.prometheus import Textfile
    from denoiser.batch.runner import run

__all__ = [
    "Action",
    "CorruptOptions",
    "Destination",
    "EstimateOptions",
    "EstimateReport",
    "FileEstimate",
    "FileResult",
    "Item",
    "Plan",
    "Report",
    "RunOptions",
    "Status",
    "Stop",
    "Textfile",
    "corrupt",
    "corrupt_files",
    "estimate_files",
    "make_plan",
    "run",
]

_LAZY = {
    "Action": "denoiser.batch.items",
    "Destination": "denoiser.batch.items",
    "EstimateReport": "denoiser.batch.estimation",
    "FileEstimate": "denoiser.batch.estimation",
    "Item": "denoiser.batch.items",
    "Plan": "denoiser.batch.items",
    "Textfile": "denoiser.batch.prometheus",
    "corrupt": "denoiser.batch.corruption",
    "corrupt_files": "denoiser.batch.corruption",
    "estimate_files": "denoiser.batch.estimation",
    "make_plan": "denoiser.batch.plan",
    "run": "denoiser.batch.runner",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
