"""What a file says besides its pixels, in terms that every format understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_ICC_SPACE_AT = 16
"""Where the header of a profile names the colour space of its input."""


@dataclass(frozen=True)
class Common:
    """Metadata that can move from one format to another."""

    icc: bytes | None = None
    """ICC profile."""
    exif: bytes | None = None
    """EXIF as a TIFF-structured block, without the ``Exif\\0\\0`` in front."""
    xmp: bytes | None = None
    """XMP packet (XML)."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch, across and down."""
    text: tuple[tuple[str, str], ...] = ()
    """Keyword and value of textual comments."""


@dataclass(frozen=True)
class Metadata:
    """Private part of a :class:`~denoiser.images.image.Header`."""

    common: Common = field(default_factory=Common)
    native: Any = None
    """The codec's own record, with which the same format is written again as it was."""
    lossy: bool = False
    """True if the input's compression already changed pixels, so that doing so again costs little."""
    cmyk: bool = False
    """The four channels are inks."""
    white_is_zero: bool = False
    """The gray values of unsigned integers stand for darkness, as TIFF allows."""
    premultiplied: bool = False
    """The colours are multiplied by alpha already."""
    reduced: bool = False
    """The file holds reduced versions of its pages (a pyramid), which its own format gets again, made anew."""
    particular: tuple[str, ...] = ()
    """What the file holds that its own format alone gets back."""
    dropped: tuple[str, ...] = ()
    """What the file holds that even its own format does not get back."""


def strip_exif_prefix(block: bytes | None) -> bytes | None:
    """EXIF without the marker that JPEG, and some writers of WebP, put in front."""
    if not block:
        return None
    return block[6:] if block.startswith(b"Exif\x00\x00") else block


def is_gray_profile(icc: bytes | None) -> bool:
    """Whether an ICC profile describes gray values alone."""
    return icc is not None and icc[_ICC_SPACE_AT : _ICC_SPACE_AT + 4] == b"GRAY"
