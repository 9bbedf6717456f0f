"""The rule by which a network is chosen: a weighted sum of spectra, from a table that is fitted to measured PSNR.

``rule.json`` beside this file is the table. ``examples/fit_auto.py`` writes it: which networks it was fitted to, on
which pictures, with what result on others, and the weights. It has to be fitted anew when a network is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.estimate.spectra import FIGURES

PATH = Path(__file__).with_name("rule.json")
FAR = 4.0
"""A figure counts as this many standard deviations from its mean where it is farther."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Of one figure of :data:`FIGURES`; all (P, 64), for P planes.

    Attributes
    ----------
    centre, scale : ndarray
        Mean and standard deviation over the pictures of the fit.
    weight : ndarray
        What a standard deviation more adds to the sum.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rule:
    """A weighted sum: above 0 the second network is likely to have the higher PSNR.

    Attributes
    ----------
    bias : float
        The sum for a picture whose figures are all at their centres.
    figures : dict
        Name of a figure -> Weights.
    """

    bias: float
    figures: Mapping[str, Weights]

    def score(self, spectra: NDArray[np.float32]) -> float:
        """The sum for a picture, of its (P, 4, 64)."""
        total = self.bias
        for index, name in enumerate(FIGURES):
            part = self.figures[name]
            total += float((standardised(spectra[:, index], part.centre, part.scale) * part.weight).sum())
        return total

    def to_json(self) -> dict[str, Any]:
        figures = {
            name: {key: each.tolist() for key, each in asdict(part).items()} for name, part in self.figures.items()
        }
        return {"bias": self.bias, "figures": figures}


def standardised(values: NDArray[Any], centre: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Figures in standard deviations from their means, :data:`FAR` at most."""
    return np.asarray(((values - centre) / scale).clip(-FAR, FAR), np.float64)


@cache
def rules() -> dict[str, Rule]:
    """The fitted rules: ``colour`` for spectra of luma and chroma, ``gray`` for those of one plane."""
    document = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        name: Rule(
            rule["bias"],
            {
                figure: Weights(*(np.array(part[each.name], np.float64) for each in fields(Weights)))
                for figure, part in rule["figures"].items()
            },
        )
        for name, rule in document["rules"].items()
    }
