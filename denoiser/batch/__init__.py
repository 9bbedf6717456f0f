"""Directories: plan, manifest, pipeline, report. Importing this room does not import torch."""

from __future__ import annotations

from denoiser.batch.flow import Stop
from denoiser.batch.items import Action, Destination, Item, Plan
from denoiser.batch.options import RunOptions
from denoiser.batch.plan import make_plan
from denoiser.batch.report import FileResult, Report, Status
from denoiser.batch.runner import run

__all__ = [
    "Action",
    "Destination",
    "FileResult",
    "Item",
    "Plan",
    "Report",
    "RunOptions",
    "Status",
    "Stop",
    "make_plan",
    "run",
]
