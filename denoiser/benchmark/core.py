"""The benchmark itself: one pass over the pictures, one picture in memory at a time."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from denoiser.benchmark import gate, methods, protocol, report
from denoiser.benchmark.album import BUDGET, Album
from denoiser.benchmark.methods import Method
from denoiser.benchmark.options import BenchmarkOptions
from denoiser.benchmark.pictures import (
    Failure,
    Picture,
    Subject,
    as_in_a_file,
    crop_of,
    find,
    read_partner,
    read_truth,
    restored_name,
)
from denoiser.benchmark.result import Measured, Result, Row, Score
from denoiser.errors import InputError, UsageError
from denoiser.progress import Progress, Silent

INPUT = "noisy input"

Key = tuple[str, str]
"""(noise, method): what a row is."""


@dataclass(frozen=True)
class _Found:
    """All scores of one picture."""

    measured: Measured
    scores: dict[Key, Score]


def benchmark(options: BenchmarkOptions, progress: Progress | None = None) -> Result:
    """Measure models, classical methods or restored pictures against the truth.

    Parameters
    ----------
    options : BenchmarkOptions
    progress : Progress, optional

    Returns
    -------
    Result
        Pictures that cannot be measured are among its ``failures``; it knows the exit code.

    Raises
    ------
    UsageError
        If a folder does not exist, or the baseline cannot be compared with.
    NothingToDoError
        If there is no picture.
    UnavailableError
        If a model or the device is not there.
    """
    progress = progress if progress is not None else Silent()
    began = time.perf_counter()
    baseline = gate.read(options.baseline) if options.baseline is not None else None
    if options.report is not None:
        report.check(options.report)
    subjects, failures = find(options)
    compared = methods.load(options)
    _check_names(compared, options)
    results = len(subjects) * (len(options.specs or (1,)) * len(compared) + len(options.restored))
    album = Album(BUDGET if options.report is not None else 0, results)
    found: list[_Found] = []
    progress.start(len(subjects), sum(_megapixels(subject, options) for subject in subjects), "measuring")
    try:
        for subject in subjects:
            with _Steps(progress, _megapixels(subject, options), len(options.specs or (1,)) * len(compared)) as steps:
                try:
                    found.append(_measure(subject, compared, options, steps, album))
                except InputError as error:
                    failures.append(Failure(subject.name, str(error)))
    finally:
        progress.finish()
    pictures = tuple(each.measured for each in found)
    rows = _rows(found, compared)
    facts = protocol.describe(options, pictures, sorted({f"{method.kind}: {method.where}" for method in compared}))
    result_gate = None
    if baseline is not None and found:
        gate.check(baseline, facts, pictures, rows)
        result_gate = gate.compare(baseline, rows, options.max_drop)
    result = Result(facts, pictures, rows, tuple(failures), time.perf_counter() - began, result_gate)
    if options.report is not None:
        report.write(options.report, result, album)
    return result


def _check_names(compared: list[Method], options: BenchmarkOptions) -> None:
    """Refuse a folder that would share its row with another method."""
    names = [INPUT, *(method.name for method in compared)]
    for folder in options.restored:
        name = restored_name(folder, options.restored)
        if name in names:
            raise UsageError(f"{folder}: {name!r} is another row's name already; rename the folder")
        names.append(name)


def _megapixels(subject: Subject, options: BenchmarkOptions) -> float:
    crop = crop_of(options) or math.inf
    return min(subject.clean.page.height, crop) * min(subject.clean.page.width, crop) / 1e6


class _Steps:
    """Tells the progress of one picture in equal shares, one per method and noise, and what is left at the end."""

    def __init__(self, progress: Progress, megapixels: float, steps: int) -> None:
        self.progress = progress
        self.share = megapixels / max(1, steps)
        self.left = megapixels

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.progress.advance(1, self.left)

    def done(self) -> None:
        self.progress.advance(0, self.share)
        self.left -= self.share


def _measure(
    subject: Subject, compared: list[Method], options: BenchmarkOptions, steps: _Steps, album: Album
) -> _Found:
    """Every score of one picture; an InputError leaves it out of every row, so that means stay comparable."""
    truth = read_truth(subject, options)
    restored = {name: read_partner(subject, ref, truth, options) for name, ref in subject.restored.items()}
    digest = hashlib.sha256(truth.sha256.encode())
    album.begin(subject.name, truth.values)
    scores: dict[Key, Score] = {}

    def add(noise: str, method: str, values: NDArray[Any], seconds: float) -> None:
        """Score one result."""
        rounded = as_in_a_file(values, truth.depth)
        found = scores[noise, method] = protocol.score(subject.name, truth, rounded, seconds)
        album.add_shot(method, rounded, found.psnr)

    for noise, noisy in _noisy(subject, truth, options):
        if options.paired:
            digest.update(noisy.sha256.encode())
        found = scores[noise, INPUT] = protocol.score(subject.name, truth, noisy.values)
        album.add_noisy(noise, noisy.values, found.psnr)
        for method in compared:
            start = time.perf_counter()
            values = method.restore(noisy, found.mse**0.5)
            add(noise, method.name, values, time.perf_counter() - start)
            steps.done()
    if subject.noisy is None and restored:
        album.add_noisy(_label(options), None, None)
    for name, picture in restored.items():
        add(_label(options), name, picture.values, 0.0)
    album.end()
    height, width, channels = truth.stored.shape
    dtype = subject.clean.page.dtype.name
    return _Found(Measured(subject.name, height, width, channels, dtype, truth.range.span, digest.hexdigest()), scores)


def _noisy(subject: Subject, truth: Picture, options: BenchmarkOptions) -> Iterator[tuple[str, Picture]]:
    """The noisy pictures of one truth, with what they are called."""
    if subject.noisy is not None:
        yield _label(options), read_partner(subject, subject.noisy, truth, options)
    for spec in options.specs:
        yield spec, protocol.add_noise(truth, spec, subject.name, options)


def _label(options: BenchmarkOptions) -> str:
    """What stands in the place of a noise specification where pictures come from files."""
    return options.noisy.resolve().name if options.noisy is not None else "files"


def _rows(found: list[_Found], compared: list[Method]) -> tuple[Row, ...]:
    known = {method.name: method for method in compared}
    keys = found[0].scores if found else {}
    rows = []
    for noise, name in keys:
        method = known.get(name)
        kind = method.kind if method is not None else "input" if name == INPUT else "restored"
        scores = tuple(each.scores[noise, name] for each in found)
        if method is None:
            rows.append(Row(name, kind, noise, scores))
        else:
            rows.append(Row(name, kind, noise, scores, method.parameters, method.macs_per_pixel, method.weights))
    return tuple(rows)
