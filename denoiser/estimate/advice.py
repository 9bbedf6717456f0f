"""Which bundled network suits a picture's noise."""

from __future__ import annotations

from dataclasses import dataclass

from denoiser.estimate.core import Estimate
from denoiser.estimate.rule import Rule, rules
from denoiser.estimate.traits import deviations

WHITE_MODEL = "unet"
"""For noise that is independent from pixel to pixel and from channel to channel, whatever the light."""
PHOTO_MODEL = "unet-photo"
"""For noise that a camera has demosaiced, smoothed and compressed."""
MODELS = (WHITE_MODEL, PHOTO_MODEL)
"""Between which :func:`choose` chooses."""
GRID = 0.05
"""Strength of JPEG's grid that pictures without it do not have: measured 0.03 at most."""

OTHER = {
    "rolloff": "its noise is correlated between neighbours",
    "fineness": "its noise is correlated between neighbours",
    "colourfulness": "its noise is not the same in colour as in brightness",
    "shared_middle": "its noise is correlated between colours",
    "shared_fine": "its noise is correlated between colours",
}
"""What makes noise another than white."""
WORDS = {
    "rolloff": ("its noise is fine", "its noise is smooth over neighbours"),
    "fineness": ("its noise is fine", "its noise is smooth over neighbours"),
    "colourfulness": ("its noise is as strong in colour as in brightness", "its noise has little colour"),
    "shared_middle": ("its noise is correlated between colours", "its noise is hardly correlated between colours"),
    "shared_fine": ("its noise is correlated between colours", "its noise is hardly correlated between colours"),
    "grid": ("it shows the blocks of JPEG", "it shows no blocks of JPEG"),
    "sparseness": ("its fine noise is gone in parts, as JPEG leaves it", "its fine noise is everywhere alike"),
    "level": ("its noise is strong", "its noise is weak"),
    "texture": ("its texture stands out from its noise", "its texture hardly stands out from its noise"),
    "texture_fineness": ("its texture is fine", "its texture is smooth"),
}
"""What a trait says of a picture above its centre and below."""

PICTURE = frozenset({"texture", "texture_fineness"})
"""Traits of what is under the noise, where they can be told apart."""


@dataclass(frozen=True)
class Advice:
    """A bundled model, and why."""

    model: str
    reason: str


def choose(estimate: Estimate) -> Advice:
    """Choose between the bundled networks for white noise and for that of cameras.

    The fitted rule weighs the estimate's traits. The reason is the one that counts most for the choice, of those of the
    noise if any of them does.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    Advice
    """
    if not estimate.traits:
        return Advice(WHITE_MODEL, "its noise cannot be measured")
    rule = next(each for each in rules().values() if each.terms.keys() == estimate.traits.keys())
    parts = rule.parts(estimate.traits)
    photo = rule.bias + sum(parts.values()) > 0
    reasons = {name: part if photo else -part for name, part in parts.items()}
    of_noise = [name for name in reasons if name not in PICTURE and reasons[name] > 0]
    strongest = max(of_noise or reasons, key=lambda name: reasons[name])
    return Advice(PHOTO_MODEL if photo else WHITE_MODEL, _reason(estimate, rule, strongest))


def _reason(estimate: Estimate, rule: Rule, trait: str) -> str:
    """What a trait says of the picture, with its figures."""
    high = estimate.traits[trait] > rule.terms[trait].centre
    if trait == "otherness":
        apart = deviations(estimate.traits)
        words = OTHER[max(apart, key=lambda name: apart[name])] if high else "its noise is white"
    else:
        words = WORDS[trait][0 if high else 1]
    return f"{words} (sigma {estimate.sigma:.1f}, correlation of neighbours {_neighbours(estimate):.2f})"


def _neighbours(estimate: Estimate) -> float:
    """Mean correlation of neighbours, over channels and both directions."""
    both = [(channel.horizontal + channel.vertical) / 2 for channel in estimate.channels]
    return sum(both) / len(both)
