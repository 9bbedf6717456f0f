"""Classical methods that need no training. All take one picture and the level of its noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 16
"""Pixels: smaller pictures are mirrored to this size for classical methods, some of which cannot take them."""

Filter = Callable[[NDArray[np.float32], float], NDArray[Any]]
"""A classical method: (picture in units of the full range, noise level in the same units) -> picture."""


def apply(method: Filter, values: NDArray[np.float32], rms: float) -> NDArray[Any]:
    """Filter a picture of any size: three channels as colour, any other number one by one."""
    if rms == 0:  # nothing to remove, and most of the formulas divide by it
        return values
    height, width, channels = values.shape
    margin = ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)), (0, 0))
    padded = np.pad(values, margin, mode="symmetric")
    if channels == 3:
        return method(padded, rms)[:height, :width]
    parts = [method(np.ascontiguousarray(padded[:, :, i]), rms) for i in range(channels)]
    return np.stack(parts, axis=2)[:height, :width]


def _axis(x: NDArray[np.float32]) -> int | None:
    return 2 if x.ndim == 3 else None


def _median(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """3 x 3, per channel; its strength cannot be chosen."""
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(x, size=(3, 3, 1)[: x.ndim], mode="mirror"))


def _bilateral(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Spatial 1.8 pixels, range twice the noise: the optimum found by Zhang and Gunturk 2008, section II."""
    from skimage.restoration import denoise_bilateral

    # scikit-image divides the length of a colour difference by 3, where white noise makes it grow by sqrt(3).
    width = 2 * sigma / 3**0.5 if x.ndim == 3 else 2 * sigma
    return np.asarray(
        denoise_bilateral(x, sigma_color=width, sigma_spatial=1.8, mode="symmetric", channel_axis=_axis(x))
    )


def _tv(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Chambolle 2004, weight equal to the noise level."""
    from skimage.restoration import denoise_tv_chambolle

    return np.asarray(denoise_tv_chambolle(x, weight=sigma, channel_axis=_axis(x)))


def _wavelet(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """BayesShrink (Chang et al. 2000), soft thresholds."""
    from skimage.restoration import denoise_wavelet

    return np.asarray(
        denoise_wavelet(x, sigma=sigma, method="BayesShrink", mode="soft", rescale_sigma=True, channel_axis=_axis(x))
    )


def _nlm(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Buades et al. 2005 in the fast form of Darbon et al. 2008: 5 x 5 patches within 6 pixels, h = 0.6 sigma."""
    from skimage.restoration import denoise_nl_means

    return np.asarray(
        denoise_nl_means(x, patch_size=5, patch_distance=6, h=0.6 * sigma, sigma=sigma, channel_axis=_axis(x))
    )


def _bm3d(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """Dabov et al. 2007, in the implementation of Mäkinen et al. 2020 with its own settings."""
    from bm3d import bm3d, bm3d_rgb

    return np.asarray(bm3d_rgb(x, sigma) if x.ndim == 3 else bm3d(x, sigma))


def _opencv(x: NDArray[np.float32], sigma: float) -> NDArray[Any]:
    """OpenCV's non-local means, 7 x 7 patches within 10 pixels, in 8 bit, which is all that its colour form takes.

    h is 0.6 sigma in colour and 0.9 sigma in gray: the best of 0.4 to 1.2 on photographs at sigma 15, 25 and 50.
    """
    import cv2  # type: ignore[import-not-found, unused-ignore] # no dependency

    levels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    if x.ndim == 2:
        return np.asarray(cv2.fastNlMeansDenoising(levels, None, 0.9 * 255 * sigma, 7, 21)) / 255
    h = 0.6 * 255 * sigma
    blue_first = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(levels[:, :, ::-1]), None, h, h, 7, 21)
    return np.asarray(blue_first)[:, :, ::-1] / 255


def fill(values: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[Any]:
    """Fill a hole so that the surface is as smooth as the biharmonic equation makes it (Damelin and Hoang 2018).

    Parameters
    ----------
    values : ndarray
        (H, W, C).
    hole : ndarray
        (H, W, C), True where a value is unknown.
    """
    from skimage.restoration import inpaint_biharmonic

    if not hole.any() or hole.all():
        return values
    if (hole == hole[:, :, :1]).all():
        return np.asarray(inpaint_biharmonic(values, np.array(hole[:, :, 0], order="C"), channel_axis=2))
    filled = []
    for channel in range(values.shape[2]):  # scikit-image takes one mask for all channels, in C order
        plane, mask = (np.array(each[:, :, channel], order="C") for each in (values, hole))
        filled.append(plane if mask.all() else inpaint_biharmonic(plane, mask))
    return np.stack(filled, axis=2)


FILTERS: dict[str, Filter] = {
    "median": _median,
    "bilateral": _bilateral,
    "tv": _tv,
    "wavelet": _wavelet,
    "nlm": _nlm,
    "opencv": _opencv,
    "bm3d": _bm3d,
}
