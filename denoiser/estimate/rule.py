"""The rule by which a network is chosen: a weighted sum of traits, from a table that is fitted to measured PSNR.

``rule.json`` beside this file is the table. ``examples/fit_auto.py`` writes it: which networks it was fitted to, on
which pictures, with what result on others, and the terms. It has to be fitted anew when a network is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_name("rule.json")


@dataclass(frozen=True)
class Term:
    """What one trait adds: ``weight`` times its distance from ``centre``.

    Attributes
    ----------
    low, high : float
        The trait counts as one of these beyond them: no picture of the fit had less or more.
    """

    low: float
    high: float
    centre: float
    weight: float

    def __post_init__(self) -> None:
        if not self.low <= self.centre <= self.high:
            raise ValueError(f"centre {self.centre} does not lie between {self.low} and {self.high}")

    def of(self, value: float) -> float:
        return self.weight * (min(max(value, self.low), self.high) - self.centre)


@dataclass(frozen=True)
class Rule:
    """A weighted sum: above 0 the second network is likely to have the higher PSNR.

    Attributes
    ----------
    bias : float
        The sum for a picture whose traits are all at their centres.
    terms : dict
        Name of a trait -> Term.
    """

    bias: float
    terms: Mapping[str, Term]

    def parts(self, traits: Mapping[str, float]) -> dict[str, float]:
        """What each trait adds to the sum."""
        return {name: term.of(traits[name]) for name, term in self.terms.items()}

    def to_json(self) -> dict[str, object]:
        return {"bias": self.bias, "terms": {name: vars(term) for name, term in self.terms.items()}}


@cache
def rules() -> dict[str, Rule]:
    """The fitted rules: ``colour`` for the traits of pictures in colour, ``gray`` for those of others."""
    document = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        name: Rule(rule["bias"], {trait: Term(**term) for trait, term in rule["terms"].items()})
        for name, rule in document["rules"].items()
    }
