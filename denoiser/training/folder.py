"""Reading folders of pictures into memory for training, one by one or as pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoiser import images
from denoiser.errors import InputError, NothingToDoError, UsageError
from denoiser.images import pixels as px
from denoiser.progress import Progress

NAMED = 5
"""So many files are named in a warning; the rest is counted."""
DRAWN = ("curves.png", "samples.png")
"""Pictures that a run writes."""
METRICS = "metrics.jsonl"
"""Lies beside them."""
OUTSIDE = 0.01
"""Share of a float picture's values that may lie far outside 0 to 1 (hot pixels do)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One page of a file, or one channel of it, as stored.

    Attributes
    ----------
    name : str
        File, and page where it has several.
    pixels : ndarray
        (H, W, C) with C = 1 or 3; uint8, uint16 or float32. ``pixels * scale`` is what a network sees.
    step : float
        Distance of neighbouring values of the file in units of the value range; 0 for floats.
    white : float
        1 where the file's values are known to clip at 1, else 0.
    """

    name: str
    pixels: NDArray[Any] = field(repr=False)
    scale: float
    step: float
    white: float

    @property
    def values(self) -> NDArray[np.float32]:
        """What a network sees, (H, W, 3), float32."""
        values = np.multiply(self.pixels, np.float32(self.scale), dtype=np.float32)
        return np.broadcast_to(values, (*values.shape[:2], 3))


@dataclass(frozen=True)
class Reading:
    """How folders are read.

    Attributes
    ----------
    black, white : float, optional
        Stored values of black and white that the user declared; None takes those of each file's container.
    held : tuple of Path
        Resolved folders that are left out, because their pictures are there to judge by.
    floats : ValueRange, optional
        That of floats where the user declared none.
    bounded : bool
        As :func:`denoiser.images.pixels.value_range`: the network is told what it will be told when it is used.
    """

    black: float | None = None
    white: float | None = None
    held: tuple[Path, ...] = ()
    floats: px.ValueRange | None = None
    bounded: bool = True


def load_pictures(folder: Path, minimum: int, reading: Reading, progress: Progress) -> list[Picture]:
    """All pictures below a folder, in the order of their names.

    Parameters
    ----------
    folder : Path
    minimum : int
        Pictures with a side below this many pixels are left out, with a warning.
    reading : Reading

    Raises
    ------
    UsageError
        If the folder does not exist.
    NothingToDoError
        If no picture in it is large enough.
    InputError
        If a file cannot be read.
    """
    files = _read_all(_files(folder, reading).values(), repeat(reading))
    pictures = [picture for of_file in files for picture in of_file]
    return [pictures[index] for index in _large_enough(folder, pictures, minimum, progress)]


def load_pairs(
    clean_folder: Path, noisy_folder: Path, minimum: int, reading: Reading, progress: Progress
) -> tuple[list[Picture], list[Picture]]:
    """Clean pictures and their noisy partners, which have the same relative names in another folder.

    Where no partner has the whole name, one with the same name and another suffix is taken. Floats beside integers are
    in their units, as `denoiser corrupt --float` writes them.

    Raises
    ------
    InputError
        If a picture has no partner, or a pair differs in size, pages or channels.
    """
    clean_files, noisy_files = _files(clean_folder, reading), _files(noisy_folder, reading)
    partners = _match(clean_files, noisy_files, clean_folder, noisy_folder)
    clean = _read_all(clean_files.values(), repeat(reading))
    beside = [_beside(path, reading) for path in clean_files.values()]
    noisy = _read_all((noisy_files[name] for name in partners), beside)
    for one, other in zip(clean, noisy, strict=True):
        _check_pair(one, other)
    flat_clean, flat_noisy = ([picture for of_file in files for picture in of_file] for files in (clean, noisy))
    kept = _large_enough(clean_folder, flat_clean, minimum, progress)
    return [flat_clean[index] for index in kept], [flat_noisy[index] for index in kept]


def reduced(pictures: Sequence[Picture], factor: float, minimum: int) -> list[Picture]:
    """Copies that are smaller by a factor, of those pictures that a crop fits into then.

    Texture becomes finer and edges sharper, as in pictures that were made smaller for a screen. A network that has only
    seen cameras' own resolution takes the checks of a shirt or the seeds of a sunflower for noise.

    Parameters
    ----------
    pictures : sequence of Picture
    factor : float
        Above 1.
    minimum : int
        Pixels of the shorter side.
    """
    with ThreadPoolExecutor(4) as pool:
        copies = list(pool.map(lambda picture: _reduced(picture, factor), pictures))
    return [copy for copy in copies if min(copy.pixels.shape[:2]) >= minimum]


def _reduced(picture: Picture, factor: float) -> Picture:
    height, width, channels = picture.pixels.shape
    size = max(1, round(width / factor)), max(1, round(height / factor))
    planes = [Image.fromarray(picture.pixels[..., channel].astype(np.float32)) for channel in range(channels)]
    values = np.stack([np.asarray(plane.resize(size, Image.Resampling.LANCZOS)) for plane in planes], axis=2)
    if picture.pixels.dtype.kind != "f":
        limits = np.iinfo(picture.pixels.dtype)
        values = np.rint(values).clip(limits.min, limits.max)
    return replace(picture, pixels=values.astype(picture.pixels.dtype))


def _files(folder: Path, reading: Reading) -> dict[PurePath, Path]:
    """Relative name -> path of every picture below a folder."""
    if not folder.is_dir() or images.is_store(folder):
        what = "is one picture; name the folder that it lies in" if folder.exists() else "no such folder of pictures"
        raise UsageError(f"{folder}: {what}")
    return {
        path.relative_to(folder): path
        for path in images.pictures_below(folder)
        if not _is_drawn(path) and not _is_held(path, reading)
    }


def _is_drawn(path: Path) -> bool:
    return path.name in DRAWN and (path.parent / METRICS).is_file()


def _is_held(path: Path, reading: Reading) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in reading.held)


def _match(
    clean: dict[PurePath, Path], noisy: dict[PurePath, Path], clean_folder: Path, noisy_folder: Path
) -> list[PurePath]:
    """The noisy partner of every clean picture, none left over on either side."""
    by_stem: dict[PurePath, list[PurePath]] = {}
    for name in noisy:
        by_stem.setdefault(name.with_suffix(""), []).append(name)
    partners: list[PurePath] = []
    for name in clean:
        alike = by_stem.get(name.with_suffix(""), [])
        if name not in noisy and len(alike) != 1:
            raise InputError(f"{clean_folder / name}: no partner in {noisy_folder}; add it or take this file away")
        partners.append(name if name in noisy else alike[0])
    used: set[PurePath] = set()
    for name in partners:
        if name in used:
            raise InputError(f"{noisy_folder / name}: is the partner of two pictures; give both the same whole name")
        used.add(name)
    for name in noisy:
        if name not in used:
            raise InputError(f"{noisy_folder / name}: no partner in {clean_folder}; add it or take this file away")
    return partners


def _check_pair(clean: Sequence[Picture], noisy: Sequence[Picture]) -> None:
    if len(clean) != len(noisy):
        raise InputError(
            f"{noisy[0].name} and {clean[0].name}: a pair must have as many pages and channels, "
            f"not {len(noisy)} and {len(clean)}"
        )
    for one, other in zip(clean, noisy, strict=True):
        if one.pixels.shape != other.pixels.shape:
            raise InputError(
                f"{other.name} and {one.name}: a pair must have one size, not {_size(other)} and {_size(one)}; "
                "crop them alike or take both away"
            )


def _size(picture: Picture) -> str:
    height, width, channels = picture.pixels.shape
    return f"{width} x {height} {'gray' if channels == 1 else 'colour'}"


def _large_enough(folder: Path, pictures: Sequence[Picture], minimum: int, progress: Progress) -> list[int]:
    """Indices of the pictures that a crop fits into; the others are named."""
    large = [index for index, picture in enumerate(pictures) if min(picture.pixels.shape[:2]) >= minimum]
    small = [picture.name for picture in pictures if min(picture.pixels.shape[:2]) < minimum]
    if not large and pictures:
        raise NothingToDoError(
            f"{folder}: every picture ({len(pictures)}) is smaller than the largest crop, {minimum} px; "
            "choose smaller crops with --crop"
        )
    if not large:
        raise NothingToDoError(f"{folder}: no picture in it; looked for {', '.join(sorted(images.SUFFIXES))}")
    if small:
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        progress.note(f"smaller than {minimum} px and left out: {', '.join(small[:NAMED])}{more}", "warning")
    megapixels = sum(pictures[index].pixels[..., 0].size for index in large) / 1e6
    progress.note(f"{folder}: {len(large)} pictures, {megapixels:.0f} MP")
    return large


def _read_all(files: Iterable[Path], readings: Iterable[Reading]) -> list[list[Picture]]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(_read, files, readings))


def _beside(clean: Path, reading: Reading) -> Reading:
    """How the noisy partner of a clean file is read: its floats are in that file's units, which do not clip them."""
    with images.open_source(clean) as source:
        dtype = source.header.pages[0].dtype
    if dtype.kind == "f":
        return reading
    units = px.value_range(dtype, reading.white, reading.black, bounded=reading.bounded)
    return replace(reading, floats=replace(units, clips=False))


def _read(path: Path, reading: Reading) -> list[Picture]:
    """All pages of a file; channels that are not one colour picture become pictures of their own."""
    try:
        with images.open_source(path) as source:
            pages = source.header.pages
            read = [(page, source.read(index, 0, page.height)) for index, page in enumerate(pages)]
    except InputError as error:
        raise InputError(f"{error}; repair the file or take it away") from error
    pictures = []
    for index, (page, stored) in enumerate(read):
        name = f"{path}[{index}]" if len(read) > 1 else str(path)
        try:
            found = px.value_range(page.dtype, reading.white, reading.black, bounded=reading.bounded)
        except UsageError as error:
            raise InputError(f"{name}: {error}") from error
        if found.white is None and reading.floats is not None:
            found = reading.floats
        planes, note = px.split(stored, page, found)
        if found.white is None:
            _check_range(name, planes)
        step = 0.0 if page.dtype.kind == "f" else note.scale
        for group in px.groups(planes.shape[2]):
            pictures.append(Picture(name, np.ascontiguousarray(planes[..., group]), note.scale, step, note.white))
    return pictures


def _check_range(name: str, planes: NDArray[Any]) -> None:
    """Noise levels and learning rates are relative to the value range: that of floats must be said or be 0 to 1."""
    if np.mean((planes < -0.5) | (planes > 1.5)) > OUTSIDE:
        least, largest = float(planes.min()), float(planes.max())
        raise InputError(
            f"{name}: floats from {least:g} to {largest:g} in training need the value of white: add --white, "
            "and --black where that is not 0"
        )
