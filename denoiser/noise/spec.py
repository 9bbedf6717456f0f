"""The grammar of noise specifications.

``gaussian:25`` is a kind with its first parameter; ``gaussian:0-75`` draws it from a range per picture;
``poisson-gaussian:gain=0.01,read=4`` names parameters; a trailing ``@2`` gives the weight in a mixture.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from denoiser.errors import UsageError
from denoiser.noise.kinds import KINDS, Noise, Range

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")


@dataclass(frozen=True)
class Mixture:
    """Several kinds of noise, of which each picture gets one, drawn by weight (they sum to 1)."""

    kinds: tuple[Noise, ...]
    weights: tuple[float, ...]


def parse(text: str) -> Noise:
    """Read one kind with its parameters.

    Raises
    ------
    UsageError
        If the kind, a parameter or a value is unknown; the message lists what exists.
    """
    name, _, rest = text.strip().partition(":")
    if name not in KINDS:
        close = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"noise {text!r}: there is no kind {name!r}{hint} There are: {', '.join(sorted(KINDS))}")
    kind: Any = KINDS[name]()
    names = [field.name for field in fields(kind)]
    for position, part in enumerate(filter(None, rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = names[position] if position < len(names) else "", part
        if key not in names:
            raise UsageError(f"noise {text!r}: {name} has no parameter {key or value!r}; it has {', '.join(names)}")
        kind = replace(kind, **{key: _parse_range(text, key, value, getattr(kind, key))})
    noise: Noise = kind
    return noise


def _parse_range(text: str, key: str, value: str, default: Range) -> Range:
    match = _RANGE.fullmatch(value.strip())
    if not match:
        raise UsageError(f"noise {text!r}: {key} must be a number such as 25 or a range such as 0-75, not {value!r}")
    low = float(match[1])
    high = float(match[2]) if match[2] else low
    if low > high:
        raise UsageError(f"noise {text!r}: the range of {key} starts above its end")
    if default.logarithmic and low <= 0 < high:
        raise UsageError(f"noise {text!r}: the range of {key} must start above 0, for example 0.0001-{high:g}")
    return replace(default, low=low, high=high)


def parse_mixture(specs: Sequence[str]) -> Mixture:
    """Read a mixture: one specification per entry, each with an optional ``@weight`` (1)."""
    if not specs:
        raise UsageError("no noise given; for example --noise gaussian:0-75")
    kinds, weights = [], []
    for spec in specs:
        text, _, weight = spec.partition("@")
        kinds.append(parse(text))
        try:
            weights.append(float(weight or 1))
        except ValueError as error:
            raise UsageError(f"noise {spec!r}: the weight after @ must be a number, not {weight!r}") from error
    if min(weights) < 0 or sum(weights) <= 0:
        raise UsageError("the weights of a noise mixture must not be negative, and one must be above 0")
    return Mixture(tuple(kinds), tuple(weight / sum(weights) for weight in weights))
