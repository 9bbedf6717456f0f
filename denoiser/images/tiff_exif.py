"""EXIF and GPS directories: out of a TIFF, out of the EXIF block of other formats, and back into either.

tifffile writes neither, and Pillow knows how to lay out a directory at a given place of a file; so the writer leaves
a stand-in field in the page, and the directory is put behind the finished file and the stand-in made to point at it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import tifffile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

EXIF_CODES = (34665, 34853)
"""Fields that point at the EXIF and at the GPS directory."""

ByteOrder = Literal["<", ">"]

_INTEROPERABILITY = 40965
_LONG, _LONG8 = 4, 16
_HEADER = 8
"""Bytes in front of the first directory of a block."""
# No other field lies between these codes and those they stand in for, so the order of fields stays right.
_STAND_IN = {code: code - 1 for code in EXIF_CODES}


@dataclass(frozen=True)
class Directory:
    """Fields of a directory, and the types they were stored in."""

    values: Mapping[int, Any]
    """As Pillow gives them, but text as the bytes of the file: nothing tells its encoding."""
    types: Mapping[int, int]
    whole: bool = True
    """False where it has fields that could not be read."""


def read_directory(path: str, offset: int, byteorder: ByteOrder, bigtiff: bool) -> Directory | None:
    """Read the directory at an offset of a TIFF file; None if there is none that could be written again.

    Other makers use the same fields for things of their own, so what is found need not be a directory.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, offset, byteorder, bigtiff)
    except OSError:
        return None


def _read(file: BinaryIO, offset: int, byteorder: ByteOrder, bigtiff: bool) -> Directory | None:
    """A directory with the one for interoperability below it; None if it is none that could be written again."""
    try:
        directory = _load(file, offset, byteorder, bigtiff)
        nested = directory.values.get(_INTEROPERABILITY)
        if isinstance(nested, int):
            directory = _with(directory, _INTEROPERABILITY, _read(file, nested, byteorder, bigtiff))
        _laid_out(directory, offset, byteorder, bigtiff)
    except (OSError, ValueError, TypeError, LookupError, SyntaxError, OverflowError, struct.error):
        return None
    return directory if directory.values else None


def _with(directory: Directory, code: int, below: Directory | None) -> Directory:
    """A directory with another below it in place of the pointer, or without the pointer."""
    values = {key: value for key, value in directory.values.items() if key != code}
    whole = directory.whole and below is not None and below.whole
    return Directory({**values, code: below} if below else values, directory.types, whole)


def _load(file: BinaryIO, offset: int, byteorder: ByteOrder, bigtiff: bool) -> Directory:
    found = _empty(byteorder, bigtiff)
    file.seek(offset)
    found.load(file)
    values = {code: _bytes(found[code]) for code in found}
    file.seek(offset)
    count = struct.unpack(f"{byteorder}{'Q' if bigtiff else 'H'}", file.read(8 if bigtiff else 2))[0]
    return Directory(values, {code: found.tagtype[code] for code in values}, whole=len(values) == count)


def _bytes(value: Any) -> Any:
    """Pillow takes text for Latin-1, which gives its bytes back whatever they mean, but would write ASCII."""
    return value.encode("latin-1") if isinstance(value, str) else value


def _empty(byteorder: ByteOrder, bigtiff: bool) -> ImageFileDirectory_v2:
    mark = b"II" if byteorder == "<" else b"MM"
    version = struct.pack(f"{byteorder}H", 43 if bigtiff else 42)
    return ImageFileDirectory_v2(mark + version + bytes(12 if bigtiff else 4))


def _laid_out(directory: Directory, offset: int, byteorder: ByteOrder, bigtiff: bool) -> bytes:
    """Bytes of a directory that is to stand at an offset, with those below it behind its own."""
    below = {code: value for code, value in directory.values.items() if isinstance(value, Directory)}
    written = _empty(byteorder, bigtiff)
    for code, value in directory.values.items():
        written.tagtype[code] = _LONG if code in below else directory.types[code]
        written[code] = 0 if code in below else value
    size = len(written.tobytes(offset))  # does not depend on where the others will be
    data = b""
    for code, inner in below.items():
        data += bytes((size + len(data)) & 1)
        written[code] = offset + size + len(data)
        data += _laid_out(inner, written[code], byteorder, bigtiff)
    return written.tobytes(offset) + data


def to_block(fields: Directory, directories: Mapping[int, Directory]) -> bytes | None:
    """EXIF block of other formats from the fields of a page and its directories; None if there is nothing to say."""
    if not fields.values and not directories:
        return None
    root = Directory({**fields.values, **directories}, fields.types)
    return b"II*\x00\x08\x00\x00\x00" + _laid_out(root, _HEADER, "<", False)


@dataclass(frozen=True)
class Block:
    """What an EXIF block of another format says."""

    fields: Directory = field(default_factory=lambda: Directory({}, {}))
    """Of the first directory, without pointers to others."""
    directories: Mapping[int, Directory] = field(default_factory=dict)
    """The EXIF and the GPS directory, by the codes of the fields that point at them."""
    damaged: bool = False
    """A part of it could not be read."""


def from_block(block: bytes | None) -> Block:
    """Read an EXIF block as far as it can be read."""
    if not block:
        return Block()
    orders: dict[bytes, ByteOrder] = {b"II*\0": "<", b"MM\0*": ">"}
    byteorder = orders.get(block[:4])
    if byteorder is None or len(block) < _HEADER:
        return Block(damaged=True)
    file = BytesIO(block)
    root = _read(file, struct.unpack(f"{byteorder}I", block[4:_HEADER])[0], byteorder, False)
    if root is None:
        return Block(damaged=True)
    for code in EXIF_CODES:
        if isinstance(place := root.values.get(code), int):
            root = _with(root, code, _read(file, place, byteorder, False))
    below = {code: value for code, value in root.values.items() if isinstance(value, Directory)}
    values = {code: value for code, value in root.values.items() if code not in EXIF_CODES}
    return Block(Directory(values, root.types), below, damaged=not root.whole)


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
