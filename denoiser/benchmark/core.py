"""The benchmark itself: one pass over the pictures, one picture in memory at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.benchmark import blind, gate, holes, methods, protocol, report
from denoiser.benchmark.album import BUDGET, Album
from denoiser.benchmark.job import INPUT, Found, Job, Key, Steps, largest, megapixels_of, size_of
from denoiser.benchmark.methods import Method
from denoiser.benchmark.options import BenchmarkOptions
from denoiser.benchmark.pictures import (
    Failure,
    Picture,
    Ref,
    Subject,
    as_in_a_file,
    cropped,
    find,
    read_partner,
    read_source,
    read_whole,
    restored_name,
)
from denoiser.benchmark.result import AnyRow, BlindRow, Measured, Result, Row, Timed
from denoiser.errors import InputError, UsageError
from denoiser.noise import sidecar
from denoiser.progress import Progress, Silent


def benchmark(options: BenchmarkOptions, progress: Progress | None = None) -> Result:
    """Measure models, classical methods or restored pictures, against the truth where it is known.

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
    told = _told(options, subjects)
    options = _in_told_range(options, told, progress)
    label = told.noise or _label(options)
    compared = methods.load(options)
    _check_names(compared, options)
    if baseline is not None and subjects:
        facts = protocol.describe(options, (), ())
        sizes = {subject.name: size_of(subject, options) for subject in subjects}
        for words in gate.check_plan(baseline, facts, sizes, _gated(compared, label, options)):
            progress.note(f"{baseline.path}: {words}", "warning")
    shots = len(options.specs or (1,)) * len(compared)
    album = Album(BUDGET if options.report is not None else 0, len(subjects) * (shots + len(options.restored)))
    job = Job(options, compared, album, largest(subjects, options), label, told)
    found: list[Found] = []
    progress.start(len(subjects), sum(megapixels_of(subject, options) for subject in subjects), "measuring")
    try:
        for subject in subjects:
            with Steps(progress, megapixels_of(subject, options), shots) as steps:
                try:
                    found.append(_measure(subject, job, steps))
                except InputError as error:
                    failures.append(Failure(subject.name, str(error).removeprefix(f"{subject.name}: ")))
    finally:
        progress.finish()
    pictures = tuple(each.measured for each in found)
    rows = _rows(found, compared, not options.blind)
    devices = sorted({f"{method.kind}: {method.where}" for method in compared})
    known_holes = any(score.hole_mse is not None for row in rows if isinstance(row, Row) for score in row.scores)
    facts = protocol.describe(options, pictures, devices, sum(each.correlated for each in found), known_holes)
    if facts["correlated"]:
        progress.note(
            f"the noise of {facts['correlated']} of {len(found)} pictures looks correlated from pixel to pixel: "
            "held-out errors favour methods that keep such noise",
            "warning",
        )
    result_gate = None
    if baseline is not None and found:
        with_truth = tuple(row for row in rows if isinstance(row, Row))
        gate.check(baseline, pictures, with_truth)
        result_gate = gate.compare(baseline, with_truth, options.max_drop)
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


def _gated(compared: list[Method], label: str, options: BenchmarkOptions) -> list[Key]:
    """The rows that a baseline is compared with."""
    noises, models = options.specs or (label,), [each.name for each in compared if each.kind in gate.GATED]
    folders = [restored_name(folder, options.restored) for folder in options.restored]
    return [(noise, name) for noise in noises for name in (*models, *folders)]


def _measure(subject: Subject, job: Job, steps: Steps) -> Found:
    """Every score of one picture; an InputError leaves it out of every row, so that means stay comparable."""
    options = job.options
    if options.blind:
        return blind.measure(subject, job, steps)
    truth = read_source(subject, options)
    restored = {name: read_partner(subject, ref, truth, options) for name, ref in subject.restored.items()}
    digest = hashlib.sha256(truth.sha256.encode())
    job.album.begin(subject.name, truth)
    scores: dict[Key, Timed] = {}

    def add(noise: str, method: str, noisy: Picture | None, values: NDArray[Any], **cost: Any) -> None:
        """Score one result."""
        hole = noisy.hole if noisy is not None else None
        found = scores[noise, method] = protocol.score(subject.name, truth, values, hole, **cost)
        job.album.add_shot(method, values, _caption(found.psnr))

    for noise, noisy in _noisy(subject, truth, job):
        if options.paired:
            digest.update(noisy.sha256.encode())
        found = scores[noise, INPUT] = protocol.score(subject.name, truth, noisy.values, noisy.hole)
        job.album.add_noisy(noise, noisy.values, _caption(found.psnr))
        for method in job.methods:
            if not method.fills or noisy.hole is not None:
                values, cost = job.restore(subject.name, method, noisy, found.mse**0.5)
                add(noise, method.name, noisy, values, **cost)
            steps.done()
    if subject.noisy is None and restored:
        job.album.add_noisy(job.label, None, "")
    for name, picture in restored.items():
        add(job.label, name, None, as_in_a_file(picture.values, truth.depth))
    job.album.end()
    height, width, channels = truth.stored.shape
    dtype = subject.source.page.dtype.name
    return Found(Measured(subject.name, height, width, channels, dtype, truth.range.span, digest.hexdigest()), scores)


def _caption(psnr: float | None) -> str:
    """A PSNR in words; None is that of a picture equal to the truth."""
    return "equal to the truth" if psnr is None else f"{psnr:.2f} dB"


def _noisy(subject: Subject, truth: Picture, job: Job) -> Iterator[tuple[str, Picture]]:
    """The noisy pictures of one truth, with what they are called."""
    if subject.noisy is not None:
        noisy = read_partner(subject, subject.noisy, truth, job.options)
        yield job.label, replace(noisy, hole=_hole(subject, subject.noisy, truth, job))
    for spec in job.options.specs:
        yield spec, protocol.add_noise(truth, spec, subject.name, job.options)


def _hole(subject: Subject, noisy: Ref, truth: Picture, job: Job) -> NDArray[np.bool_] | None:
    """Which values of a noisy file were replaced, where ``corruption.json`` tells how it was made."""
    made = job.told.files.get(noisy.path)
    if made is None or not holes.makes_holes(made.noise):
        return None
    (clean, _), (found, _) = (read_whole(ref) for ref in (subject.source, noisy))
    hole = holes.of_file(made, clean, found, subject.source.page, subject.source.index, truth.range)
    return None if hole is None else cropped(hole, job.options)


def _told(options: BenchmarkOptions, subjects: list[Subject]) -> sidecar.Told:
    """What ``corruption.json`` says of the noisy pictures."""
    if options.noisy is None:
        return sidecar.Told()
    return sidecar.read(options.noisy, [(subject.noisy or subject.source).path for subject in subjects])


def _in_told_range(options: BenchmarkOptions, told: sidecar.Told, progress: Progress) -> BenchmarkOptions:
    """The options with black and white of the files, where the user leaves them to ``corruption.json``."""
    if options.white is not None or options.black is not None or not any(told.ranges):
        return options
    if told.range is None:
        progress.note(
            f"{options.noisy}: {sidecar.NAME} tells of several values of white; only --white gives one for all",
            "warning",
        )
        return options
    black, white = told.range
    progress.note(f"{options.noisy}: black is {black:g} and white {white:g}, says {sidecar.NAME}")
    return replace(options, black=black, white=white)


def _label(options: BenchmarkOptions) -> str:
    """What stands in the place of a noise specification where nothing is said of the noise of files."""
    return options.noisy.resolve().name if options.noisy is not None else "files"


def _rows(found: list[Found], compared: list[Method], known_truth: bool) -> tuple[AnyRow, ...]:
    known = {method.name: method for method in compared}
    make: Any = Row if known_truth else BlindRow
    rows = []
    for noise, name in found[0].scores if found else {}:
        method = known.get(name)
        kind = method.kind if method is not None else "input" if name == INPUT else "restored"
        scores = tuple(each.scores[noise, name] for each in found)
        facts = (method.parameters, method.macs_per_pixel, method.weights) if method is not None else ()
        rows.append(make(name, kind, noise, scores, *facts))
    return tuple(rows)
