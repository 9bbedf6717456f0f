"""Formats that are decoded as a whole: what PNG, JPEG, WebP and BMP have in common."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import InputError
from denoiser.images.image import Header, Pixels

# What Pillow has to say about odd EXIF would reach the user's stderr as lines that name no file.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


class WholeSource(ABC):
    """A file of one page that is decoded when its first row is asked for, and kept until it is closed."""

    header: Header

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pixels: Pixels | None = None

    @abstractmethod
    def _decode(self) -> NDArray[np.generic]:
        """All pixels, (H, W) or (H, W, C); any exception of a codec is turned into an InputError."""

    def read(self, page: int, start: int, stop: int) -> Pixels:
        """Rows ``start:stop`` as (stop - start, W, C)."""
        if page != 0:
            raise IndexError(f"page {page} of a file with one page")
        if self._pixels is None:
            self._pixels = self._decoded()
        return self._pixels[start:stop]

    def _decoded(self) -> Pixels:
        with reading(self._path):
            pixels = np.asarray(self._decode())
        page = self.header.pages[0]
        if pixels.size != page.height * page.width * page.channels or pixels.dtype != page.dtype:
            raise InputError(f"{self._path}: its pixels are not what its header says; the file is damaged")
        return pixels.reshape(page.height, page.width, page.channels)

    def close(self) -> None:
        self._pixels = None

    def __enter__(self) -> WholeSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what codecs raise over damaged or unreadable files into an InputError that names the file.

    Codecs raise whatever their authors liked (OSError, SyntaxError, struct.error, RuntimeError and more), so all but
    a lack of memory and what only a mistake in the program raises counts as the file's fault here.
    """
    try:
        yield
    except (InputError, MemoryError, AttributeError, NameError, ImportError):
        raise
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; check its permissions") from error
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, NotImplementedError) or "support" in reason.lower():
            raise InputError(f"{path}: of a kind that cannot be read ({reason}); convert it to PNG or TIFF") from error
        raise InputError(f"{path}: damaged or cut short ({reason}); copy it again from its source") from error


def check_size(path: Path, nbytes: int, max_bytes: int | None, what: str) -> None:
    """Refuse a picture whose pixels do not fit the memory budget, before any of it is decoded.

    Raises
    ------
    InputError
        Naming the size, the limit and the remedy.
    """
    if max_bytes is not None and nbytes > max_bytes:
        raise InputError(
            f"{path}: {what} take {_human(nbytes)} decoded, above the limit of {_human(max_bytes)}; "
            "if that is meant, raise --max-memory, or convert the picture to a tiled TIFF"
        )


def _human(nbytes: int) -> str:
    value = float(nbytes)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
