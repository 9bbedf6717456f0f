"""Which bundled network suits a picture's noise."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.estimate.core import WHITE_ROLLOFF, Estimate

WHITE_MODEL = "unet"
"""For noise that is independent from pixel to pixel and from channel to channel, whatever the light."""
PHOTO_MODEL = "unet-photo"
"""For noise that a camera has demosaiced, smoothed and compressed."""
MODELS = (WHITE_MODEL, PHOTO_MODEL)
"""Between which :func:`choose` chooses."""
SHARED = 0.2
"""Correlation of the noise of two channels that independent noise does not have, but for faint texture."""
TEXTURE = 2.0
"""Texture is shared by the channels. At most so much, divided by sigma, is put down to it: measured 0.88 in white noise
of sigma 1, 0.52 of sigma 3, 0.31 of sigma 5."""
GRID = 0.05
"""Strength of JPEG's grid that pictures without it do not have: measured 0.03 at most."""


@dataclass(frozen=True)
class Advice:
    """A bundled model, and why."""

    model: str
    reason: str


def choose(estimate: Estimate) -> Advice:
    """Choose between the bundled networks for white noise and for that of cameras.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    Advice
    """
    if estimate.sigma is None:
        return Advice(WHITE_MODEL, "its noise cannot be measured")
    if estimate.rolloff < WHITE_ROLLOFF:
        return Advice(PHOTO_MODEL, f"its noise is correlated between neighbours ({_neighbours(estimate):.2f})")
    if estimate.grid > GRID:
        return Advice(PHOTO_MODEL, f"it shows the blocks of JPEG ({estimate.grid:.2f})")
    if estimate.kind == "none" and estimate.depth == 8 and estimate.shared is not None:
        return Advice(PHOTO_MODEL, f"it has hardly any noise (sigma {estimate.sigma:.1f}), and 8-bit colour")
    if estimate.shared is not None and _shared_by_noise(estimate.shared, estimate.sigma):
        return Advice(PHOTO_MODEL, f"its noise is correlated between colours ({estimate.shared:.2f})")
    return Advice(WHITE_MODEL, f"its noise is white (sigma {estimate.sigma:.1f})")


def _shared_by_noise(correlation: float, sigma: float) -> bool:
    return correlation < -SHARED or correlation > max(SHARED, TEXTURE / max(sigma, 1e-6))


def _neighbours(estimate: Estimate) -> float:
    """Mean correlation of neighbours, over channels and both directions."""
    both = [(channel.horizontal + channel.vertical) / 2 for channel in estimate.channels]
    return sum(both) / len(both)
