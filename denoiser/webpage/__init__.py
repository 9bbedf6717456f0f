"""One HTML page that needs nothing but a browser, not even a network.

Templates of other rooms include what pages have in common: ``page.css`` (colours for light and dark, panels, tables),
``slider.css`` and ``slider.js`` (two pictures, one over the other), ``table.js`` (columns that sort).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from denoiser.errors import OutputError, UsageError


def check(path: Path, suffixes: tuple[str, ...]) -> None:
    """Make sure before the work that a report can be written, without touching anything.

    Raises
    ------
    UsageError
        If the path is a folder, or its suffix is not one of ``suffixes``.
    OutputError
        If nothing can be written there.
    """
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name the report's file, for example {path / 'report.html'}")
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: a report is {' or '.join(suffixes)}; give a name that ends so")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputError(f"{path}: the report cannot be written, {there} is not a folder that can be written to")


def render(folder: Path, template: str, values: Mapping[str, Any]) -> Iterable[str]:
    """A page as HTML, piece by piece, so that a long one never lies in memory whole.

    Parameters
    ----------
    folder : Path
        Where the template lies.
    template : str
        Its name.
    values : dict
        What it shows, by the names that the template uses.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).generate(values)


def write(path: Path, text: Iterable[str]) -> None:
    """Write a report piece by piece; it appears under its name when it is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Bytes of file names that are no UTF-8 are shown escaped, as everywhere.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.writelines(text)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: the report cannot be written ({error.strerror})") from error
