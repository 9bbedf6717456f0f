"""Estimates of noise as a table for people, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from denoiser.batch.names import shown
from denoiser.cli.console import to_stdout

if TYPE_CHECKING:
    from denoiser.batch.estimation import EstimateReport, FileEstimate, PageEstimate

COLUMNS = (
    *("source", "page", "channel", "sigma", "gain", "read", "horizontal", "vertical", "rolloff", "noise"),
    *("grid", "quality", "model", "reason", "failure"),
)
LEAST_WIDTH = 7
"""Characters of a file's name in one line: what 80 leave beside the widest figures."""
LEAST_CONSOLE = 80
"""Columns for which the table is made; narrower terminals break its lines."""
LARGE = 1000
"""Figures from here on are rounded to two digits."""
NAMES = {1: ("gray",), 3: ("red", "green", "blue")}


@to_stdout()
def show(report: EstimateReport) -> None:
    """A row for each page, in it a line for each channel; few columns, so that the table fits 80 characters."""
    table = Table(show_lines=True)
    for heading in ("file", "channel", "sigma", "gain", "read", "corr. h, v", "noise, model"):
        file = heading == "file"
        table.add_column(
            heading,
            justify="left" if file else "right",
            overflow="fold",
            no_wrap=not file,
            min_width=LEAST_WIDTH if file else None,
        )
    table.columns[1].justify = table.columns[-1].justify = "left"
    above = _common_folder([each.source for each in report.files])
    for each in report.files:
        place = each.source.relative_to(above) if above else each.source
        for page in each.pages:
            table.add_row(*(Text(cell) for cell in _cells(place, each, page)))
    console = Console()
    console.width = max(console.width, LEAST_CONSOLE)  # cut figures would be other figures
    console.print(table)
    console.print(Text("sigma and read in 1/255 of full range; variance = gain * signal + read^2;", style="dim"))
    console.print(Text("corr.: correlation of the noise of neighbours, horizontally and vertically", style="dim"))


def _common_folder(files: Sequence[Path]) -> Path | None:
    """The folder that all files lie in; None where there is none, as for relative names and absolute ones."""
    try:
        return Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:
        return None


def _cells(place: Path, file: FileEstimate, page: PageEstimate) -> list[str]:
    """A page's row; ``place`` is the file below the folder that holds all of them."""
    name = shown(place)
    channels = page.estimate.channels
    columns = (
        (_name(index, len(channels)) for index in range(len(channels))),
        (_figure(each.sigma, 2) for each in channels),
        (_figure(each.gain, 4) for each in channels),
        (_figure(each.read, 2) for each in channels),
        (f"{each.horizontal:.2f}, {each.vertical:.2f}" for each in channels),
        filter(None, (page.estimate.kind, _jpeg(page), page.advice.model)),
    )
    return [f"{name} #{page.page}" if file.count > 1 else name, *("\n".join(lines) for lines in columns)]


def _figure(value: float, digits: int) -> str:
    """A number that leaves room for the others, however large it is."""
    return f"{value:.{digits}f}" if abs(value) < LARGE else f"{value:.1e}"


def _jpeg(page: PageEstimate) -> str:
    """What the file's tables say, or the picture."""
    from denoiser.estimate.advice import GRID

    if page.estimate.quality is not None:
        return f"JPEG {page.estimate.quality}"
    return "JPEG grid" if page.estimate.grid > GRID else ""


def _name(index: int, count: int) -> str:
    return NAMES[count][index] if count in NAMES else str(index)


def comma_separated(report: EstimateReport) -> str:
    """A line for each channel of each page that was looked at, and for each file that failed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for file in report.files:
        writer.writerows(_lines(file))
    return text.getvalue().rstrip("\n")


def _lines(file: FileEstimate) -> Iterator[dict[str, Any]]:
    if file.failure:
        yield {"source": shown(file.source), "failure": file.failure}
    for page in file.pages:
        document = page.to_json()
        about = {key: document[key] for key in ("page", "grid", "quality", "model", "reason")}
        about |= {"source": shown(file.source), "noise": document["kind"]}
        channels = document["channels"]
        yield from ({**about, "channel": _name(i, len(channels)), **each} for i, each in enumerate(channels))
        if not channels:
            yield about
