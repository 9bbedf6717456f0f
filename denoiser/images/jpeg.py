"""JPEG with its quantisation tables, subsampling and marker segments."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from denoiser.errors import InputError
from denoiser.images.image import Header, Page, Pixels, Target
from denoiser.images.metadata import Common, Metadata, strip_exif_prefix
from denoiser.images.raster import WholeSource, check_size, reading

_CHANNELS = {"L": 1, "RGB": 3, "CMYK": 4}
_SAMPLING = {((1, 1),): 0, ((2, 1), (1, 1)): 1, ((2, 2), (1, 1)): 2}
_DEFAULT_QUALITY = 95
_XMP_MARKER = b"http://ns.adobe.com/xap/1.0/\x00"
_ICC_MARKER = b"ICC_PROFILE\x00"
_MOVED = (b"Exif\0\0", _XMP_MARKER, _ICC_MARKER, b"MPF\0")
"""Beginnings of segments that other formats get, or that are named as dropped."""
_PARTICULAR = {
    (1, b"http://ns.adobe.com/xmp/extension/\0"): "extended XMP",
    (11, b"JP"): "content credentials (JUMBF)",
    (13, b"Photoshop 3.0\0"): "Photoshop resources (IPTC)",
}
"""Names of segments that belong to JPEG alone, by their number and beginning."""
_LONGEST_SEGMENT = 65533
_JFIF_DENSITY_AT = 13  # SOI, APP0 marker and length, "JFIF\0", version
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""One that begins a segment or ends the picture; in compressed pixels 0xFF stands before 0 or a restart marker."""
_TAIL = 1 << 16
_LONGEST_HEADER = 1 << 24
_PADDING = 64
"""So many bytes behind a picture are taken for no data, such as the line end of a mailer."""


@dataclass(frozen=True)
class JpegRecord:
    """What is needed to write the same JPEG again."""

    tables: tuple[tuple[int, ...], ...]
    """Quantisation table of each component, or one for all."""
    subsampling: int
    """Of chroma in Pillow's numbers: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0."""
    progressive: bool
    stored_rgb: bool
    """RGB without conversion to YCbCr."""
    density: tuple[int, int, int] | None
    """Unit, across and down of the JFIF header."""
    segments: bytes
    """Application and comment segments, ready to be written."""


class JpegSource(WholeSource):
    """An open JPEG file."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        super().__init__(path)
        with reading(path), path.open("rb") as file:
            # Not Image.open, which would take a picture with a preview behind it for another format.
            self.header = _read_header(path, JpegImagePlugin.JpegImageFile(file), file)
        page = self.header.pages[0]
        check_size(path, page.nbytes, max_bytes, f"its {page.width} x {page.height} pixels")

    def _decode(self) -> NDArray[np.generic]:
        with self._path.open("rb") as file:
            return np.array(JpegImagePlugin.JpegImageFile(file))


def _read_header(path: Path, image: JpegImagePlugin.JpegImageFile, file: BinaryIO) -> Header:
    if image.mode not in _CHANNELS:
        raise InputError(f"{path}: JPEG of kind {image.mode} is not supported; convert it to RGB")
    page = Page(image.height, image.width, _CHANNELS[image.mode], np.dtype(np.uint8))
    segments = [(int(name[3:]), data) for name, data in image.applist if name.startswith("APP")]
    previews = any(marker == 2 and data.startswith(b"MPF\0") for marker, data in segments)
    if previews:
        dropped = "secondary pictures (MPF)"
    else:
        dropped = "data behind the picture (a video, or a second picture)" if _has_more(file, page.nbytes) else ""
    metadata = Metadata(
        common=_common(image),
        particular=_particular(segments),
        native=_record(image),
        lossy=True,
        cmyk=image.mode == "CMYK",
        dropped=(dropped,) if dropped else (),
    )
    return Header(path, "jpeg", (page,), False, metadata)


def _particular(segments: list[tuple[int, bytes]]) -> tuple[str, ...]:
    """What segments say that no other format gets."""
    found = []
    for marker, data in segments:
        moved = marker in (0, 14) or data.startswith(_MOVED)
        if not moved:
            named = (
                name for (number, start), name in _PARTICULAR.items() if number == marker and data.startswith(start)
            )
            found.append(next(named, f"JPEG segments of kind APP{marker}"))
    return tuple(dict.fromkeys(found))


def _has_more(file: BinaryIO, nbytes: int) -> bool:
    """Whether data follow the picture, which has so many bytes decoded.

    All of it is read only where the last part of the file does not look like an end: what is not seen is a second
    picture that is longer than this part and to which nothing in the first one points.
    """
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
    tail = file.read().rstrip(b"\0")
    if tail.endswith(_END) and _START not in tail:
        return False
    file.seek(0)
    data = file.read(nbytes + _LONGEST_HEADER)  # a video may be larger than memory
    end = _end(data)
    return len(data[end : end + _TAIL].strip(b"\0")) > _PADDING


def _end(data: bytes) -> int:
    """Where the first picture ends; the end of the data where its own is missing."""
    at = 2
    while marker := _MARKER.search(data, at):
        if marker[0] == _END:
            return marker.end()
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return len(data)


def _common(image: JpegImagePlugin.JpegImageFile) -> Common:
    info = image.info
    comment = info.get("comment")
    text = (("Comment", comment.decode("utf-8", "replace").rstrip("\0")),) if comment else ()
    dpi = info.get("dpi")
    return Common(
        icc=info.get("icc_profile"),
        exif=strip_exif_prefix(info.get("exif")),
        xmp=info.get("xmp"),
        dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        text=text,
    )


def _record(image: JpegImagePlugin.JpegImageFile) -> JpegRecord:
    layers = image.layer  # of each component: id, horizontal and vertical sampling, table
    tables = [tuple(image.quantization[layer[3]]) for layer in layers]
    if len(set(tables)) == 1:
        tables = tables[:1]
    elif len(tables) == 3 and tables[1] == tables[2]:
        tables = tables[:2]  # libjpeg gives both chroma components the second one
    adobe_rgb = image.info.get("adobe_transform", 1) == 0
    named_rgb = [layer[0] for layer in layers] == [ord(letter) for letter in "RGB"]
    info = image.info
    density = (info["jfif_unit"], *info["jfif_density"]) if "jfif_density" in info else None
    return JpegRecord(
        tables=tuple(tables),
        subsampling=_subsampling([layer[1:3] for layer in layers]),
        progressive=bool(info.get("progressive")),
        stored_rgb=len(layers) == 3 and (adobe_rgb or named_rgb),
        density=density,
        segments=_segments(image.applist),
    )


def _subsampling(factors: list[tuple[int, int]]) -> int:
    """Unusual kinds become 4:4:4, which loses nothing."""
    if len(factors) != 3 or factors[1] != factors[2]:
        return 0
    return _SAMPLING.get(tuple(dict.fromkeys(factors)), 0)


def _segments(applist: list[tuple[str, bytes]]) -> bytes:
    """Segments as they were, but for JFIF and Adobe, which the codec writes, and pointers to pictures behind this."""
    kept = []
    for name, data in applist:
        if name == "COM":
            kept.append(_segment(0xFE, data))
        elif name not in ("APP0", "APP14") and not (name == "APP2" and data.startswith(b"MPF\0")):
            kept.append(_segment(0xE0 + int(name[3:]), data))
    return b"".join(kept)


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def write_jpeg(path: Path, pixels: Pixels, metadata: Metadata, target: Target) -> None:
    """Write pixels as JPEG, with the input's tables and subsampling if it was one and no quality is asked for.

    Parameters
    ----------
    path : Path
    pixels : ndarray
        uint8, (H, W, C): gray, RGB or CMYK.
    metadata : Metadata
        Of the input, of whatever format.
    target : Target

    Raises
    ------
    InputError
        If EXIF or XMP of another format are longer than JPEG allows.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, _mode(pixels))
    record = metadata.native if isinstance(metadata.native, JpegRecord) else None
    extra = record.segments if record else _fresh_segments(path, metadata.common)
    own_tables = record is not None and target.quality is None
    # A real file and not memory: only then does Pillow work without holding up other threads.
    with path.open("w+b") as file:
        image.save(
            file,
            "JPEG",
            quality=-1 if own_tables else target.quality or _DEFAULT_QUALITY,
            qtables=[list(table) for table in record.tables] if record and own_tables else None,
            subsampling=record.subsampling if record else 0,
            progressive=bool(record and record.progressive),
            keep_rgb=bool(record and record.stored_rgb),
            extra=extra,
        )
        _write_density(file, _density(record, metadata.common))


def _mode(pixels: Pixels) -> str:
    return {channels: mode for mode, channels in _CHANNELS.items()}[pixels.shape[2]]


def _density(record: JpegRecord | None, common: Common) -> tuple[int, int, int] | None:
    if record:
        return record.density
    if not common.dpi:
        return None
    across, down = (min(65535, max(1, round(value))) for value in common.dpi)
    return 1, across, down


def _write_density(file: BinaryIO, density: tuple[int, int, int] | None) -> None:
    """Put unit and density into the JFIF header as they were: Pillow writes whole dots per inch alone."""
    file.seek(0)
    if density and file.read(11)[6:] == b"JFIF\0":
        file.seek(_JFIF_DENSITY_AT)
        file.write(struct.pack(">BHH", *density))


def _fresh_segments(path: Path, common: Common) -> bytes:
    kept = []
    if common.exif:
        kept.append(_checked_segment(path, 0xE1, b"Exif\0\0" + common.exif, "EXIF"))
    if common.xmp:
        kept.append(_checked_segment(path, 0xE1, _XMP_MARKER + common.xmp, "XMP"))
    if common.icc:
        size = _LONGEST_SEGMENT - len(_ICC_MARKER) - 2
        parts = [common.icc[start : start + size] for start in range(0, len(common.icc), size)]
        kept += [
            _segment(0xE2, _ICC_MARKER + bytes((number, len(parts))) + part) for number, part in enumerate(parts, 1)
        ]
    for keyword, value in common.text:
        line = (value if keyword in ("Comment", "Description") else f"{keyword}: {value}").encode()
        kept += [_segment(0xFE, line[at : at + _LONGEST_SEGMENT]) for at in range(0, len(line), _LONGEST_SEGMENT)]
    return b"".join(kept)


def _checked_segment(path: Path, marker: int, data: bytes, name: str) -> bytes:
    if len(data) > _LONGEST_SEGMENT:
        raise InputError(f"{path}: {len(data)} bytes of {name} do not fit a JPEG; choose png or tiff")
    return _segment(marker, data)
