"""The report: one HTML page that needs nothing but a browser, not even a network."""

from __future__ import annotations

import contextlib
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from denoiser.benchmark.album import RESIDUAL_GAIN, Album
from denoiser.benchmark.result import AnyRow, BlindRow, Result
from denoiser.benchmark.tables import Column, by_noise, columns, verdict
from denoiser.errors import OutputError, UsageError

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 44
"""Pixels of a chart and of its margins."""

COLOURS = 8
"""Line styles in the page's style sheet."""

CHARTS = ("psnr", "ssim")


@dataclass(frozen=True)
class Line:
    """One method in a chart, with open marks where all styles are taken.

    ``points`` are (x, y, what a pointer is told), in pixels.
    """

    method: str
    style: int
    open: bool
    points: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """A figure against the noise; ticks are (position in pixels, label)."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def check(path: Path) -> None:
    """Make sure before the work that a report can be written.

    Raises
    ------
    UsageError, OutputError
        If the path is a folder, or its folder cannot be made.
    """
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name the report's file, for example {path / 'report.html'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: its folder cannot be made ({error.strerror})") from error


def write(path: Path, result: Result, album: Album) -> None:
    """Write the page, in one step.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(render(result, album), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: the report cannot be written ({error.strerror})") from error


def render(result: Result, album: Album) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    first = album.sheets[0].cases if album.sheets else []
    shown = columns(result, "both")
    return environment.get_template("report.html.j2").render(
        result=result,
        charts=[] if result.blind else [chart for name in CHARTS if (chart := _chart(result, name)).lines],
        headings=[shown[0].heading, "noise", *(column.heading for column in shown[1:])],
        rows=[(row, [_cell(column, row) for column in shown[1:]]) for row in result.rows],
        sheets=album.sheets,
        data=[asdict(sheet) for sheet in album.sheets],
        noises=[case.noise for case in first],
        methods=list(dict.fromkeys(shot.method for case in first for shot in case.shots)),
        chosen=_chosen(result),
        verdicts=[(each.worse, verdict(each, result.gate.max_drop)) for each in result.gate.comparisons]
        if result.gate is not None
        else [],
        gain=RESIDUAL_GAIN,
        size=(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM),
    )


def _cell(column: Column, row: AnyRow) -> tuple[str, str]:
    """What a cell says, and the number to sort by, as JavaScript reads it."""
    value = column.value(row)
    number = "" if value is None else "Infinity" if math.isinf(value) else str(value)
    return column.text(row).replace("inf", "∞"), number


def _chosen(result: Result) -> dict[str, Any]:
    """What the page shows first: the middle noise, and the method that is best there, a model where there is one."""
    groups = by_noise(result)
    if not groups:
        return {"noise": "", "method": ""}
    noise = list(groups)[len(groups) // 2]
    rows = [row for row in groups[noise] if row.kind != "input"]
    rows = [row for row in rows if row.kind in ("model", "restored")] or rows
    best = max(rows, key=_merit, default=None)
    return {"noise": noise, "method": best.method if best is not None else ""}


def _merit(row: AnyRow) -> float:
    """The larger, the better; a picture equal to the truth has no PSNR."""
    if isinstance(row, BlindRow):
        held_out = row.mean("held_out")
        return -held_out.mean if held_out is not None else -math.inf
    return row.psnr.mean if row.psnr is not None else math.inf


def _chart(result: Result, figure: str) -> Chart:
    """PSNR or SSIM against the noise; one mark per row, joined where the noise has levels."""
    title, digits = ("PSNR (dB)", 2) if figure == "psnr" else ("SSIM", 3)
    noises = list(by_noise(result))
    positions = dict(zip(noises, _positions(noises), strict=True))
    found = [(row, mean) for row in result.rows if (mean := row.mean(figure)) is not None]
    if not found:
        return Chart(title, [], [], [])
    low, high = min(mean.mean for _, mean in found), max(mean.mean for _, mean in found)
    margin = (high - low) * 0.06 or 0.5
    low, high = low - margin, high + margin

    def height(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    methods = list(dict.fromkeys(row.method for row in result.rows))
    lines = [
        Line(
            method,
            index % COLOURS,
            index >= COLOURS,
            [
                (positions[row.noise], height(mean.mean), f"{method}, {row.noise}: {mean.mean:.{digits}f}")
                for row, mean in found
                if row.method == method
            ],
        )
        for index, method in enumerate(methods)
    ]
    y_ticks = [(height(value), f"{value:g}") for value in _round_values(low, high)]
    return Chart(title, lines, [(positions[noise], noise) for noise in noises], y_ticks)


def _round_values(low: float, high: float) -> list[float]:
    """Three to eight round numbers between two values, one step apart."""
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(power * part for part in (0.2, 0.5, 1.0, 2.0) if (high - low) / (power * part) < 8)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _positions(noises: list[str]) -> list[float]:
    """Where each kind of noise stands: by its level where all are of one kind, else side by side."""
    matches = [re.fullmatch(r"([\w-]+):(\d+(?:\.\d+)?)", noise) for noise in noises]
    levels = [float(match[2]) for match in matches if match is not None]
    kinds = {match[1] for match in matches if match is not None}
    if len(levels) < len(noises) or len(kinds) != 1 or len(set(levels)) < 2:
        levels = [float(index) for index in range(len(noises))]
    least, span = min(levels), (max(levels) - min(levels)) or 1.0
    inner = WIDTH - LEFT - RIGHT - 80  # room for the labels of the outermost ticks
    return [round(LEFT + 40 + (level - least) / span * inner, 1) for level in levels]
