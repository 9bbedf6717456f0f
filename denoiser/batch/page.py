"""The report of a run as a file: its document as JSON, or one HTML page with pictures before and after."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiser import webpage
from denoiser.batch.names import shown
from denoiser.batch.report import FileResult, Report, Status

SUFFIXES = (".html", ".json")

PICTURES = 48
"""Files with views: at some 30 kB each they take 1.5 MB of the page."""

ROWS = 10_000
"""Files in the table: at some 250 bytes each they take 2.5 MB of the page. JSON has all."""

ORDER = (Status.FAILED, Status.LEFT, Status.DONE, Status.COPIED, Status.PLANNED, Status.SKIPPED)
"""How files are sorted: what needs a person comes first."""

UNITS = {"1/255": "in 1/255 of the full range", "stored": "of floats in their own units"}
"""Units of the noise in words."""

COLUMNS = ("file", "status", "MP", "seconds", "noise before", "noise after", "mean moved", "clipped", "remarks")


@dataclass(frozen=True)
class Row:
    """One file of the table; ``cells`` are (what is shown, what it is sorted by) of the numbers, in order."""

    name: str
    status: str
    cells: list[tuple[str, str]]
    remarks: str


@dataclass(frozen=True)
class Sheet:
    """One file with its views, as data URIs."""

    name: str
    before: str
    after: str
    caption: str


def check(path: Path) -> None:
    """Make sure before the work that a report can be written there; raises as :func:`denoiser.webpage.check`."""
    webpage.check(path, SUFFIXES)


def write(path: Path, report: Report) -> None:
    """Write a report, JSON or HTML by the suffix of its name.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if path.suffix.lower() == ".json":
        webpage.write(path, (json.dumps(report.to_json(), indent=1), "\n"))
    else:
        webpage.write(path, render(report))


def render(report: Report) -> Iterable[str]:
    """The page as HTML, piece by piece."""
    from denoiser import __version__

    files = sorted(report.files, key=lambda result: ORDER.index(result.status))
    folder = _common_folder(files)
    values = {
        "report": report,
        "version": __version__,
        "output": shown(report.output),
        "folder": shown(folder) if folder else "",
        "order": [str(status) for status in ORDER],
        "totals": report.totals(),
        "options": {key: value for key, value in report.options.items() if value not in (None, False, (), "", [])},
        "failures": [(_name(result, folder), result.reason) for result in report.failures[:ROWS]],
        "columns": COLUMNS,
        "rows": (_row(result, folder) for result in files[:ROWS]),
        "hidden": max(0, len(files) - ROWS),
        "sheets": [_sheet(result, folder) for result in files if result.views is not None],
        "units": [text for unit, text in UNITS.items() if any(result.noise.get("unit") == unit for result in files)],
    }
    return webpage.render(Path(__file__).parent, "page.html.j2", values)


def _common_folder(files: Sequence[FileResult]) -> Path | None:
    """The folder that holds all inputs, which names need not repeat; None where there is none."""
    try:
        common = os.path.commonpath([result.source.parent for result in files])
    except ValueError:  # no files, or on several drives, or absolute and relative
        return None
    return type(files[0].source)(common) if common else None


def _name(result: FileResult, folder: Path | None) -> str:
    return shown(result.source.relative_to(folder) if folder else result.source)


def _row(result: FileResult, folder: Path | None) -> Row:
    checks, noise = result.checks, result.noise
    moved = _difference(checks.get("mean_after"), checks.get("mean_before"))
    clipped = checks.get("clipped_after")
    numbers = [
        _number(result.megapixels or None, "{:.2f}"),
        _number(result.seconds or None, "{:.2f}"),
        _number(noise.get("before"), "{:.3g}"),
        _number(noise.get("after"), "{:.3g}"),
        _number(moved, "{:+.3g}"),
        _number(clipped, "{:.2%}"),
    ]
    chosen = f"{result.choice['model']}: {result.choice['reason']}" if result.choice else ""
    remarks = "; ".join(part for part in (result.reason, *result.warnings, chosen) if part)
    return Row(_name(result, folder), str(result.status), numbers, remarks)


def _number(value: float | None, form: str) -> tuple[str, str]:
    return ("", "") if value is None else (form.format(value), f"{value:.6g}")


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _sheet(result: FileResult, folder: Path | None) -> Sheet:
    assert result.views is not None
    before, after = (f"data:image/webp;base64,{base64.b64encode(view).decode('ascii')}" for view in result.views)
    caption = f"noise {_told(result.noise, 'before')} before, {_told(result.noise, 'after')} after"
    return Sheet(_name(result, folder), before, after, caption)


def _told(noise: Any, when: str) -> str:
    return "unknown" if noise.get(when) is None else f"{noise[when]:.3g}"
