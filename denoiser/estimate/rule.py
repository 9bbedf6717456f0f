"""The rule by which a network is chosen: weighted sums of spectra, from a table that is fitted to measured PSNR.

``rule.json`` beside this file is the table. ``examples/fit_auto.py`` writes it: which networks it was fitted to, on
which pictures, with what result on others, and the weights. It has to be fitted anew when a network is replaced.

There are two sums, for what the same figure tells depends on how much noise there is: a spectrum that falls is that of
a camera's noise, or that of texture in a picture that has hardly any. One sum for all was right less often: on 93.5% of
8,361 colour pictures of the fit in place of 94.1, and on 84.3% of 1,639 gray ones in place of 86.0 (cross-validation
between photographs).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate.blocks import HIGH
from denoiser.estimate.core import Estimate
from denoiser.estimate.spectra import FIGURES

PATH = Path(__file__).with_name("rule.json")
FAR = 4.0
"""A figure counts as this many standard deviations from its mean where it is farther."""
FAINT = 1.5 / 255
"""Standard deviation of the noise at which both sums count alike."""
SOFTNESS = 0.5
"""How slowly one sum gives way to the other, in units of the logarithm of its square."""


@dataclass(frozen=True, eq=False)
class Rule:
    """Two weighted sums, of which noise decides how much each counts: above 0 the second network is likely better.

    Attributes
    ----------
    bias : float
        The score of a picture whose figures are all at their centres.
    centre, scale : ndarray
        (K,), mean and standard deviation of each figure over the pictures of the fit.
    weight : ndarray
        (2, K), what a standard deviation more adds: in pictures with hardly any noise, and in others.
    """

    bias: float
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]

    def score(self, estimate: Estimate) -> float:
        """That of a picture that has spectra."""
        return self.bias + float((self.terms(estimate) * self.weight).sum())

    def terms(self, estimate: Estimate) -> NDArray[np.float64]:
        """What the weights are for, (2, K): figures in standard deviations from their means, twice."""
        values = (figures(estimate) - self.centre) / self.scale
        noisy = noisiness(estimate)
        return np.outer([1 - noisy, noisy], values.clip(-FAR, FAR))

    def to_json(self) -> dict[str, Any]:
        return {"bias": self.bias, **{name: getattr(self, name).tolist() for name in ARRAYS}}


ARRAYS = ("centre", "scale", "weight")


def is_gray(estimate: Estimate) -> bool:
    """Whether a picture that has spectra has those of one plane, also where it is stored as three that are equal."""
    return estimate.spectra is not None and len(estimate.spectra) == 1


def figures(estimate: Estimate) -> NDArray[np.float64]:
    """What a picture is judged by, (K,): its spectra and, in colour, how much of their noise the channels share."""
    shared = [] if is_gray(estimate) else [abs(estimate.shared or 0)]
    return np.append(np.asarray(estimate.spectra, np.float64), shared)


def noisiness(estimate: Estimate) -> float:
    """0 for a picture with hardly any noise to 1, by the high frequencies of its flat blocks."""
    assert estimate.spectra is not None
    level = float(estimate.spectra[0, FIGURES.index("flat"), HIGH].mean())
    return 1 / (1 + math.exp((2 * math.log(FAINT) - level) / SOFTNESS))


def rule_for(estimate: Estimate) -> Rule:
    """The fitted rule for a picture that has spectra."""
    return rules()["gray" if is_gray(estimate) else "colour"]


@cache
def rules() -> dict[str, Rule]:
    """The fitted rules: ``colour`` for spectra of luma and chroma, ``gray`` for those of one plane."""
    document = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        name: Rule(rule["bias"], *(np.array(rule[each], np.float64) for each in ARRAYS))
        for name, rule in document["rules"].items()
    }
