"""The report: one HTML page that needs nothing but a browser, not even a network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from denoiser import webpage
from denoiser.benchmark.album import Album
from denoiser.benchmark.result import AnyRow, BlindRow, Result
from denoiser.benchmark.tables import Column, by_noise, columns, verdict

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 44
LETTER = 7.5
"""Width of a letter of a label, at most."""
"""Pixels of a chart and of its margins."""

RESIDUAL_GAIN = 4
"""How much a residual is enlarged about middle gray."""

SUFFIXES = (".html", ".htm")

COLOURS, DASHES = 7, 6
"""Line styles in the page's style sheet: colours of models, dashes of all else, which is gray."""

CHARTS = ("psnr", "ssim")


@dataclass(frozen=True)
class Line:
    """One method in a chart; ``style`` is its classes in the style sheet.

    ``points`` are (x, y, what a pointer is told), in pixels.
    """

    method: str
    style: str
    points: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """A figure against the noise; ticks are (position in pixels, label)."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str, str]]
    y_ticks: list[tuple[float, str]]


def check(path: Path) -> None:
    """Make sure before the work that a report can be written; raises as :func:`denoiser.webpage.check`."""
    webpage.check(path, SUFFIXES)


def write(path: Path, result: Result, album: Album) -> None:
    """Write the page, in one step.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    webpage.write(path, render(result, album))


def render(result: Result, album: Album) -> Iterable[str]:
    """The page as HTML, piece by piece."""
    first = album.sheets[0].cases if album.sheets else []
    shown = columns(result, "both")
    values = {
        "result": result,
        "charts": [] if result.blind else [chart for name in CHARTS if (chart := _chart(result, name)).lines],
        "headings": [
            shown[0].heading,
            "folder" if result.blind else "noise",
            *(column.heading for column in shown[1:]),
        ],
        "rows": [(row, [_cell(column, row) for column in shown[1:]]) for row in result.rows],
        "sheets": album.sheets,
        "data": [asdict(sheet) for sheet in album.sheets],
        "noises": [case.noise for case in first],
        "methods": list(dict.fromkeys(shot.method for case in first for shot in case.shots)),
        "chosen": _chosen(result),
        "verdicts": _verdicts(result),
        "gain": RESIDUAL_GAIN,
        "size": (WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM),
    }
    return webpage.render(Path(__file__).parent, "report.html.j2", values)


def _verdicts(result: Result) -> list[tuple[bool, str]]:
    gate = result.gate
    return [(each.worse, verdict(each, gate.max_drop)) for each in gate.comparisons] if gate is not None else []


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
    found = [(row, mean) for row in result.rows if (mean := row.mean(figure)) is not None]
    if not found:
        return Chart(title, [], [], [])
    noises = list(by_noise(result))
    positions = dict(zip(noises, _positions(noises), strict=True))
    low, high = min(mean.mean for _, mean in found), max(mean.mean for _, mean in found)
    margin = (high - low) * 0.06 or 0.5
    low, high = low - margin, high + margin

    def height(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    lines = [
        Line(
            method,
            style,
            [
                (positions[row.noise], height(mean.mean), f"{method}, {row.noise}: {mean.mean:.{digits}f}")
                for row, mean in found
                if row.method == method
            ],
        )
        for method, style in _styles(result).items()
    ]
    y_ticks = [(height(value), f"{value:g}") for value in _round_values(low, high)]
    return Chart(
        title, lines, [(positions[noise], noise, _anchor(positions[noise], noise)) for noise in noises], y_ticks
    )


def _styles(result: Result) -> dict[str, str]:
    """Method -> classes: a colour for what is compared, open marks where all are taken; dashed gray for the rest."""
    kinds = {row.method: row.kind for row in result.rows}
    coloured = [method for method, kind in kinds.items() if kind in ("model", "restored")]
    gray = [method for method in kinds if method not in coloured]
    styles = {method: f"s{index % COLOURS + 1}" for index, method in enumerate(coloured)}
    styles |= {method: styles[method] + " open" for method in coloured[COLOURS:]}
    styles |= {method: f"s0 d{index % DASHES + 1}" for index, method in enumerate(gray)}
    return {method: styles[method] for method in kinds}


def _round_values(low: float, high: float) -> list[float]:
    """Three to eight round numbers between two values, one step apart."""
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(power * part for part in (0.2, 0.5, 1.0, 2.0) if (high - low) / (power * part) < 8)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _anchor(x: float, label: str) -> str:
    """Which part of a label stands at its tick: an end of it where its middle would push it over the edge."""
    half = len(label) * LETTER / 2
    return "start" if x < half else "end" if x + half > WIDTH else "middle"


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
