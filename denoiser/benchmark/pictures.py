"""Which pictures are measured, and their pixels in units of the full range."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser import images
from denoiser.benchmark.options import BenchmarkOptions
from denoiser.errors import DenoiserError, InputError, NothingToDoError, UsageError
from denoiser.images.image import Header, Page
from denoiser.images.pixels import ValueRange, missing_in, value_range

SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")
"""Colour pictures in the data folder of scikit-image, which every installation has."""

SAMPLE_CROP = 192
"""Pixels: a benchmark of the samples with all bundled models takes less than a minute and a half on two cores."""


OUTSIDE = 0.01
"""Share of a picture's values that may lie far beyond its range (hot pixels do)."""


@dataclass(frozen=True)
class Ref:
    """One page of a file, not read yet."""

    path: Path
    index: int
    page: Page


@dataclass(frozen=True)
class Subject:
    """One picture to be measured, and what there is of it already.

    Attributes
    ----------
    name : str
        Path below the folder, with slashes; ``#3`` marks the fourth page of a stack.
    source : Ref
        Its truth, or the noisy picture where there is none.
    noisy : Ref or None
    restored : dict
        Name of a row -> its picture.
    """

    name: str
    source: Ref
    noisy: Ref | None = None
    restored: dict[str, Ref] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A picture that is not measured, and why."""

    picture: str
    reason: str


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of one picture.

    Attributes
    ----------
    stored : ndarray
        (H, W, C) without alpha: integers as in the file, or float32 in units of the full range.
    range : ValueRange
        What is 0 and 1 in units of the full range.
    depth : float or None
        Steps between black and white of the truth's integers; None for floats, which are never rounded or clipped.
    hole : ndarray or None
        (H, W, C) or (H, W, 1), True where the noise replaced the value; None where it replaces none.
    like : Header or None
        Of the file that a truth, or a noisy picture without one, was read from.
    """

    stored: NDArray[Any]
    range: ValueRange
    depth: float | None
    hole: NDArray[np.bool_] | None = None
    like: Header | None = None

    @property
    def values(self) -> NDArray[np.float64]:
        """(H, W, C) in units of the full range: 0 is black, 1 is white."""
        if self.stored.dtype.kind == "f":
            return self.stored.astype(np.float64)
        return (self.stored.astype(np.float64) - self.range.black) / self.range.span

    @property
    def sha256(self) -> str:
        """Hash of size, type and pixels."""
        head = f"{self.stored.shape} {self.stored.dtype.name} {self.range.black:g} {self.range.span:g}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.stored).tobytes()).hexdigest()


def as_in_a_file(values: NDArray[Any], depth: float | None) -> NDArray[np.float64]:
    """Clip to black and white and round to steps of 1 / depth; floats (no depth) stay as they are."""
    wide = np.asarray(values, np.float64)
    return wide if depth is None else np.rint(np.clip(wide, 0, 1) * depth) / depth


def find(options: BenchmarkOptions) -> tuple[list[Subject], list[Failure]]:
    """The pictures to be measured, in the order of their names, and those that cannot be.

    Raises
    ------
    UsageError
        If a folder does not exist, or two folders of restored pictures have one name.
    NothingToDoError
        If there is no picture.
    """
    root = options.noisy if options.blind else options.clean
    if root is None:
        return _pages({name: _sample_folder() / name for name in SAMPLES})
    subjects, failures = _pages(_files(root))
    if not subjects and not failures:
        raise NothingToDoError(f"{root}: no picture found ({', '.join(sorted(images.SUFFIXES))})")
    if options.noisy is not None and not options.blind:
        subjects = _pair(subjects, failures, options.noisy, root, None)
    for folder in options.restored:
        subjects = _pair(subjects, failures, folder, root, restored_name(folder, options.restored))
    return subjects, failures


def crop_of(options: BenchmarkOptions) -> int | None:
    """Side of the part of each picture that is measured; None for whole pictures."""
    return options.crop or (SAMPLE_CROP if options.clean is None and not options.blind else None)


def restored_name(folder: Path, folders: Iterable[Path]) -> str:
    """The name of a folder's row: its last part, or the whole path where several end alike."""
    short = folder.resolve().name
    return short if [other.resolve().name for other in folders].count(short) == 1 else folder.as_posix()


def _sample_folder() -> Path:
    found = util.find_spec("skimage")
    assert found is not None and found.origin is not None  # a dependency
    return Path(found.origin).parent / "data"


def _files(root: Path) -> dict[str, Path]:
    """Place below the folder -> picture; hidden files and folders are passed over."""
    if root.is_file() or images.is_store(root):
        return {root.name: root}
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder of pictures")
    found = {path.relative_to(root).as_posix(): path for path in images.pictures_below(root)}
    return {name: found[name] for name in sorted(found)}


def _pages(files: dict[str, Path]) -> tuple[list[Subject], list[Failure]]:
    subjects, failures = [], []
    for name, path in files.items():
        try:
            with images.open_source(path) as source:
                pages = source.header.pages
        except DenoiserError as error:
            failures.append(Failure(name, str(error)))
            continue
        for index, page in enumerate(pages):
            subjects.append(Subject(name if len(pages) == 1 else f"{name}#{index}", Ref(path, index, page)))
    return subjects, failures


def _pair(subjects: list[Subject], failures: list[Failure], folder: Path, root: Path, row: str | None) -> list[Subject]:
    """Give each subject its noisy (``row`` is None) or restored partner; those without one become failures."""
    partners, broken = _pages(_files(folder))
    failures.extend(Failure(f"{folder.name}/{failure.picture}", failure.reason) for failure in broken)
    unreadable = {_key(failure.picture) for failure in broken}
    refs = {partner.name: partner.source for partner in partners}
    # A name that is the same goes first; what is left is paired by its name without suffix, where it is the only one.
    same = {subject.name for subject in subjects} & refs.keys()
    by_key = _by_key(refs.keys() - same)
    left = _by_key({subject.name for subject in subjects} - same)
    paired, used = [], set()
    for subject in subjects:
        key = _key(subject.name)
        near = by_key.get(key, [])
        alone = len(near) == 1 and len(left.get(key, [])) == 1
        match = subject.name if subject.name in same else near[0] if alone else None
        if match is not None:
            used.add(match)
            paired.append(_with_partner(subject, refs[match], row))
        elif key not in unreadable:
            several = f"; {', '.join(sorted({*near, *left[key]}))} are all alike" if near else ""
            failures.append(Failure(subject.name, f"has no partner in {folder}{several}"))
    lonely = [name for name in refs if name not in used]
    # A partner of a picture that has failed already is not told a second time.
    known = {_key(failure.picture) for failure in failures}
    failures.extend(
        Failure(f"{folder.name}/{name}", f"has no partner in {root}") for name in lonely if _key(name) not in known
    )
    return paired


def _by_key(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(_key(name), []).append(name)
    return found


def _key(name: str) -> str:
    """A name without its suffix, so that ``a.png`` finds ``a.tif``; the page's number stays."""
    path, mark, index = name.rpartition("#")
    if not index.isdecimal():  # a mark in the file's own name, which ends in a suffix
        path, mark, index = name, "", ""
    return path.rpartition(".")[0] + mark + index


def _with_partner(subject: Subject, ref: Ref, row: str | None) -> Subject:
    if row is None:
        return Subject(subject.name, subject.source, ref, subject.restored)
    return Subject(subject.name, subject.source, subject.noisy, {**subject.restored, row: ref})


def read_source(subject: Subject, options: BenchmarkOptions) -> Picture:
    """The clean picture, or the noisy one where there is no truth, cropped.

    Raises
    ------
    InputError
        If it is damaged, holds NaN or infinite pixels, or is of floats whose range nobody has told.
    """
    stored, like = _read(subject.source, options)
    try:
        found = value_range(stored.dtype, options.white, options.black)
    except UsageError as error:  # of this file alone
        raise InputError(f"{subject.name}: {error}") from error
    if found.white is None:
        if np.mean((stored < -0.5) | (stored > 1.5)) > OUTSIDE:
            least, largest = float(stored.min()), float(stored.max())
            raise InputError(
                f"{subject.name}: floating-point pixels from {least:g} to {largest:g} have no range of their own; give "
                "--white, and --black where that is not 0"
            )
        found = ValueRange(0.0 if options.black is None else options.black, 1.0)  # as `denoiser corrupt` counts them
    if stored.dtype.kind == "f":
        return Picture(_in_range(stored, found), found, None, like=like)
    if np.mean(stored > found.black + 1.5 * found.span) > OUTSIDE:
        raise InputError(
            f"{subject.name}: has values up to {stored.max()}, far above the declared white; give --white as it is"
        )
    return Picture(stored, found, found.span, like=like)


def read_partner(subject: Subject, ref: Ref, truth: Picture, options: BenchmarkOptions) -> Picture:
    """The noisy or restored picture, in the units of its source, ``truth``.

    Raises
    ------
    InputError
        If size, channels or kind of pixels do not match the truth's.
    """
    stored, _ = _read(ref, options)
    if stored.shape != truth.stored.shape or (ref.page.height, ref.page.width) != _size(subject.source):
        raise InputError(
            f"{subject.name}: {ref.path} is {_shape(ref.page)}, {_source(options)} is {_shape(subject.source.page)}"
        )
    if stored.dtype.kind == "f":  # in the clean file's units, as `denoiser` writes floats
        return Picture(_in_range(stored, truth.range), truth.range, truth.depth)
    if stored.dtype != truth.stored.dtype:
        raise InputError(
            f"{subject.name}: {ref.path} has {stored.dtype} pixels, {_source(options)} {subject.source.page.dtype}; "
            "convert one, so that both have one range"
        )
    return Picture(stored, truth.range, truth.depth)


def _source(options: BenchmarkOptions) -> str:
    return "the noisy picture" if options.blind else "the clean picture"


def _in_range(stored: NDArray[Any], found: ValueRange) -> NDArray[np.float32]:
    return ((stored.astype(np.float64) - found.black) / found.span).astype(np.float32)


def read_whole(ref: Ref) -> tuple[NDArray[Any], Header]:
    """Colour of one page, (H, W, C) as stored, and the header of its file."""
    page = ref.page
    with images.open_source(ref.path) as source:
        return np.asarray(source.read(ref.index, 0, page.height)[:, :, : page.channels - page.alpha]), source.header


def cropped(values: NDArray[Any], options: BenchmarkOptions) -> NDArray[Any]:
    """The part of a page that is measured, about its centre."""
    crop = crop_of(options)
    if crop is None:
        return values
    top, left = (max(0, (length - crop) // 2) for length in values.shape[:2])
    return values[top : top + crop, left : left + crop]


def _read(ref: Ref, options: BenchmarkOptions) -> tuple[NDArray[Any], Header]:
    """As :func:`read_whole`, cropped, and fit to be scored."""
    stored, header = read_whole(ref)
    pixels = cropped(stored, options)
    if missing_in(pixels, ref.page.nodata) is not None:
        raise InputError(f"{ref.path}: NaN, infinite and no-data pixels cannot be scored; fill or crop them")
    return pixels, header


def _size(ref: Ref) -> tuple[int, int]:
    return ref.page.height, ref.page.width


def _shape(page: Page) -> str:
    colours = page.channels - page.alpha
    kind = {1: "gray", 3: "colour"}.get(colours, f"of {colours} channels")
    return f"{page.width} x {page.height} {kind}"
