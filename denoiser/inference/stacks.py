"""Arrays of users as pages of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.errors import UsageError
from denoiser.images.arrays import MOST_CHANNELS
from denoiser.images.image import Page


def page_of(pages: NDArray[Any], alpha: bool) -> Page:
    """What each page of a stack (N, H, W, C) is."""
    height, width, channels = pages.shape[1:]
    if not isinstance(alpha, bool | np.bool_):
        raise UsageError(f"alpha {alpha!r}: True where the last channel is alpha, else False")
    if alpha and channels < 2:
        raise UsageError("alpha=True needs a channel besides alpha")
    return Page(height, width, channels, pages.dtype, alpha=bool(alpha))


def as_pages(array: NDArray[Any]) -> NDArray[Any]:
    """A picture or stack as (N, H, W, C)."""
    if np.ma.is_masked(array):
        raise UsageError("a mask would be lost: fill it, with NaN where pixels are missing (array.filled(numpy.nan))")
    array = np.asarray(array)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > (8 if array.dtype.kind == "f" else 4):
        # Arithmetic is in float64 at most, which does not hold every 64-bit integer.
        raise UsageError(
            f"arrays of {array.dtype} cannot be denoised: convert to 8, 16 or 32-bit integers, or to floats"
        )
    if array.ndim == 2:
        return array[None, :, :, None]
    if array.ndim == 3 and array.shape[2] > MOST_CHANNELS:
        raise UsageError(
            f"an array of shape {array.shape} may be a stack of gray pictures or one of {array.shape[2]} channels: "
            "give array[..., None] for the stack, or array[None] for the picture"
        )
    if array.ndim == 3:
        return array[None]
    if array.ndim == 4:
        return array
    raise UsageError(f"an array is (H, W), (H, W, C) or (N, H, W, C), not of {array.ndim} dimensions")
