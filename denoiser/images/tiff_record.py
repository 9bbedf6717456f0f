"""What a TIFF directory says, kept so that the same directory can be written again."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC

from denoiser.images.image import Page
from denoiser.images.metadata import Common
from denoiser.images.tiff_exif import EXIF_CODES, ByteOrder, Directory, from_block, read_directory, to_block

JPEG_COMPRESSIONS = (COMPRESSION.OJPEG, COMPRESSION.JPEG)
REDUCED_PAGE, MASK_PAGE = 1, 4  # bits of NewSubfileType
PREMULTIPLIED = 1  # of ExtraSamples

_DESCRIPTION, _ORIENTATION, _SOFTWARE = 270, 274, 305
_BYTE, _ASCII, _SHORT, _RATIONAL, _UNDEFINED, _SRATIONAL = 1, 2, 3, 5, 7, 10
_BYTES = (_BYTE, _ASCII, _UNDEFINED)
_XMP, _ICC, _PHOTOSHOP_LAYERS, _GDAL_NODATA = 700, 34675, 37724, 42113
_UNITS = {2: 1.0, 3: 2.54}  # inches per ResolutionUnit

# Written anew by the writer from the layout, or true of the old bytes alone (offsets, tables, coefficients).
_STRUCTURAL = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 288, 289, 292, 293, 296, 317, 320),
        *(322, 323, 324, 325, 330, 338, 339, 347, 400, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
        *(32996, 32997, 32998, 34665, 34853, 40965, 50674, _PHOTOSHOP_LAYERS),
    )
)
_SAMPLE_STATISTICS = frozenset((280, 281, 340, 341))

# Fields that EXIF of other formats holds in its first directory and TIFF in the page itself.
_PERSONAL = (271, 272, 305, 306, 315, 33432)

# What other formats get, or nobody misses: names of pages, statistics, and how samples are to be shown in print.
_CARRIED = frozenset((*_PERSONAL, *_SAMPLE_STATISTICS, _DESCRIPTION, _ORIENTATION, _XMP, _ICC, _GDAL_NODATA, 285, 297))
_PARTICULAR = {
    **dict.fromkeys((33550, 33920, 33922, 34264, 34735, 34736, 34737), "georeference (GeoTIFF)"),
    42112: "GDAL metadata",
    33723: "IPTC",
    34377: "Photoshop resources (IPTC)",
    50838: "ImageJ metadata",
    50839: "ImageJ metadata",
    320: "colour map",
}
"""Names of fields that belong to TIFF alone."""


@dataclass(frozen=True)
class RawTag:
    """A field as it stands in the file, in the file's byte order."""

    code: int
    dtype: int
    count: int
    data: bytes

    def for_writer(self, byteorder: str) -> tuple[int, int, int, Any, bool]:
        """As TiffWriter takes it; it counts packed rationals twice, so those go as numbers."""
        if self.dtype in (_RATIONAL, _SRATIONAL):
            letter = "I" if self.dtype == _RATIONAL else "i"
            numbers = struct.unpack(f"{byteorder}{2 * self.count}{letter}", self.data)
            return self.code, self.dtype, self.count, numbers, True
        return self.code, self.dtype, self.count, self.data, True


@dataclass(frozen=True)
class Ifd:
    """Layout and description of one page."""

    compression: int
    predictor: int = 1
    photometric: int = PHOTOMETRIC.MINISBLACK
    planar: bool = False
    """Channels stored one after the other and not pixel by pixel."""
    tile: tuple[int, int] | None = None
    rows_per_strip: int | None = None
    extrasamples: tuple[int, ...] = ()
    subfiletype: int | None = None
    resolution: tuple[tuple[int, int], tuple[int, int]] | None = None
    resolution_unit: int = 1
    subsampling: tuple[int, int] = (1, 1)
    tags: tuple[RawTag, ...] = ()
    exif: tuple[tuple[int, Directory], ...] = ()
    """EXIF and GPS directories, under their tag codes."""
    reduced: int = 0
    """SubIFDs that belong to this page; they are the pages that follow."""
    levels: tuple[Level, ...] = ()
    """Reduced versions of the page, largest first as a rule."""
    bits: int = 0
    """Bits of a sample where they are fewer than the 8 they are read as, else 0."""
    palette: NDArray[Any] | None = field(default=None, compare=False)
    """(entries, 3), where indices are read as RGB."""


@dataclass(frozen=True)
class Level:
    """A reduced version of a page, which is made anew when the page is written."""

    page: Page
    ifd: Ifd
    sub: bool
    """Whether it is a SubIFD of the page's directory, else a directory behind it."""


@dataclass(frozen=True)
class TiffRecord:
    """What is needed to write the same TIFF again."""

    byteorder: ByteOrder
    bigtiff: bool
    ifds: tuple[Ifd, ...]
    """One for each page, but a single one where ``virtual``."""
    virtual: bool = False
    """Pages follow each other behind the first directory, which alone is in the file (large ImageJ stacks)."""


def read_ifd(page: tifffile.TiffPage, keep_indices: bool) -> Ifd:
    """Layout and description of a page.

    Parameters
    ----------
    page : TiffPage
    keep_indices : bool
        Do not expand palettes: in microscopy they colour intensities for display.
    """
    palette = _palette(page) if page.photometric == PHOTOMETRIC.PALETTE and not keep_indices else None
    bits = page.bitspersample if page.bitspersample < 8 and palette is None else 0
    return Ifd(
        compression=int(page.compression),
        predictor=int(page.predictor),
        photometric=int(page.photometric),
        planar=page.planarconfig == 2 and page.samplesperpixel > 1,
        tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
        rows_per_strip=None if page.is_tiled else min(page.rowsperstrip, page.imagelength),
        extrasamples=tuple(int(kind) if kind in (1, 2) else 0 for kind in page.extrasamples),
        subfiletype=page.tags.valueof(254),
        resolution=_resolution(page),
        resolution_unit=_resolution_unit(page),
        subsampling=tuple(page.tags.valueof(530, (2, 2))),
        tags=_carried_tags(page, expanded=bits > 0 or palette is not None, palette_kept=palette is None),
        exif=_exif(page),
        bits=bits,
        palette=palette,
    )


def _palette(page: tifffile.TiffPage) -> NDArray[Any] | None:
    colours = page.colormap
    if colours is None:
        return None
    table = np.asarray(colours).T  # (entries, 3), 16-bit
    if page.bitspersample > 8:
        return np.ascontiguousarray(table.astype(np.uint16))
    # Some writers stored 8-bit values; the standard asks for 16.
    return np.ascontiguousarray((table if table.max() < 256 else table >> 8).astype(np.uint8))


def _resolution_unit(page: tifffile.TiffPage) -> int:
    """None, inch or centimetre; what is nothing of the kind counts as none."""
    unit = page.tags.valueof(296, 2)
    return int(unit) if unit in (1, 2, 3) else 1


def _resolution(page: tifffile.TiffPage) -> tuple[tuple[int, int], tuple[int, int]] | None:
    across, down = page.tags.valueof(282), page.tags.valueof(283)
    if across is None or down is None or len(across) != 2 or len(down) != 2 or not (across[1] and down[1]):
        return None
    return (int(across[0]), int(across[1])), (int(down[0]), int(down[1]))


def _carried_tags(page: tifffile.TiffPage, expanded: bool, palette_kept: bool) -> tuple[RawTag, ...]:
    handle = page.parent.filehandle
    carried = []
    for tag in page.tags:
        colour_map = tag.code == 320 and palette_kept and page.photometric == PHOTOMETRIC.PALETTE
        stale = expanded and tag.code in _SAMPLE_STATISTICS
        if (tag.code in _STRUCTURAL and not colour_map) or stale:
            continue
        handle.seek(tag.valueoffset)
        data = handle.read(tag.valuebytecount)
        if len(data) < tag.valuebytecount:
            continue  # a field that points out of the file says nothing
        if tag.code == _DESCRIPTION and not palette_kept and data.startswith(b'{"shape"'):
            continue  # the shape of the indices, which are RGB now
        carried.append(RawTag(tag.code, int(tag.dtype), tag.count, data))
    return tuple(carried)


def _exif(page: tifffile.TiffPage) -> tuple[tuple[int, Directory], ...]:
    tif = page.parent
    found = []
    for code in EXIF_CODES:
        tag = page.tags.get(code)
        if tag is None:
            continue
        # tifffile follows the pointer: the place of the value is that of the directory.
        directory = read_directory(tif.filehandle.path, tag.valueoffset, tif.byteorder, tif.is_bigtiff)
        if directory is not None:
            found.append((code, directory))
    return tuple(found)


def nodata_of(page: tifffile.TiffPage) -> float | None:
    """GDAL's no-data value; text that is no number counts as none."""
    text = page.tags.valueof(_GDAL_NODATA)
    try:
        return float(str(text).replace(",", ".")) if text is not None else None
    except ValueError:
        return None


def dropped_by(page: tifffile.TiffPage, ifd: Ifd) -> list[str]:
    """What a page holds that is not written back."""
    dropped = ["Photoshop layers"] if _PHOTOSHOP_LAYERS in page.tags else []
    read = {code for code, directory in ifd.exif if directory.whole}
    return dropped + ["damaged EXIF" for code in EXIF_CODES if code in page.tags and code not in read]


def particular_of(ifds: Iterable[Ifd]) -> tuple[str, ...]:
    """What pages say in fields that no other format gets: names for users."""
    codes = sorted({tag.code for ifd in ifds for tag in ifd.tags} - _CARRIED)
    return tuple(dict.fromkeys(_PARTICULAR.get(code) or _name(code) for code in codes))


def _name(code: int) -> str:
    known = tifffile.TIFF.TAGS.get(code, None)
    return f"TIFF field {code} ({known})" if known else f"TIFF field {code}"


def common_of(page: tifffile.TiffPage, ifd: Ifd) -> Common:
    """Description of a page in terms of all formats."""
    raw = {tag.code: tag.data for tag in ifd.tags}
    dpi = None
    if ifd.resolution and ifd.resolution_unit in _UNITS:
        across, down = (value[0] / value[1] * _UNITS[ifd.resolution_unit] for value in ifd.resolution)
        dpi = (across, down) if across > 0 and down > 0 else None
    types = {tag.code: tag.dtype for tag in ifd.tags}
    fields: dict[int, Any] = {code: raw[code].removesuffix(b"\0") for code in _PERSONAL if types.get(code) in _BYTES}
    orientation = page.tags.valueof(_ORIENTATION, 1)
    if fields.keys() <= {_SOFTWARE} and orientation == 1:
        fields = {}  # nothing that anybody would miss
    elif _ORIENTATION in raw and isinstance(orientation, int):
        fields[_ORIENTATION] = orientation
    description = page.description if _DESCRIPTION in raw else ""
    return Common(
        icc=raw.get(_ICC),
        exif=to_block(Directory(fields, types), dict(ifd.exif)),
        xmp=raw.get(_XMP),
        dpi=dpi,
        text=(("Description", description),) if description else (),
    )


def fresh_ifd(page: Page, common: Common, cmyk: bool) -> Ifd:
    """A directory for a picture that was no TIFF: deflate, and what it said of itself in fields of TIFF."""
    colours = page.channels - page.alpha
    coloured = PHOTOMETRIC.SEPARATED if cmyk else PHOTOMETRIC.RGB
    photometric = coloured if cmyk or colours == 3 else PHOTOMETRIC.MINISBLACK
    exif = from_block(common.exif)
    unwanted = _STRUCTURAL | {_XMP, _ICC} | ({_DESCRIPTION} if common.text else set())
    wanted = {code: value for code, value in exif.fields.values.items() if code not in unwanted}
    tags = [tag for code, value in wanted.items() if (tag := _field(code, exif.fields.types[code], value))]
    if common.text:
        lines = [value if key in ("Comment", "Description") else f"{key}: {value}" for key, value in common.text]
        tags.append(_text_tag(_DESCRIPTION, "\n".join(lines)))
    if common.icc:
        tags.append(RawTag(_ICC, _UNDEFINED, len(common.icc), common.icc))
    if common.xmp:
        tags.append(RawTag(_XMP, _BYTE, len(common.xmp), common.xmp))
    if page.nodata is not None:
        tags.append(_text_tag(_GDAL_NODATA, repr(page.nodata)))
    hundredths = [(round(value * 100), 100) for value in common.dpi] if common.dpi else None
    return Ifd(
        compression=COMPRESSION.ADOBE_DEFLATE,
        predictor=2 if page.dtype.kind in "iu" else 1,
        photometric=photometric,
        extrasamples=(0,) * (colours - 1 if photometric == PHOTOMETRIC.MINISBLACK else 0) + (2,) * page.alpha,
        resolution=(hundredths[0], hundredths[1]) if hundredths else None,
        resolution_unit=2 if hundredths else 1,
        tags=tuple(tags),
        exif=tuple(exif.directories.items()),
    )


def _field(code: int, dtype: int, value: Any) -> RawTag | None:
    """A field of EXIF as one of TIFF; None for kinds that do not stand in the first directory of cameras."""
    if isinstance(value, bytes):
        data = value + b"\0" if dtype == _ASCII else value
        return RawTag(code, dtype, len(data), data)
    if isinstance(value, int) and 0 <= value < 1 << 16:
        return RawTag(code, _SHORT, 1, struct.pack("<H", value))
    return None


def _text_tag(code: int, text: str) -> RawTag:
    data = text.encode().rstrip(b"\0") + b"\0"
    return RawTag(code, _ASCII, len(data), data)
