"""The grammar of noise specifications.

``gaussian:25`` is a kind with its first parameter; ``gaussian:0-75`` draws it from a range per picture;
``poisson-gaussian:gain=0.01,read=4`` names parameters; ``+`` applies one kind after the other, as in
``poisson-gaussian+jpeg:75``; a trailing ``@2`` gives the weight in a mixture.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from denoiser.errors import UsageError
from denoiser.noise.base import Noise, Range
from denoiser.noise.kinds import KINDS, Chain

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")
_PLUS = re.compile(r"\+(?!\d)")  # 1e+3 is a number


@dataclass(frozen=True)
class Mixture:
    """Several kinds of noise, of which each picture gets one, drawn by weight (they sum to 1)."""

    kinds: tuple[Noise, ...]
    weights: tuple[float, ...]


def parse(text: str) -> Noise:
    """Read a chain of kinds with their parameters.

    Returns
    -------
    Noise
        The kind itself where there is one, else a :class:`Chain`.

    Raises
    ------
    UsageError
        If a kind, a parameter or a value is unknown; the message lists what exists.
    """
    parts = _PLUS.split(text)
    if len(parts) > 1 and not all(map(str.strip, parts)):
        raise UsageError(f"noise {text!r}: a kind is missing beside +; there are: {', '.join(KINDS)}")
    kinds = tuple(map(_parse_kind, parts))
    return kinds[0] if len(kinds) == 1 else Chain(kinds)


def _parse_kind(text: str) -> Noise:
    name, _, rest = text.strip().partition(":")
    if name not in KINDS:
        hint = _close(name, KINDS)
        raise UsageError(f"noise {text!r}: there is no kind {name!r}{hint or '.'} There are: {', '.join(KINDS)}")
    kind: Any = KINDS[name]()
    known = {field.name: field for field in fields(kind)}
    given: set[str] = set()
    for position, part in enumerate(rest.split(",") if rest else []):
        if not part.strip():
            raise UsageError(f"noise {text!r}: a parameter is missing beside a comma")
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            key, value = list(known)[position] if position < len(known) else "", part.strip()
        if key not in known:
            hint = _close(key, known)
            raise UsageError(
                f"noise {text!r}: {name} has no parameter {key or value!r}{hint or '.'} It has {', '.join(known)}"
            )
        if key in given:
            raise UsageError(f"noise {text!r}: {key} is given twice")
        given.add(key)
        kind = replace(kind, **{key: _parse_value(text, key, value, getattr(kind, key), known[key].metadata)})
    noise: Noise = kind
    return noise


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _parse_value(text: str, key: str, value: str, default: Range | int | str, about: Any) -> Range | int | str:
    """One value, of the type of the parameter's default."""
    if isinstance(default, str):
        if value not in about["words"]:
            raise UsageError(f"noise {text!r}: {key} must be {' or '.join(about['words'])}, not {value!r}")
        return value
    if isinstance(default, int):
        if not value.isdecimal():
            raise UsageError(f"noise {text!r}: {key} must be a whole number, not {value!r}")
        _check_limits(text, key, (int(value),), about)
        return int(value)
    return _parse_range(text, key, value, default, about)


def _parse_range(text: str, key: str, value: str, default: Range, about: Any) -> Range:
    match = _RANGE.fullmatch(value)
    if not match:
        raise UsageError(f"noise {text!r}: {key} must be a number such as 25 or a range such as 0-75, not {value!r}")
    low = float(match[1])
    high = float(match[2]) if match[2] else low
    if low > high:
        raise UsageError(f"noise {text!r}: the range of {key} starts above its end")
    if default.logarithmic and low <= 0 < high:
        raise UsageError(f"noise {text!r}: the range of {key} must start above 0, for example 0.0001-{high:g}")
    _check_limits(text, key, (low, high), about)
    return replace(default, low=low, high=high)


def _check_limits(text: str, key: str, values: Sequence[float], about: Any) -> None:
    least, most = about["least"], about["most"]
    if not least <= min(values) <= max(values) <= most or max(values) == float("inf"):
        limits = f"at least {least:g}" if most == float("inf") else f"between {least:g} and {most:g}"
        raise UsageError(f"noise {text!r}: {key} must be {limits} and finite")


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
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise UsageError("the weights of a noise mixture must be finite and not negative, and one must be above 0")
    return Mixture(tuple(kinds), tuple(weight / sum(weights) for weight in weights))


def explain() -> list[dict[str, Any]]:
    """Every kind in plain values: its name, what it does, its parameters with meaning and default."""
    rows = []
    for name, kind in KINDS.items():
        sample: Any = kind()
        parameters = [
            {
                "name": field.name,
                "default": str(getattr(sample, field.name)),
                "meaning": field.metadata["meaning"],
                "words": list(field.metadata["words"]),
            }
            for field in fields(sample)
        ]
        about = "\n".join(text.replace("\n", " ") for text in (inspect.getdoc(kind) or "").split("\n\n"))
        rows.append({"name": name, "about": about, "parameters": parameters})
    return rows
