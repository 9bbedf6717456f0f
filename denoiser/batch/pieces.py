"""Bands as the network takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from denoiser.batch.job import Job
from denoiser.batch.reading import Band
from denoiser.images.pixels import groups
from denoiser.tiling import Sheet

if TYPE_CHECKING:
    from denoiser.inference import Piece


def pieces_of(job: Job | None, band: Band) -> list[Piece]:
    """A band as the network takes it: three channels together, any other number one by one.

    Where the uncertainty is wanted, it is asked for after the estimate.
    """
    from denoiser.inference import Piece

    assert band.planes is not None and band.note is not None
    planes, note = band.planes, band.note
    above, below = band.above - band.fringe[0], band.below - band.fringe[1]
    parts = [planes[..., group] for group in groups(band.colours)]
    asked = [(part, above, below, False) for part in parts]
    if band.stated:
        asked += [(part, band.above, band.below, True) for part in parts]
    sheets: list[Sheet | None] = [None] * len(asked)
    if job is not None and band.stop - band.start < band.height:
        page, again = (job.turn, band.page), sum(band.fringe)
        sheets = [Sheet(page, index, band.height, again) for index in range(len(asked))]
    row = band.start - band.above
    return [
        Piece(part, note.scale, note.white, over, under, (job, band, index), uncertainty=stated, sheet=sheet, row=row)
        for index, ((part, over, under, stated), sheet) in enumerate(zip(asked, sheets, strict=True))
    ]


def origin(piece: Piece) -> tuple[Job, Band, int]:
    """The file and the band that a piece of a run comes from, and its number among the pieces of the band."""
    found: tuple[Job, Band, int] = piece.tag  # type: ignore[assignment]
    return found
