"""What a run looks like: ``curves.png`` and ``samples.png``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from denoiser.training.validate import Sample

NEED = "curves.png is left out, because matplotlib is not installed: pip install 'image-denoiser[train]'"
GAP = 8
"""Pixels between the pictures of the sheet."""
TITLE = 20
"""Pixels above each row for its text."""


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw_curves(metrics: Path, target: Path) -> None:
    """Loss and scores against the step, from ``metrics.jsonl``."""
    # The figure itself, not pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows: list[dict[str, Any]] = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    scores: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for protocol, levels in row.get("psnr", {}).items():
            for level, value in levels.items():
                scores.setdefault(f"{protocol} {level}", []).append((row["step"], value))
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*losses, strict=True), color="tab:blue", marker=".") if losses else None
    # A likelihood, as that of vdae, may go below 0.
    positive = all(loss > 0 for _, loss in losses)
    left.set(title="training loss", xlabel="step", yscale="log" if positive else "linear")
    for label, points in scores.items():
        right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    right.set(title="validation", xlabel="step", ylabel="dB")
    if scores:
        right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    temporary = target.with_name(f".{target.name}.tmp")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(target)


def draw_samples(samples: Sequence[Sample], target: Path) -> None:
    """A sheet with one row per sample: noisy, restored and, where it is known, clean."""
    rows = [[part for part in (s.noisy, s.restored, s.clean) if part is not None] for s in samples]
    heights = [TITLE + row[0].shape[0] + GAP for row in rows]
    width = max(sum(part.shape[1] + GAP for part in row) for row in rows) + GAP
    sheet = Image.new("RGB", (width, sum(heights) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for sample, row, height in zip(samples, rows, heights, strict=True):
        words = " | ".join(("noisy", "restored", "clean")[: len(row)])
        draw.text((GAP, top + 3), f"{sample.label}   ({words})", fill="black")
        left = GAP
        for part in row:
            sheet.paste(Image.fromarray(_bytes(part)), (left, top + TITLE))
            left += part.shape[1] + GAP
        top += height
    temporary = target.with_name(f".{target.name}.tmp")
    sheet.save(temporary, format="png")
    temporary.replace(target)


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)
