"""Reading a folder of pictures into memory for training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoiser.errors import InputError, NothingToDoError, UsageError
from denoiser.progress import Progress

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}


def load_pictures(folder: Path, minimum: int, progress: Progress) -> list[NDArray[np.uint8]]:
    """All pictures below a folder as 8-bit RGB, in the order of their names.

    Parameters
    ----------
    folder : Path
    minimum : int
        Pictures with a side below this many pixels are left out, with a warning.

    Returns
    -------
    list of ndarray
        uint8, (H, W, 3).

    Raises
    ------
    UsageError
        If the folder does not exist.
    NothingToDoError
        If no picture in it is large enough.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of pictures")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(_read, files))
    large = [picture for picture in pictures if min(picture.shape[:2]) >= minimum]
    if not large:
        smallest = f"; the {len(pictures)} there are smaller than the largest crop, {minimum} px" if pictures else ""
        raise NothingToDoError(f"{folder}: no usable picture ({', '.join(sorted(SUFFIXES))}){smallest}")
    if len(large) < len(pictures):
        progress.note(f"{len(pictures) - len(large)} pictures are smaller than {minimum} px and left out", "warning")
    progress.note(f"{folder}: {len(large)} pictures, {sum(p.shape[0] * p.shape[1] for p in large) / 1e6:.0f} MP")
    return large


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a picture ({error}); repair or remove it") from error
