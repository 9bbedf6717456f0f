"""A result as text: CSV for spreadsheets, Markdown for documents, and the words that all tables share."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from denoiser.benchmark.result import BLIND_FIGURES, AnyRow, Comparison, Result, Row
from denoiser.metrics import Mean

PSNR = ("mean", "both")
"""Which PSNR a table shows: the mean of the pictures' PSNRs, or beside it that of their mean squared error."""


@dataclass(frozen=True)
class Column:
    """One column of a table for people.

    Attributes
    ----------
    heading : str
    text : callable
        Row -> what its cell says.
    value : callable
        Row -> the number to sort by; None where there is none.
    optional : bool
        Whether the column is left out where no row has anything to say.
    """

    heading: str
    text: Callable[[Any], str]
    value: Callable[[Any], float | None]
    optional: bool = False


def _of_mean(heading: str, get: Callable[[Any], Mean | None], digits: int, optional: bool = False) -> Column:
    """A column of means with their intervals."""

    def value(row: Any) -> float | None:
        mean = get(row)
        return mean.mean if mean is not None else None

    return Column(heading, lambda row: _with_interval(get(row), digits), value, optional)


def _of_bare_mean(heading: str, figure: str, digits: int) -> Column:
    """A column of means alone."""

    def value(row: Any) -> float | None:
        mean = row.mean(figure)
        return mean.mean if mean is not None else None

    return Column(heading, lambda row: "-" if (mean := value(row)) is None else f"{mean:.{digits}f}", value)


def _of_number(heading: str, get: Callable[[Any], float | None], unit: float, form: str) -> Column:
    def value(row: Any) -> float | None:
        number = get(row)
        return number / unit if number is not None else None

    return Column(heading, lambda row: "" if (number := value(row)) is None else form.format(number), value, True)


MEAN = ("mean", "low", "high")

METHOD = Column("method", lambda row: row.method, lambda row: None)

QUALITY = (
    Column("PSNR (dB)", lambda row: psnr_words(row), lambda row: row.psnr.mean if row.psnr is not None else math.inf),
    Column(
        "PSNR of mean MSE",
        lambda row: "inf" if row.psnr_of_mean_mse is None else f"{row.psnr_of_mean_mse:.2f}",
        lambda row: row.psnr_of_mean_mse or math.inf,
    ),
    Column("in the hole", lambda row: hole_words(row), lambda row: row.hole_psnr and row.hole_psnr.mean, True),
    _of_mean("SSIM", lambda row: row.ssim, 3),
)
"""What a table shows where the truth is known."""

POOLED = QUALITY[1]

BLIND_QUALITY = (
    _of_bare_mean("noise level", "noise", 2),
    _of_bare_mean("corr.", "autocorrelation", 3),
    _of_bare_mean("edges", "structure", 2),
    _of_bare_mean("held out", "held_out", 2),
)
"""What it shows where it is not. Intervals are in the documents for machines: six columns of them fit no terminal."""

COST = (
    _of_number("MP/s", lambda row: row.megapixels_per_second, 1, "{:.2f}"),
    _of_number("MB", lambda row: row.memory, 1e6, "{:.0f}"),
    _of_number("params", lambda row: row.parameters, 1e6, "{:.2f} M"),
    _of_number("kMAC/px", lambda row: row.macs_per_pixel, 1e3, "{:.1f}"),
)


def columns(result: Result, psnr: str) -> list[Column]:
    """Which columns the result's tables have."""
    quality = BLIND_QUALITY if result.blind else [each for each in QUALITY if each != POOLED or psnr == "both"]
    shown = (METHOD, *quality, *COST)
    return [each for each in shown if not each.optional or any(each.value(row) is not None for row in result.rows)]


def psnr_words(row: Row) -> str:
    """``31.52 ± 0.58``, mean and half of its 95% interval; pictures that equal the truth are counted, not averaged."""
    text = _with_interval(row.psnr, 2) if row.psnr is not None else "inf"
    if row.identical and row.psnr is not None:
        text += f", without {row.identical} equal to the truth (inf)"
    return text


def hole_words(row: Row) -> str:
    """As :func:`psnr_words`, over what the noise replaced."""
    if row.hole_psnr is None:
        return "inf" if row.filled else ""
    equal = f", without {row.filled} equal to the truth (inf)" if row.filled else ""
    return _with_interval(row.hole_psnr, 2) + equal


def _with_interval(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return "-"
    if mean.low is None or mean.high is None:
        return f"{mean.mean:.{digits}f}"
    return f"{mean.mean:.{digits}f} ± {(mean.high - mean.low) / 2:.{digits}f}"


def by_noise(result: Result) -> dict[str, list[AnyRow]]:
    """Noise -> its rows, in the order of the result."""
    groups: dict[str, list[AnyRow]] = {}
    for row in result.rows:
        groups.setdefault(row.noise, []).append(row)
    return groups


def markdown(result: Result, psnr: str) -> str:
    """One table per kind of noise, and the protocol below."""
    parts = []
    shown = columns(result, psnr)
    for noise, rows in by_noise(result).items():
        lines = [f"### {noise}", "", "| " + " | ".join(each.heading for each in shown) + " |"]
        lines += ["|---" + "|---:" * (len(shown) - 1) + "|"]
        lines += ["| " + " | ".join(each.text(row).replace("|", r"\|") for each in shown) + " |" for row in rows]
        parts.append("\n".join(lines))
    parts.append(result.protocol["statement"])
    if result.gate is not None:
        parts.append("\n".join(f"- {verdict(each, result.gate.max_drop)}" for each in result.gate.comparisons))
    parts += [f"- not measured: {failure.picture}: {failure.reason}" for failure in result.failures]
    return "\n\n".join(parts)


def comma_separated(result: Result) -> str:
    """One line per row; the protocol is repeated on each, so that none is ever without it."""
    text = io.StringIO()
    lines = [_flat(row, result.protocol) for row in result.rows]
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["method"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")


def _flat(row: AnyRow, facts: dict[str, Any]) -> dict[str, Any]:
    """A row of a CSV table; what is None is an empty cell."""
    return {
        "method": row.method,
        "kind": row.kind,
        "noise": row.noise,
        "pictures": len(row.scores),
        **(_flat_quality(row) if isinstance(row, Row) else _flat_means({key: row.mean(key) for key in BLIND_FIGURES})),
        "megapixels_per_second": row.megapixels_per_second,
        "memory": row.memory,
        "parameters": row.parameters,
        "macs_per_pixel": row.macs_per_pixel,
        **{("protocol" if key == "name" else key): facts[key] for key in ("name", "seed", "device", "statement")},
    }


def _flat_quality(row: Row) -> dict[str, Any]:
    counted = {"identical": row.identical, "psnr_of_mean_mse": row.psnr_of_mean_mse}
    return {**_flat_means({"psnr": row.psnr, "ssim": row.ssim, "hole_psnr": row.hole_psnr}), **counted}


def _flat_means(means: dict[str, Mean | None]) -> dict[str, Any]:
    """Three columns of each mean: itself and its interval."""
    return {f"{key}_{part}": getattr(mean, part, None) for key, mean in means.items() for part in MEAN}


def verdict(comparison: Comparison, max_drop: float) -> str:
    """One sentence on one row against the baseline, with the pictures that fell."""
    change = "lost an infinite PSNR or a picture"
    if comparison.drop is not None:
        change = f"{0 - comparison.drop.mean:+.3f} dB on average"
        if comparison.drop.low is not None and comparison.drop.high is not None:
            change += f" (95% of {0 - comparison.drop.high:+.3f} to {0 - comparison.drop.low:+.3f}, paired)"
    against = f" against {comparison.against}" if comparison.against != comparison.method else ""
    text = f"{comparison.method}{against} on {comparison.noise}: {change}"
    names = [f"{fall.picture} ({_level(fall.before)} -> {_level(fall.now, 'missing')})" for fall in comparison.falls]
    if names:
        text += f"; fell by more than {max_drop:g} dB: {', '.join(names)}"
    return text


def _level(psnr: float | None, otherwise: str = "inf") -> str:
    return otherwise if psnr is None else f"{psnr:.2f}"
