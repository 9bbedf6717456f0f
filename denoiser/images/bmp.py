"""Windows bitmaps."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image

from denoiser.errors import InputError
from denoiser.images.image import Header, Page, Pixels, Target
from denoiser.images.metadata import Common, Metadata
from denoiser.images.raster import WholeSource, check_size, reading

# Pillow's mode -> the mode that its pixels are read as.
_READ_AS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_INCH_PER_METRE = 0.0254
_MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)  # red, green, blue, alpha: bytes B, G, R, A
_HEADER_AT = 14
_COLOURS_AT = 56
"""Where the header says what colours are meant: MBED and LINK, in little endian, are profiles."""
_V4_SIZE = 108
_BITFIELDS = 3
_SRGB = b"BGRs"


class BmpSource(WholeSource):
    """An open BMP file."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        super().__init__(path)
        with reading(path), path.open("rb") as file:
            self.header = _read_header(path, BmpImagePlugin.BmpImageFile(file), file)
        page = self.header.pages[0]
        check_size(path, page.nbytes, max_bytes, f"its {page.width} x {page.height} pixels")

    def _decode(self) -> NDArray[np.generic]:
        with self._path.open("rb") as file:
            image = BmpImagePlugin.BmpImageFile(file)
            return np.array(image.convert(_READ_AS[image.mode]))


def _read_header(path: Path, image: BmpImagePlugin.BmpImageFile, file: BinaryIO) -> Header:
    if image.mode not in _READ_AS:
        raise InputError(f"{path}: BMP of kind {image.mode} is not supported; convert it to PNG")
    mode = _READ_AS[image.mode]
    page = Page(image.height, image.width, _CHANNELS[mode], np.dtype(np.uint8), mode == "RGBA")
    dpi = image.info.get("dpi")
    common = Common(dpi=(float(dpi[0]), float(dpi[1])) if dpi and all(dpi) else None)
    return Header(path, "bmp", (page,), False, Metadata(common, dropped=_dropped(file)))


def _dropped(file: BinaryIO) -> tuple[str, ...]:
    """A profile can stand in the longest of the headers; neither reader nor writer here knows it."""
    file.seek(_HEADER_AT)
    head = file.read(_COLOURS_AT + 4)
    named = int.from_bytes(head[:4], "little") > _V4_SIZE and head[_COLOURS_AT:] in (b"DEBM", b"KNIL")
    return ("ICC profile",) if named else ()


def write_bmp(path: Path, pixels: Pixels, metadata: Metadata, target: Target) -> None:
    """Write pixels as BMP.

    Parameters
    ----------
    path : Path
    pixels : ndarray
        uint8, (H, W, C): gray, RGB or RGBA.
    metadata : Metadata
        Of the input, of whatever format.
    target : Target
        BMP has no settings.
    """
    dpi = metadata.common.dpi or (0.0, 0.0)
    with path.open("w+b") as file:
        if pixels.shape[2] == 4:
            file.write(_rgba_header(pixels, dpi))
            # Rows are stored from the bottom up.
            file.write(np.ascontiguousarray(pixels[::-1, :, [2, 1, 0, 3]]).data)
        else:
            image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            image.save(file, "BMP", dpi=dpi)


def _rgba_header(pixels: Pixels, dpi: tuple[float, float]) -> bytes:
    """File header and version 4 information header: Pillow writes none that declares the alpha channel."""
    height, width = pixels.shape[:2]
    offset = 14 + _V4_SIZE
    across, down = (round(value / _INCH_PER_METRE) for value in dpi)
    size = pixels.nbytes
    file_header = struct.pack("<2sIHHI", b"BM", offset + size, 0, 0, offset)
    information = struct.pack(
        "<IiiHHIIiiII4I4s", _V4_SIZE, width, height, 1, 32, _BITFIELDS, size, across, down, 0, 0, *_MASKS, _SRGB
    )
    return file_header + information.ljust(_V4_SIZE, b"\0")
