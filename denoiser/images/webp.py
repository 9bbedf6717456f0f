"""WebP, lossy and lossless."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoiser.errors import InputError
from denoiser.images.image import Header, Page, Pixels, Target
from denoiser.images.metadata import Common, Metadata, is_gray_profile, strip_exif_prefix
from denoiser.images.raster import WholeSource, check_size, reading

_DEFAULT_QUALITY = 90
_EFFORT = 4  # of lossy encoding, 0 to 6
_LOSSLESS_EFFORT = 30  # 0 to 100
_ANIMATION, _ALPHA = 0x02, 0x10
_WANTED = (b"ICCP", b"EXIF", b"XMP ")


@dataclass(frozen=True)
class WebpRecord:
    """What is needed to write the same WebP again."""

    lossless: bool


class WebpSource(WholeSource):
    """An open WebP file of one frame."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        super().__init__(path)
        with reading(path), path.open("rb") as file:
            self.header = _read_header(path, file)
        page = self.header.pages[0]
        check_size(path, page.nbytes, max_bytes, f"its {page.width} x {page.height} pixels")

    def _decode(self) -> NDArray[np.generic]:
        alpha = self.header.pages[0].alpha
        decoded: NDArray[np.generic] = imagecodecs.webp_decode(self._path.read_bytes(), hasalpha=alpha)
        return decoded


def _read_header(path: Path, file: BinaryIO) -> Header:
    """Walk the RIFF chunks; pixels are passed over."""
    _, length, _ = struct.unpack("<4sI4s", file.read(12))
    end = min(8 + length, path.stat().st_size)
    size: tuple[int, int] | None = None
    alpha = extended = False
    image = b""
    kept: dict[bytes, bytes] = {}
    unknown: list[str] = []
    while file.tell() + 8 <= end:
        kind, count = struct.unpack("<4sI", file.read(8))
        start = file.tell()
        if start + count > path.stat().st_size:
            raise InputError(f"{path}: cut short, its end is missing; copy it again from its source")
        if kind == b"VP8X":
            size, alpha, extended = _canvas(path, file.read(10)), False, True
        elif kind in (b"VP8 ", b"VP8L") and not image:
            image = kind
            stream_size, stream_alpha = _stream(kind, file.read(10))
            size, alpha = size or stream_size, alpha or stream_alpha
        elif kind == b"ALPH":
            alpha = True
        elif kind in _WANTED and extended:
            kept[kind] = file.read(count)
        elif kind not in _WANTED:
            unknown.append(f"chunk {kind.decode('latin-1').strip()}")
        file.seek(start + count + (count & 1))
    if size is None or not image:
        raise InputError(f"{path}: holds no pixels; the file is damaged or cut short")
    page = Page(size[1], size[0], 3 + alpha, np.dtype(np.uint8), alpha)
    common = Common(kept.get(b"ICCP"), strip_exif_prefix(kept.get(b"EXIF")), kept.get(b"XMP "))
    lossless = image == b"VP8L"
    dropped = tuple(dict.fromkeys(unknown))
    metadata = Metadata(common, WebpRecord(lossless), lossy=not lossless, dropped=dropped)
    return Header(path, "webp", (page,), False, metadata)


def _canvas(path: Path, data: bytes) -> tuple[int, int]:
    if data[0] & _ANIMATION:
        raise InputError(f"{path}: is an animation; save its frames as separate pictures or a TIFF first")
    return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1


def _stream(kind: bytes, data: bytes) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether the lossless stream has alpha."""
    if kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
    width, height = struct.unpack("<HH", data[6:10])
    return (width & 0x3FFF, height & 0x3FFF), False


def write_webp(path: Path, pixels: Pixels, metadata: Metadata, target: Target) -> None:
    """Write pixels as WebP: lossless if the input was and no quality is asked for.

    Parameters
    ----------
    path : Path
    pixels : ndarray
        uint8, (H, W, C): RGB or RGBA.
    metadata : Metadata
        Of the input, of whatever format.
    target : Target
    """
    lossless = target.quality is None and not metadata.lossy
    common = metadata.common
    with path.open("w+b") as file:
        Image.fromarray(pixels).save(
            file,
            "WEBP",
            lossless=lossless,
            quality=_LOSSLESS_EFFORT if lossless else target.quality or _DEFAULT_QUALITY,
            method=_EFFORT,
            exact=True,  # colours below full transparency are data as well
            icc_profile=b"" if is_gray_profile(common.icc) else common.icc or b"",
            exif=common.exif or b"",
            xmp=common.xmp or b"",
        )
