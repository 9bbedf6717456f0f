"""PNG of every bit depth, with its ancillary chunks.

Pillow opens 16-bit colour as 8-bit, so libpng is reached through imagecodecs, which does not keep chunks: they are
read here and put back behind the header of the encoded file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from denoiser.errors import InputError
from denoiser.images.image import Header, Page, Pixels, Target
from denoiser.images.metadata import Common, Metadata, strip_exif_prefix
from denoiser.images.raster import WholeSource, check_size, reading

_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_MAGIC) + 8 + 13 + 4  # signature, then IHDR with length, type and checksum

_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_COLOURS = {_GRAY: 1, _RGB: 3, _PALETTE: 3, _GRAY_ALPHA: 1, _RGB_ALPHA: 3}

# Measured on photographs, one core, 8-bit RGB: level 6 of Pillow 4 MP/s; run lengths behind the Paeth filter 29 MP/s
# at a size within 1% of that, since the filter leaves little that a longer search for matches would find; no search at
# all 35 MP/s at a size within 3%, smaller or larger. But that spends a bit on every sample, also where all are equal.
_LEVEL, _NO_SEARCH, _RUN_LENGTHS, _PAETH = 1, 2, 3, 128
_EQUAL = 0.4
"""Share of pixels equal to the one before, from which on runs are looked for."""

# Of no use in the output: the codec writes its own, or they speak of a palette or an animation that is gone.
_STRUCTURAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"acTL", b"fcTL", b"fdAT"}
# In units of the stored samples: true only while bit depth and colour type stay.
_SAMPLES = {b"sBIT", b"bKGD"}
_PARTICULAR = {
    b"gAMA": "gamma",
    b"cHRM": "chromaticities",
    b"cICP": "coding-independent code points (cICP)",
    b"mDCV": "mastering display (mDCV)",
    b"cLLI": "light levels (cLLI)",
    b"caBX": "content credentials (JUMBF)",
}
"""Names of chunks that belong to PNG alone."""
# sRGB, as gAMA, cHRM and cICP say it: https://www.w3.org/TR/png-3/#srgb-standard-colour-space
_USUAL = (
    struct.pack(">I", 45455),
    struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    bytes((1, 13, 0, 1)),
)
_SMALL = 1 << 16
"""Bytes of a file from which on it is read again for its pixels."""
_LONGEST_CHUNK = 1 << 28
_LONGEST_TEXT = 1 << 26
_XMP = b"XML:com.adobe.xmp"
_INCH_PER_METRE = 0.0254


class Chunk(NamedTuple):
    """One block of a PNG file."""

    type: bytes
    data: bytes


@dataclass(frozen=True)
class PngRecord:
    """What is needed to write the same PNG again."""

    bit_depth: int
    colour_type: int
    interlaced: bool
    chunks: tuple[Chunk, ...]
    """Ancillary chunks in the order of the file."""


class PngSource(WholeSource):
    """An open PNG file."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        super().__init__(path)
        self._encoded: bytes | None = None
        """A small file, which is read once."""
        with reading(path), path.open("rb") as file:
            start = file.read(_SMALL)
            if len(start) < _SMALL:
                self._encoded = start
                self.header = _read_header(path, BytesIO(start), max_bytes)
            else:
                self.header = _read_header(path, file, max_bytes)

    def _decode(self) -> NDArray[np.generic]:
        record: PngRecord = self.header.metadata.native
        if record.interlaced and record.bit_depth <= 8:
            # imagecodecs decodes these too, but lets libpng write a warning to the user's stderr.
            with self._path.open("rb") as file:
                image = PngImagePlugin.PngImageFile(file)
                if record.colour_type == _GRAY and record.bit_depth > 1 and "transparency" in image.info:
                    # Pillow widens the samples to 8 bits, but not the value that is transparent.
                    image.info["transparency"] *= 255 // ((1 << record.bit_depth) - 1)
                return np.array(image.convert(_MODES[self.header.pages[0].channels]))
        decoded: NDArray[np.generic] = imagecodecs.png_decode(self._encoded or self._path.read_bytes())
        return decoded


def _read_header(path: Path, file: BinaryIO, max_bytes: int | None) -> Header:
    file.seek(len(_MAGIC))
    kind, size = _next_chunk(path, file)
    if kind != b"IHDR" or size != 13:
        raise InputError(f"{path}: does not begin with a PNG header; the file is damaged")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", _chunk_data(path, file, kind, size))
    if not (width and height and colour in _COLOURS and depth in (1, 2, 4, 8, 16)):
        raise InputError(f"{path}: its PNG header makes no sense; the file is damaged")
    alpha = colour in (_GRAY_ALPHA, _RGB_ALPHA)
    page = Page(height, width, _COLOURS[colour] + alpha, np.dtype(np.uint16 if depth == 16 else np.uint8), alpha)
    check_size(path, page.nbytes, max_bytes, f"its {width} x {height} pixels")
    chunks, keyed = _read_chunks(path, file)
    if keyed and not alpha:
        page = replace(page, channels=page.channels + 1, alpha=True)
    record = PngRecord(depth, colour, bool(interlace), tuple(chunks))
    metadata = Metadata(_common(path, chunks), record, particular=_particular(chunks))
    return Header(path, "png", (page,), False, metadata)


def _read_chunks(path: Path, file: BinaryIO) -> tuple[list[Chunk], bool]:
    """The chunks to keep, and whether a colour or palette entries are transparent (tRNS)."""
    chunks = []
    keyed = seen_pixels = False
    kind = b""
    while kind != b"IEND":
        kind, size = _next_chunk(path, file)
        seen_pixels |= kind == b"IDAT"
        keyed |= kind == b"tRNS"
        if kind == b"acTL":
            _refuse_animation(path, _chunk_data(path, file, kind, size))
        elif kind in (b"PLTE", b"tRNS"):
            _chunk_data(path, file, kind, size)  # checked, since the codec passes over damage in them
        elif kind in _STRUCTURAL or not _may_be_kept(kind):
            file.seek(size + 4, 1)
        else:
            chunks.append(Chunk(kind, _chunk_data(path, file, kind, size)))
    if not seen_pixels:
        raise InputError(f"{path}: holds no pixels; the file is damaged")
    return chunks, keyed


def _next_chunk(path: Path, file: BinaryIO) -> tuple[bytes, int]:
    """Type and length of the chunk whose data come next."""
    head = file.read(8)
    if len(head) < 8:
        raise InputError(f"{path}: cut short, its end is missing; copy it again from its source")
    size, kind = struct.unpack(">I4s", head)
    return kind, size


def _chunk_data(path: Path, file: BinaryIO, kind: bytes, size: int) -> bytes:
    if size > _LONGEST_CHUNK:
        raise InputError(f"{path}: a chunk claims {size} bytes; the file is damaged")
    data = file.read(size)
    checksum = file.read(4)
    if len(data) < size or len(checksum) < 4:
        raise InputError(f"{path}: cut short, its end is missing; copy it again from its source")
    if struct.unpack(">I", checksum)[0] != zlib.crc32(data, zlib.crc32(kind)):
        raise InputError(f"{path}: chunk {kind.decode('latin-1')} fails its checksum; the file is damaged")
    return data


def _refuse_animation(path: Path, control: bytes) -> None:
    frames = struct.unpack(">I", control[:4])[0]
    if frames > 1:
        raise InputError(f"{path}: is an animation of {frames} frames; save them as separate pictures or a TIFF")


def _may_be_kept(kind: bytes) -> bool:
    """Ancillary chunks that are known, or that their makers declared safe to copy when pixels change."""
    known = b"cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD pHYs sPLT eXIf tIME tEXt zTXt iTXt oFFs pCAL sCAL".split()
    ancillary, safe = bool(kind[0] & 32), bool(kind[3] & 32)
    return ancillary and (kind in known or safe)


def _particular(chunks: Iterable[Chunk]) -> tuple[str, ...]:
    """What chunks say that no other format gets, but for the colours that are taken for granted without them."""
    return tuple(
        dict.fromkeys(_PARTICULAR[kind] for kind, data in chunks if kind in _PARTICULAR and data not in _USUAL)
    )


def _common(path: Path, chunks: Iterable[Chunk]) -> Common:
    found: dict[str, Any] = {}
    text = []
    for kind, data in chunks:
        # What cannot be understood is still copied as it is; only another format will not get it.
        with suppress(zlib.error, ValueError, IndexError):
            if kind == b"iCCP":
                found["icc"] = _inflate(path, data[data.index(b"\0") + 2 :])
            elif kind == b"eXIf":
                found["exif"] = strip_exif_prefix(data)
            elif kind == b"pHYs" and len(data) == 9 and data[8] == 1:
                across, down, _ = struct.unpack(">IIB", data)
                found["dpi"] = (across * _INCH_PER_METRE, down * _INCH_PER_METRE)
            elif kind in (b"tEXt", b"zTXt", b"iTXt"):
                keyword, value = _text(path, kind, data)
                if keyword == _XMP:
                    found["xmp"] = value
                else:
                    encoding = "utf-8" if kind == b"iTXt" else "latin-1"
                    text.append((keyword.decode("latin-1"), value.decode(encoding, "replace")))
    return Common(**found, text=tuple(text))


def _text(path: Path, kind: bytes, data: bytes) -> tuple[bytes, bytes]:
    keyword, _, rest = data.partition(b"\0")
    if kind == b"tEXt":
        return keyword, rest
    if kind == b"zTXt":
        return keyword, _inflate(path, rest[1:])
    compressed, rest = rest[:1] == b"\1", rest[2:]
    value = rest.split(b"\0", 2)[2]  # behind the language and the translated keyword
    return keyword, _inflate(path, value) if compressed else value


def _inflate(path: Path, data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, _LONGEST_TEXT)
    if inflater.unconsumed_tail:
        raise InputError(f"{path}: a text or profile in it unpacks to more than {_LONGEST_TEXT >> 20} MiB")
    return text


def write_png(path: Path, pixels: Pixels, metadata: Metadata, target: Target) -> None:
    """Write pixels as PNG.

    Parameters
    ----------
    path : Path
    pixels : ndarray
        uint8 or uint16, (H, W, C): gray, gray and alpha, RGB or RGBA.
    metadata : Metadata
        Of the input, of whatever format.
    target : Target
    """
    level = _LEVEL if target.compress_level is None else target.compress_level
    samples = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    encoded = imagecodecs.png_encode(samples, level=level, strategy=_strategy(pixels, level), filter=_PAETH)
    whole = memoryview(encoded)
    with path.open("wb") as file:
        file.write(whole[:_HEADER_END])
        file.writelines(_pack(chunk) for chunk in _chunks_to_write(metadata, whole[:_HEADER_END]))
        file.write(whole[_HEADER_END:])


def _strategy(pixels: Pixels, level: int) -> int:
    """How zlib searches for matches; only a low level gains from anything but its own way."""
    if level > _LEVEL:
        return 0
    if pixels.dtype != np.uint8:
        return _RUN_LENGTHS
    some = pixels[::16]
    equal = (some[:, 1:] == some[:, :-1]).all(axis=2)
    return _NO_SEARCH if equal.size and equal.mean() < _EQUAL else _RUN_LENGTHS


def _pack(chunk: Chunk) -> bytes:
    checksum = zlib.crc32(chunk.data, zlib.crc32(chunk.type))
    return struct.pack(">I4s", len(chunk.data), chunk.type) + chunk.data + struct.pack(">I", checksum)


def _chunks_to_write(metadata: Metadata, head: memoryview) -> Iterator[Chunk]:
    record = metadata.native
    if not isinstance(record, PngRecord):
        yield from _fresh_chunks(metadata.common)
        return
    same_samples = (head[24], head[25]) == (record.bit_depth, record.colour_type)
    yield from (chunk for chunk in record.chunks if same_samples or chunk.type not in _SAMPLES)


def _fresh_chunks(common: Common) -> Iterator[Chunk]:
    """Chunks that say what another format said. iCCP comes first: some readers stop looking at the text."""
    if common.icc:
        yield Chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(common.icc))
    if common.dpi:
        across, down = (round(value / _INCH_PER_METRE) for value in common.dpi)
        yield Chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if common.exif:
        yield Chunk(b"eXIf", common.exif)
    if common.xmp:
        yield Chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + common.xmp)
    for keyword, value in common.text:
        key = keyword.encode("latin-1", "replace")[:79] or b"Comment"
        yield Chunk(b"iTXt", key + b"\0\0\0\0\0" + value.encode())
