"""``denoiser corrupt``: the job that adds noise, and what it does to one page of pixels."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.batch import names, ranges
from denoiser.batch.checks import Checks
from denoiser.batch.flow import Stop
from denoiser.batch.items import Destination, Plan
from denoiser.batch.job import Job
from denoiser.batch.manifest import Manifest, Stamp
from denoiser.batch.names import shown
from denoiser.batch.options import CorruptOptions
from denoiser.batch.reading import Band
from denoiser.batch.report import Report
from denoiser.batch.session import Session
from denoiser.batch.writing import Writer, output_error
from denoiser.errors import OutputError, UsageError
from denoiser.images import SUFFIXES, Header, Page
from denoiser.images.arrays import as_pages, page_of
from denoiser.images.image import Pixels
from denoiser.images.metadata import Metadata
from denoiser.images.pixels import ValueRange, put, split, value_range
from denoiser.noise import Noise, NumpyRandom, parse, sidecar
from denoiser.progress import Progress, Silent
from denoiser.settings import as_paths, as_text, check_range

WORKSPACE = 48
"""Bytes per value that making noise takes: the picture and several arrays as float32; `camera` needs the most."""


def corrupt_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    options: CorruptOptions,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Report:
    """Add noise to files and directories, by the same rules as :func:`denoiser.run`.

    The noise of a file follows from its path below its input directory, the number of the page and the seed: the
    order of files, the number of threads and what else is done do not matter. An output directory gets
    ``corruption.json``: for each file the noise, the seed, and ``sigma``, the root mean square of output minus input
    in 1/255 of full range, after clipping and rounding (before a lossy format compresses it).

    Parameters
    ----------
    inputs, output, progress, stop
        As :func:`denoiser.run`.
    options : CorruptOptions

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If two inputs would share an output, an output would overwrite an input, or ``corruption.json`` is
        another program's.
    OutputError
        If nothing can be written below ``output``.
    LockedError
        If another run is writing there.
    """
    files = as_paths("INPUT", inputs)
    return _Corruption(files, Destination.of(output), options, progress or Silent(), stop or Stop()).execute()


def corrupt(
    array: NDArray[Any],
    noise: str,
    seed: int = 0,
    *,
    white: float | None = None,
    black: float | None = None,
    alpha: bool = False,
) -> NDArray[Any]:
    """Add noise to one picture or a stack.

    Parameters
    ----------
    array : ndarray
        (H, W), (H, W, C) with at most four channels, or (N, H, W, C); integers or floats.
    noise : str
        A specification such as ``"stripes"`` or ``"gaussian:25+jpeg:75"``.
    seed : int
        With the number of the picture in its stack it seeds the noise.
    white, black : float or None
        Values of white and black; None is the container's range for integers, 1 and 0 for floats.
    alpha : bool
        True where the last channel is alpha, which is left alone.

    Returns
    -------
    ndarray
        Same shape and dtype: integers rounded and clipped to their container, floats as they come.

    Raises
    ------
    UsageError
        If the specification, the shape or the type is wrong.
    """
    kind = parse(as_text("noise", noise))
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed {seed!r}: must be a whole number, at least 0")
    pages = as_pages(array)
    array = np.asarray(array)
    page = page_of(pages, alpha)
    if not pages.size:
        raise UsageError(f"an array of shape {array.shape} is no picture: it has no pixels")
    check_range(white, black)
    values = value_range(array.dtype, white, black)
    made = [
        # Zeros at the end would count for nothing: the first noise would be made of the numbers of default_rng(seed),
        # as perhaps the picture is.
        corrupt_page(pixels, page, kind, np.random.default_rng([seed, index, 1]), values)[0]
        for index, pixels in enumerate(pages)
    ]
    return np.stack(made).reshape(array.shape).astype(array.dtype, copy=False)  # with its byte order


def corrupt_page(
    pixels: Pixels,
    page: Page,
    noise: Noise,
    generator: np.random.Generator,
    values: ValueRange,
    unrounded: bool = False,
) -> tuple[Pixels, NDArray[Any]]:
    """One page with noise, and how much it changed.

    Parameters
    ----------
    pixels : ndarray
        (H, W, C) as stored. Alpha and missing pixels come back as they are.
    unrounded : bool
        Give float32 in stored units, neither clipped nor rounded, instead of the stored type.

    Returns
    -------
    pixels : ndarray
        (H, W, C).
    change : ndarray
        Output minus input of the colour values that are not missing, flat, float32 in units of full range.
    """
    _, note = split(pixels, page, values)
    seen = note.network_values()  # (H, W, C')
    noisy = noise.apply(seen[None], NumpyRandom(generator))[0]
    if unrounded:
        made = pixels.astype(np.float32)
        result = noisy * np.float32(values.span) + np.float32(values.black)
        where: Any = True if note.missing is None else ~note.missing
        np.copyto(made[..., : result.shape[-1]], result, where=where)
    else:
        made = put(noisy, note)
    colours = slice(0, seen.shape[-1])
    after = (made[..., colours].astype(np.float32) - np.float32(values.black)) / np.float32(values.span)
    change = after - seen if note.missing is None else (after - seen)[~note.missing]
    return made, change.ravel()


class _Writer(Writer):
    """Makes the noise on the way into the file: each thread that writes has a picture of its own."""

    options: CorruptOptions

    def __init__(
        self, root: Path, owner: str, manifest: Manifest, options: CorruptOptions, key: str, progress: Progress
    ) -> None:
        super().__init__(root, owner, manifest, options, key)
        self.noise = parse(options.noise)
        self.progress = progress
        self._warned = False

    def _like(self, header: Header) -> Header:
        if not self.options.float:
            return header
        metadata = replace(header.metadata, native=None) if isinstance(header.metadata, Metadata) else None
        pages = tuple(replace(page, dtype=np.dtype(np.float32)) for page in header.pages)
        return replace(header, pages=pages, metadata=metadata)

    def _join(self, job: Job, band: Band, checks: Checks, residual: object) -> Pixels:
        assert job.header is not None
        o = self.options
        page = job.header.pages[band.page]
        values = value_range(page.dtype, o.white, o.black)
        if values.white is None:
            self._look_at_range(job, band)
        generator = sidecar.file_generator(o.seed, job.item.relative, band.page)
        pixels, change = corrupt_page(band.pixels, page, self.noise, generator, values, o.float)
        job.change.add(change)
        return pixels

    def _look_at_range(self, job: Job, band: Band) -> None:
        """Say once that floats far above 1 hardly get any noise unless their range is declared."""
        if not self._warned and ranges.is_far_beyond(band.pixels):
            self._warned = True
            self.progress.note(ranges.warning(job.item.source), "warning")

    def _check(self, job: Job, checks: Checks) -> None:
        """Noise may do anything to a picture; what it did is written down."""
        assert job.header is not None
        o = self.options
        sigma = 255 * math.hypot(job.change.mean, job.change.std)
        values = value_range(job.header.pages[0].dtype, o.white, o.black)
        # JSON knows no infinity.
        job.checks = {"sigma": float(f"{sigma:.6g}") if math.isfinite(sigma) else None}
        job.figures = {
            "noise": o.noise,
            "seed": o.seed,
            "float": o.float,
            "source": shown(job.item.relative),
            "white": 1.0 if values.white is None else values.white,
            "black": values.black,
            "declared": o.white is not None or o.black is not None,
            **job.checks,
        }


class _Corruption(Session):
    """The job that adds noise."""

    command = "corrupt"
    workspace = WORKSPACE
    budget_parts = 1  # the pictures in flight are all there is, their noise is counted with them

    def __init__(
        self,
        inputs: Sequence[str | Path],
        destination: Destination,
        options: CorruptOptions,
        progress: Progress,
        stop: Stop,
    ) -> None:
        super().__init__(inputs, destination, options, options.key(), progress, stop)
        self.options: CorruptOptions = options
        self.sidecar = destination.root / sidecar.NAME if options.sidecar and not destination.file else None
        _check_owner(self.sidecar)

    @property
    def verb(self) -> str:
        return "corrupting"

    def _prepare(self, plan: Plan) -> None:
        forms = [SUFFIXES.get(Path(item.place).suffix.lower()) for item in plan.work]
        for form, name, verb in (("jpeg", "JPEG", "compresses"), ("webp", "WebP", "may compress")):
            if count := forms.count(form):
                self.progress.note(
                    f"{count} outputs are {name}, which {verb} the noise as well; --format png keeps it as it was made",
                    "warning",
                )

    def _writer(self, owner: str) -> Writer:
        return _Writer(self.destination.root, owner, self._own_manifest(), self.options, self.key, self.progress)

    def _finish(self, plan: Plan) -> None:
        """Write the sidecar, from what the manifests remember: so it is whole after kills, shares and skips."""
        if self.sidecar is None or self.error is not None or not plan.items:
            return
        manifest = self._own_manifest()
        while True:
            manifest.load()
            document = _document(self.options, manifest)
            if not document["files"]:
                return
            _replace(self.sidecar, document)
            if not manifest.changed():  # else another share has finished meanwhile
                return


def _document(options: CorruptOptions, manifest: Manifest) -> dict[str, Any]:
    from denoiser import __version__

    files = {}
    for target in sorted(manifest.entries, key=os.fsencode):
        with suppress(OSError):
            entry, certain = manifest.current(target, Stamp.at(manifest.root / target))
            if entry is not None and certain and entry.figures:
                files[shown(target)] = entry.figures
    about = {"noise": options.noise, "seed": options.seed, "float": options.float}
    return {"schema": sidecar.SCHEMA, "version": __version__, **about, "files": files}


def _check_owner(path: Path | None) -> None:
    """Refuse to replace a file of the same name that something else has written."""
    if path is None or not path.exists():
        return
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        document = None
    if not isinstance(document, Mapping) or document.get("schema") != sidecar.SCHEMA:
        raise UsageError(f"{shown(path)}: is not from this program and would be overwritten; move it away")


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document under a temporary name, sync it, and give it its own; an equal one is left alone."""
    text = (json.dumps(document, indent=1) + "\n").encode()
    temporary = names.temporary(path, "sidecar")
    try:
        if path.exists() and path.read_bytes() == text:
            return
        with temporary.open("wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(str(output_error(path, error))) from error
