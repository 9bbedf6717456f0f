"""Which bundled network suits a picture's noise."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.estimate.core import Estimate
from denoiser.estimate.rule import is_gray, rule_for

WHITE_MODEL = "unet"
"""For noise that is independent from pixel to pixel and from channel to channel, whatever the light."""
PHOTO_MODEL = "unet-photo"
"""For noise that a camera has demosaiced, smoothed and compressed."""
MODELS = (WHITE_MODEL, PHOTO_MODEL)
"""Between which :func:`choose` chooses."""
GRID = 0.05
"""Strength of JPEG's grid that pictures without it do not have: measured 0.03 at most."""
SHARED = 0.5
"""Correlation of the noise of two colours that faint texture alone does not make."""


@dataclass(frozen=True)
class Advice:
    """A bundled model, and why."""

    model: str
    reason: str


def choose(estimate: Estimate) -> Advice:
    """Choose between the bundled networks for white noise and for that of cameras.

    The fitted rule weighs the estimate's spectra. The reason says what the noise is.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    Advice
    """
    if estimate.spectra is None:
        return Advice(WHITE_MODEL, "its noise cannot be measured")
    photo = rule_for(estimate).score(estimate) > 0
    words, by_camera = _described(estimate)
    if photo is not by_camera:
        joint = "and" if by_camera is None else "but"
        closer = "a camera's file" if photo else "white noise"
        words += f", {joint} its spectrum is closer to that of {closer}"
    figures = f"(sigma {estimate.sigma:.3g}, correlation of neighbours {_neighbours(estimate):.2f})"
    return Advice(PHOTO_MODEL if photo else WHITE_MODEL, f"{words} {figures}")


def _described(estimate: Estimate) -> tuple[str, bool | None]:
    """What stands out of a picture's noise, and whether that is a camera's mark; None where it is neither's."""
    if estimate.kind == "none":
        return "it has hardly any noise", None
    if estimate.kind == "correlated":
        return "its noise is correlated between neighbours", True
    # Gray that is stored as three equal channels shares everything between them.
    if not is_gray(estimate) and abs(estimate.shared or 0) > SHARED:
        return "its noise is correlated between colours", True
    if estimate.grid > GRID:
        return "it shows the blocks of JPEG", True
    return "its noise is white", False


def _neighbours(estimate: Estimate) -> float:
    """Mean correlation of neighbours, over channels and both directions."""
    both = [(channel.horizontal + channel.vertical) / 2 for channel in estimate.channels]
    return sum(both) / len(both)
