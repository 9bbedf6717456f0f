"""A contact sheet: some pictures of a job before and after, side by side, as one PNG."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from denoiser.batch import names
from denoiser.batch.options import CorruptOptions
from denoiser.batch.report import FileResult, Report, Status
from denoiser.batch.writing import output_error
from denoiser.errors import InputError, OutputError, UsageError
from denoiser.images import Header, open_source
from denoiser.images.conversion import seen
from denoiser.images.image import Pixels
from denoiser.images.pixels import ValueRange, value_range

MOST = 12
"""Pictures on a sheet."""
SIDE = 192
"""Side of each view in pixels. Small pictures are enlarged by a whole number; of large ones the middle is shown."""
MARGIN, LABEL = 8, 16


def write(path: Path, report: Report, options: CorruptOptions) -> None:
    """Write a sheet of the first files of a report that have an output.

    Parameters
    ----------
    path : Path
        A ``.png`` outside the output directory.

    Raises
    ------
    UsageError
        If the name is no PNG's or the sheet would lie among the outputs.
    OutputError
        If it cannot be written.
    """
    check(path, (), report.output)
    if path.resolve() in {result.source.resolve() for result in report.files}:
        raise UsageError(f"--preview {names.shown(path)}: would overwrite an input; give another name")
    made = (Status.DONE, Status.SKIPPED)
    chosen = [result for result in report.files if result.status in made and result.target][:MOST]
    rows = [(result.source.name, *_pair(result, options)) for result in chosen]
    if not rows:
        return
    width, height = 2 * SIDE + 3 * MARGIN, SIDE + LABEL + MARGIN
    across = min(2, len(rows))
    sheet = Image.new("RGB", (across * width, -(-len(rows) // across) * height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, before, after) in enumerate(rows):
        left, top = number % across * width + MARGIN, number // across * height + MARGIN
        draw.text((left, top), names.shown(name)[:60].encode("ascii", "replace").decode(), fill="black")
        sheet.paste(before, (left, top + LABEL))
        sheet.paste(after, (left + SIDE + MARGIN, top + LABEL))
    _save(sheet, path)


def check(path: Path, inputs: Iterable[Path | str], output: Path) -> None:
    """Refuse a sheet that is no PNG, that is a file of an input, or that a later job would take for an output."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--preview {names.shown(path)}: the contact sheet is a PNG; give a name that ends in .png")
    if path.exists() and any(path.resolve().is_relative_to(Path(each).resolve()) for each in inputs):
        raise UsageError(f"--preview {names.shown(path)}: is one of the inputs; give another name")
    if path.resolve().is_relative_to(output.resolve()):
        raise UsageError(
            f"--preview {names.shown(path)}: lies in the output directory, where it would be taken for a picture; give "
            "a place outside"
        )


def _save(sheet: Image.Image, path: Path) -> None:
    temporary = names.temporary(path, "preview")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(temporary, "PNG")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(str(output_error(path, error))) from error


def _pair(result: FileResult, options: CorruptOptions) -> tuple[Image.Image, Image.Image]:
    """The same part of input and output; gray where one cannot be read any more."""
    assert result.target is not None
    views = []
    values: ValueRange | None = None
    for path in (result.source, result.target):
        try:
            with open_source(path, options.max_memory) as source:
                page = source.header.pages[0]
                top = max(0, (page.height - SIDE) // 2)
                pixels = source.read(0, top, min(top + SIDE, page.height))
                colours = page.channels - page.alpha
        except InputError:
            views.append(Image.new("RGB", (SIDE, SIDE), "gray"))
            continue
        # Floats that were made from integers are in the units of the integers.
        declared = value_range(page.dtype, options.white, options.black)
        values = declared if values is None or not options.float else values
        views.append(_view(pixels[..., :colours], values, source.header))
    return views[0], views[1]


def _view(pixels: Pixels, values: ValueRange, like: Header) -> Image.Image:
    """The middle of a picture as 8-bit RGB, SIDE pixels a side."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    part = pixels[top : top + SIDE, left : left + SIDE].astype(np.float64)
    shown = seen(np.nan_to_num((part - values.black) / values.span).clip(0, 1), like)
    levels: NDArray[np.uint8] = np.rint(shown * 255).astype(np.uint8)
    rgb = levels.repeat(3 // levels.shape[2], axis=2)
    times = max(1, SIDE // max(rgb.shape[:2]))
    view = Image.new("RGB", (SIDE, SIDE), "white")
    view.paste(Image.fromarray(rgb.repeat(times, axis=0).repeat(times, axis=1)))
    return view
