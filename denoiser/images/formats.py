"""Which formats there are, how a file is recognised, and what each format can hold."""

from __future__ import annotations

import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from denoiser.errors import InputError, UsageError
from denoiser.images.image import Header, Page
from denoiser.images.metadata import Metadata, is_gray_profile
from denoiser.images.tiff_exif import from_block

SUFFIXES: dict[str, str] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
    ".bmp": "bmp",
    ".dib": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".tf8": "tiff",
    ".btf": "tiff",
    ".npy": "npy",
    ".zarr": "zarr",
}
"""Suffix in lower case -> format. Content wins over the suffix: see :func:`signature`."""

_READABLE = "PNG, JPEG, WebP, BMP, TIFF, .npy and OME-Zarr"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"\x93NUMPY", "npy"),
)

# Only to give a better reason than "not a picture".
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)

# Sizes of the information headers that versions of BMP have had; "BM" alone starts many a text.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def check_regular(path: Path) -> None:
    """Make sure that opening the path cannot hang or surprise.

    Raises
    ------
    InputError
        If there is no such file, the link is broken, or it is a directory, pipe, socket or device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(f"{path}: the symbolic link points to nothing; mend or remove it") from None
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be examined ({error.strerror or error})") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a directory, not a picture")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is not a regular file but a pipe, socket or device; copy its content to a file")


def is_store(path: Path) -> bool:
    """Whether a path is an OME-Zarr store: one picture, though it is a directory. Its name alone tells."""
    return SUFFIXES.get(path.suffix.lower()) == "zarr" and path.is_dir()


def holds_group(path: Path) -> bool:
    """Whether a directory holds what makes it a group of Zarr arrays."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))


def is_picture(path: Path) -> bool:
    """Whether something that lies in a folder is a picture, by its name: what lies in a store is none."""
    inside = any(SUFFIXES.get(folder.suffix.lower()) == "zarr" for folder in path.parents)
    return not inside and path.suffix.lower() in SUFFIXES and (path.is_file() or is_store(path))


def _first_bytes(path: Path) -> bytes:
    check_regular(path)
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(32)
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; check its permissions") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def signature(path: Path) -> str | None:
    """Format of a file by its first bytes, whatever its name says; of a directory by its name.

    Returns
    -------
    str or None
        One of the values of :data:`SUFFIXES`; None if the content is none of them.

    Raises
    ------
    InputError
        If the file is not a regular one or cannot be read.
    """
    return "zarr" if is_store(path) else _recognise(_first_bytes(path))


def check_no_picture(path: Path, what: str) -> None:
    """Refuse to write something else into a picture.

    Raises
    ------
    UsageError
        If there is a picture.
    """
    with suppress(InputError, OSError):
        if signature(path) is not None:
            raise UsageError(f"{path}: is a picture; {what} would damage it, give another name")


def _recognise(head: bytes) -> str | None:
    for magic, name in _SIGNATURES:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    return None


def detect(path: Path) -> str:
    """As :func:`signature`, but what is not recognised is an error that says what the file is.

    Raises
    ------
    InputError
        If the file is empty, of another kind, or cannot be read.
    """
    if is_store(path):
        return "zarr"
    head = _first_bytes(path)
    found = _recognise(head)
    if found is not None:
        return found
    if not head:
        raise InputError(f"{path}: the file is empty; copy it again from its source")
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            raise InputError(f"{path}: is {name}, which is not supported; convert it to PNG or TIFF first")
    if head[4:8] == b"ftyp":
        raise InputError(f"{path}: is a HEIF, AVIF or video file, which is not supported; convert it to PNG or TIFF")
    what = "is a text file" if _looks_like_text(head) else "has the content of no known picture"
    raise InputError(f"{path}: {what}; {_READABLE} can be read")


def _looks_like_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def type_code(dtype: np.dtype[Any]) -> str:
    """Kind and bytes of a type without its byte order: ``u1``, ``f4``."""
    return f"{dtype.kind}{dtype.itemsize}"


@dataclass(frozen=True)
class Capability:
    """What a format can hold."""

    dtypes: frozenset[str]
    """As :func:`type_code` names them."""
    alpha: bool
    pages: bool
    icc: bool
    exif: bool
    xmp: bool
    dpi: bool
    text: bool
    lossless: bool
    any_channels: bool
    cmyk: bool
    largest_side: int


NUMBERS = frozenset({"u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"})
"""Types of pixels that are understood at all, as :func:`type_code` names them."""

_8_BIT = frozenset({"u1"})

CAPABILITIES: dict[str, Capability] = {
    "png": Capability(_8_BIT | {"u2"}, True, False, True, True, True, True, True, True, False, False, 2**31 - 1),
    "jpeg": Capability(_8_BIT, False, False, True, True, True, True, True, False, False, True, 65500),
    "webp": Capability(_8_BIT, True, False, True, True, True, False, False, True, False, False, 16383),
    "bmp": Capability(_8_BIT, True, False, False, False, False, True, False, True, False, False, 2**31 - 1),
    "tiff": Capability(NUMBERS, True, True, True, True, True, True, True, True, True, True, 2**31 - 1),
    "npy": Capability(NUMBERS, True, True, False, False, False, False, False, True, True, False, 2**62),
    "zarr": Capability(NUMBERS, False, True, False, False, False, False, False, True, False, False, 2**62),
}


def resolve(like: Header, format: str) -> str:
    """The format meant by ``keep`` or by its own name.

    Raises
    ------
    UsageError
        If there is no such format.
    """
    if format == "keep":
        return like.format
    if format not in CAPABILITIES:
        raise UsageError(f"no format {format!r}; choose keep, {', '.join(CAPABILITIES)}")
    return format


def refusal(like: Header, format: str) -> str | None:
    """Why a picture cannot be written in a format at all, or None if it can.

    What a format can only hold with a loss is not refused but named by :func:`losses`.
    """
    format = resolve(like, format)
    if format == like.format:
        return None
    if format == "zarr":
        return "a picture of another format is not written as OME-Zarr; choose tiff or npy"
    can = CAPABILITIES[format]
    if len(like.pages) > 1 and not can.pages:
        return f"{format} holds one page and this file has {len(like.pages)}; choose tiff or npy"
    if format == "npy" and len({(p.height, p.width, p.channels, p.dtype) for p in like.pages}) > 1:
        return "its pages differ in size or type, which one array cannot hold; choose tiff"
    for page in like.pages:
        if reason := _page_refusal(page, format, can, metadata_of(like).cmyk):
            return reason
    return None


def _page_refusal(page: Page, format: str, can: Capability, cmyk: bool) -> str | None:
    if page.dtype.kind == "f" and not _holds(can, page):
        return f"{format} cannot hold floating-point values; choose tiff or npy"
    if page.dtype.kind == "i" and not _holds(can, page):
        return f"{format} cannot hold signed values; choose tiff or npy"
    colours = page.channels - page.alpha
    if cmyk and not can.cmyk and format != "npy":
        return f"{format} cannot hold CMYK; choose tiff or jpeg"
    if colours not in (1, 3) and not can.any_channels and not (cmyk and can.cmyk):
        return f"{format} cannot hold {colours} channels; choose tiff or npy"
    if max(page.height, page.width) > can.largest_side:
        return f"{format} holds at most {can.largest_side} pixels a side; choose png or tiff"
    return None


def losses(like: Header, format: str) -> tuple[str, ...]:
    """What a target format cannot keep of a picture.

    Parameters
    ----------
    like : Header
    format : str
        A format or ``keep``.

    Returns
    -------
    tuple of str
        Such as ``("16 bit", "alpha", "ICC profile")``; empty if nothing is lost.
    """
    format = resolve(like, format)
    metadata = metadata_of(like)
    if format == like.format:
        return metadata.dropped
    can = CAPABILITIES[format]
    lost = [*_pixel_losses(like, can), *_common_losses(metadata, can), *metadata.dropped]
    if not can.lossless and not metadata.lossy:
        lost.append("exact pixel values")
    if format == "webp" and is_gray_profile(metadata.common.icc):
        lost.append("ICC profile")  # it says nothing of RGB, and WebP has no gray
    if metadata.reduced:
        lost.append("reduced versions")
    lost += metadata.particular
    if format == "tiff" and from_block(metadata.common.exif).damaged:
        lost.append("damaged EXIF")
    if can.any_channels:
        # Its values are kept as they are, but not what they mean.
        lost += ["white as zero"] if metadata.white_is_zero else []
        lost += ["premultiplied alpha"] if metadata.premultiplied else []
    if metadata.cmyk and not can.cmyk:
        lost.append("CMYK")
    return tuple(dict.fromkeys(lost))


def _pixel_losses(like: Header, can: Capability) -> list[str]:
    lost = []
    if len(like.pages) > 1 and not can.pages:
        lost.append("pages")
    for page in like.pages:
        if not _holds(can, page):
            names = {"f": "floating-point values", "i": "signed values"}
            lost.append(names.get(page.dtype.kind, f"{page.dtype.itemsize * 8} bit"))
        if page.alpha and not can.alpha:
            lost.append("alpha")
        if page.channels - page.alpha not in (1, 3, 4) and not can.any_channels:
            lost.append("channels")
        if page.nodata is not None and not (can.any_channels and can.dpi):
            lost.append("no-data value")
    return lost


def _common_losses(metadata: Metadata, can: Capability) -> list[str]:
    common = metadata.common
    held = (
        ("ICC profile", common.icc, can.icc),
        ("EXIF", common.exif, can.exif),
        ("XMP", common.xmp, can.xmp),
        ("resolution", common.dpi, can.dpi),
        ("text", common.text, can.text),
    )
    return [name for name, value, kept in held if value and not kept]


def _holds(can: Capability, page: Page) -> bool:
    return type_code(page.dtype) in can.dtypes


def metadata_of(like: Header) -> Metadata:
    """What a header says besides the pages; nothing of those that no file was read for."""
    return like.metadata if isinstance(like.metadata, Metadata) else Metadata()
