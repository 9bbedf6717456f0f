"""EXIF and GPS directories: out of a TIFF, out of the EXIF block of other formats, and back into either.

tifffile writes neither, and Pillow knows how to lay out a directory at a given place of a file; so the writer leaves
a stand-in field in the page, and the directory is put behind the finished file and the stand-in made to point at it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

EXIF_CODES = (34665, 34853)
"""Fields that point at the EXIF and at the GPS directory."""

ByteOrder = Literal["<", ">"]

_INTEROPERABILITY = 40965
_LONG, _LONG8 = 4, 16
# No other field lies between these codes and those they stand in for, so the order of fields stays right.
_STAND_IN = {code: code - 1 for code in EXIF_CODES}


@dataclass(frozen=True)
class Directory:
    """Fields of a directory, and the types they were stored in."""

    values: Mapping[int, Any]
    types: Mapping[int, int]


def read_directory(path: str, offset: int, byteorder: ByteOrder, bigtiff: bool) -> Directory | None:
    """Read the directory at an offset of a TIFF file; None if there is none that could be written again.

    Other makers use the same fields for things of their own, so what is found need not be a directory.
    """
    try:
        directory = _read(path, offset, byteorder, bigtiff)
        _laid_out(directory, offset, byteorder, bigtiff)
    except (OSError, ValueError, TypeError, LookupError, SyntaxError, OverflowError, struct.error):
        return None
    return directory if directory.values else None


def _read(path: str, offset: int, byteorder: ByteOrder, bigtiff: bool) -> Directory:
    with Path(path).open("rb") as file:
        found = _empty(byteorder, bigtiff)
        file.seek(offset)
        found.load(file)
        values = {code: found[code] for code in found}
        types = dict(found.tagtype)
        nested = values.get(_INTEROPERABILITY)
        if isinstance(nested, int):
            inner = _empty(byteorder, bigtiff)
            file.seek(nested)
            inner.load(file)
            values[_INTEROPERABILITY] = {code: inner[code] for code in inner}
            types[_INTEROPERABILITY] = _LONG
    return Directory(values, types)


def _empty(byteorder: ByteOrder, bigtiff: bool) -> ImageFileDirectory_v2:
    mark = b"II" if byteorder == "<" else b"MM"
    version = struct.pack(f"{byteorder}H", 43 if bigtiff else 42)
    return ImageFileDirectory_v2(mark + version + bytes(12 if bigtiff else 4))


def _laid_out(directory: Directory, offset: int, byteorder: ByteOrder, bigtiff: bool) -> bytes:
    written = _empty(byteorder, bigtiff)
    for code, value in directory.values.items():
        if code in directory.types:
            written.tagtype[code] = directory.types[code]
        written[code] = value
    return written.tobytes(offset)


def to_block(fields: Mapping[int, Any], directories: Mapping[int, Directory]) -> bytes | None:
    """EXIF block of other formats from the fields of a page and its directories; None if there is nothing to say."""
    if not fields and not directories:
        return None
    root = _empty("<", False)
    for code, value in fields.items():
        root[code] = value
    for code, directory in directories.items():
        root.tagtype[code] = _LONG
        root[code] = dict(directory.values)
    return b"II*\x00\x08\x00\x00\x00" + root.tobytes(8)


def from_block(block: bytes | None) -> tuple[dict[int, Any], dict[int, Directory]]:
    """Fields of the first directory of an EXIF block, and its EXIF and GPS directories."""
    if not block:
        return {}, {}
    exif = Image.Exif()
    exif.load(block)
    fields = {code: value for code, value in exif.items() if code not in EXIF_CODES}
    directories = {code: dict(exif.get_ifd(code)) for code in EXIF_CODES}
    return fields, {code: Directory(values, {}) for code, values in directories.items() if values}


def stand_ins(codes: Iterable[int], bigtiff: bool) -> list[tuple[int, int, int, int, bool]]:
    """Fields for the writer where directories are to be attached."""
    return [(_STAND_IN[code], _LONG8 if bigtiff else _LONG, 1, 0, True) for code in codes]


def attach(path: Path, directories: Iterable[tuple[int, tuple[tuple[int, Directory], ...]]]) -> None:
    """Put directories behind a finished TIFF and make the stand-ins of its pages point at them.

    Parameters
    ----------
    path : Path
    directories : iterable of (page number, ((code, Directory), ...))
        Page numbers count main directories, without SubIFDs.
    """
    wanted = [(page, found) for page, found in directories if found]
    if not wanted:
        return
    with tifffile.TiffFile(path) as tif:
        byteorder, bigtiff = tif.byteorder, tif.is_bigtiff
        places = [
            (tif.pages[page].aspage().tags[_STAND_IN[code]].offset, code, directory)
            for page, found in wanted
            for code, directory in found
        ]
    with path.open("r+b") as file:
        for place, code, directory in places:
            offset = file.seek(0, 2)
            offset += file.write(bytes(offset & 1))
            file.write(_laid_out(directory, offset, byteorder, bigtiff))
            file.seek(place)
            file.write(struct.pack(f"{byteorder}H", code))
            file.seek(place + (12 if bigtiff else 8))
            file.write(struct.pack(f"{byteorder}{'Q' if bigtiff else 'I'}", offset))
