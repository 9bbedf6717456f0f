"""A result as text: CSV for spreadsheets, Markdown for documents, and the words that all tables share."""

from __future__ import annotations

import csv
import io

from denoiser.benchmark.result import Comparison, Result, Row
from denoiser.metrics import Mean

PSNR = ("mean", "both")
"""Which PSNR a table shows: the mean of the pictures' PSNRs, or beside it that of their mean squared error."""

HEADINGS = {
    "method": "method",
    "psnr": "PSNR (dB)",
    "pooled": "PSNR of mean MSE",
    "ssim": "SSIM",
    "speed": "MP/s",
    "parameters": "params",
    "cost": "kMAC/px",
}

CSV_COLUMNS = (
    *("method", "kind", "noise", "pictures", "psnr_mean", "psnr_low", "psnr_high", "identical", "psnr_of_mean_mse"),
    *("ssim_mean", "ssim_low", "ssim_high", "megapixels_per_second", "parameters", "macs_per_pixel"),
    *("protocol", "seed", "device", "statement"),
)


def cells(row: Row, psnr: str) -> list[str]:
    """The cells of one row, in the order of :func:`headings`."""
    texts = {
        "method": row.method,
        "psnr": psnr_words(row),
        "pooled": "inf" if row.psnr_of_mean_mse is None else f"{row.psnr_of_mean_mse:.2f}",
        "ssim": _with_interval(row.ssim, 3),
        "speed": "" if row.megapixels_per_second is None else f"{row.megapixels_per_second:.2f}",
        "parameters": "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M",
        "cost": "" if row.macs_per_pixel is None else f"{row.macs_per_pixel / 1e3:.1f}",
    }
    return [texts[key] for key in columns(psnr)]


def columns(psnr: str) -> list[str]:
    """Which columns a table has."""
    return [key for key in HEADINGS if key != "pooled" or psnr == "both"]


def headings(psnr: str) -> list[str]:
    return [HEADINGS[key] for key in columns(psnr)]


def psnr_words(row: Row) -> str:
    """``31.52 ± 0.58``, mean and half of its 95% interval; pictures that equal the truth are counted, not averaged."""
    text = _with_interval(row.psnr, 2) if row.psnr is not None else "inf"
    if row.identical and row.psnr is not None:
        text += f", without {row.identical} equal to the truth (inf)"
    return text


def _with_interval(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return "-"
    if mean.low is None or mean.high is None:
        return f"{mean.mean:.{digits}f}"
    return f"{mean.mean:.{digits}f} ± {(mean.high - mean.low) / 2:.{digits}f}"


def by_noise(result: Result) -> dict[str, list[Row]]:
    """Noise -> its rows, in the order of the result."""
    groups: dict[str, list[Row]] = {}
    for row in result.rows:
        groups.setdefault(row.noise, []).append(row)
    return groups


def markdown(result: Result, psnr: str) -> str:
    """One table per kind of noise, and the protocol below."""
    parts = []
    for noise, rows in by_noise(result).items():
        names = headings(psnr)
        lines = [f"### {noise}", "", "| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
        lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in cells(row, psnr)) + " |" for row in rows]
        parts.append("\n".join(lines))
    parts.append(result.protocol["statement"])
    if result.gate is not None:
        parts.append("\n".join(f"- {verdict(each, result.gate.max_drop)}" for each in result.gate.comparisons))
    parts += [f"- not measured: {failure.picture}: {failure.reason}" for failure in result.failures]
    return "\n\n".join(parts)


def comma_separated(result: Result) -> str:
    """One line per row; the protocol is repeated on each, so that none is ever without it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    facts = result.protocol
    for row in result.rows:
        speed, pooled = row.megapixels_per_second, row.psnr_of_mean_mse
        values = [row.method, row.kind, row.noise, len(row.scores), *_three(row.psnr), row.identical, pooled]
        values += [*_three(row.ssim), speed, row.parameters, row.macs_per_pixel]
        values += [facts["name"], facts["seed"], facts["device"], facts["statement"]]
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue().rstrip("\n")


def _three(mean: Mean | None) -> tuple[float | None, float | None, float | None]:
    return (mean.mean, mean.low, mean.high) if mean is not None else (None, None, None)


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
