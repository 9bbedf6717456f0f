"""The rule by which a network is chosen: a weighted sum of spectra, from a table that is fitted to measured PSNR.

``rule.json`` beside this file is the table. ``examples/fit_auto.py`` writes it: which networks it was fitted to, on
which pictures, with what result on others, and the weights. It has to be fitted anew when a network is replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).with_name("rule.json")
FAR = 4.0
"""A figure counts as this many standard deviations from its mean where it is farther."""


@dataclass(frozen=True, eq=False)
class Rule:
    """A weighted sum: above 0 the second network is likely to have the higher PSNR.

    Attributes
    ----------
    bias : float
        The sum for a picture whose figures are all at their centres.
    centre, scale, weight : ndarray
        (P, 4, 64), for P planes: mean and standard deviation of each figure over the pictures of the fit, and what a
        standard deviation more adds to the sum.
    """

    bias: float
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]

    def score(self, spectra: NDArray[np.float32]) -> float:
        """The sum for a picture, of its (P, 4, 64)."""
        return self.bias + float((standardised(spectra, self.centre, self.scale) * self.weight).sum())

    def to_json(self) -> dict[str, Any]:
        return {"bias": self.bias, **{name: getattr(self, name).tolist() for name in ARRAYS}}


ARRAYS = ("centre", "scale", "weight")


def standardised(values: NDArray[Any], centre: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Figures in standard deviations from their means, :data:`FAR` at most."""
    return np.asarray(((values - centre) / scale).clip(-FAR, FAR), np.float64)


@cache
def rules() -> dict[str, Rule]:
    """The fitted rules: ``colour`` for spectra of luma and chroma, ``gray`` for those of one plane."""
    document = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        name: Rule(rule["bias"], *(np.array(rule[each], np.float64) for each in ARRAYS))
        for name, rule in document["rules"].items()
    }
