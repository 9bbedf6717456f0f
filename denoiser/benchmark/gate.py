"""Comparison with an earlier benchmark, picture by picture: did anything get worse?"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiser.benchmark.job import Key
from denoiser.benchmark.result import BLIND, SCHEMA, Comparison, Fall, Gate, Measured, Row, Score, rows_from_json
from denoiser.errors import UsageError
from denoiser.metrics import mean_of

GATED = ("model", "restored")
"""Kinds of rows that are compared; classical methods and the noisy input are there for orientation."""


@dataclass(frozen=True)
class Baseline:
    """What an earlier benchmark wrote with ``--json``."""

    path: Path
    protocol: dict[str, Any]
    pictures: dict[str, Measured]
    rows: list[Row]


def read(path: Path) -> Baseline:
    """Read a baseline.

    Raises
    ------
    UsageError
        If the file is missing or is no document of ``denoiser benchmark --json``.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: the baseline cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON; write a baseline with `denoiser benchmark --json`") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UsageError(f"{path}: not a {SCHEMA} document; write a baseline with `denoiser benchmark --json`")
    try:
        protocol = dict(document["protocol"])
        if protocol["name"] == BLIND:
            raise UsageError(f"{path}: measured without the truth, there is no PSNR to compare with")
        pictures = {each["name"]: Measured(**each) for each in document["pictures"]}
        return Baseline(path, protocol, pictures, rows_from_json(document["rows"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: a damaged baseline, {error} is not as expected; write it again") from error


def check_plan(
    baseline: Baseline, protocol: dict[str, Any], sizes: Mapping[str, tuple[int, int]], rows: Collection[Key]
) -> list[str]:
    """Make sure before the work that it can be compared.

    Parameters
    ----------
    baseline : Baseline
    protocol : dict
        As of the result.
    sizes : dict
        Name -> height and width of what is going to be measured of each picture.
    rows : collection of Key
        Those that are going to be compared.

    Returns
    -------
    list of str
        Which rows of either side have no partner, for people.

    Raises
    ------
    UsageError
        If a difference would be that of the measurement, or no row of the baseline fits.
    """
    for key in ("name", "seed"):
        if baseline.protocol.get(key) != protocol[key]:
            raise UsageError(
                f"{baseline.path}: measured with {key} {baseline.protocol.get(key)}, this with {protocol[key]}; "
                "only equal protocols can be compared"
            )
    common = sizes.keys() & baseline.pictures.keys()
    if not common:
        raise UsageError(f"{baseline.path}: measured on other pictures, none of the names is the same")
    for name in sorted(common):
        old, (height, width) = baseline.pictures[name], sizes[name]
        if (old.height, old.width) != (height, width):
            raise UsageError(
                f"{baseline.path}: measured {old.width} x {old.height} pixels of {name}, this {width} x {height}; give "
                "the same --crop, or write the baseline again"
            )
    found = partners(baseline, rows)
    gone = {(row.noise, row.method) for row in baseline.rows if row.kind in GATED}
    gone -= {(row.noise, row.method) for row in found.values()}
    sides = {"not in the baseline": set(rows) - found.keys(), "only in the baseline": gone}
    return [f"not compared, {side}: {_listed(keys)}" for side, keys in sides.items() if keys]


def _listed(rows: Collection[Key]) -> str:
    return ", ".join(f"{method} on {noise}" for noise, method in sorted(rows))


def check(baseline: Baseline, pictures: tuple[Measured, ...], rows: tuple[Row, ...]) -> None:
    """Make sure that both measured the same pixels with the same noise.

    Raises
    ------
    UsageError
        If a difference would be that of the measurement.
    """
    for picture in pictures:
        if picture.name in baseline.pictures and picture.sha256 != baseline.pictures[picture.name].sha256:
            raise UsageError(f"{baseline.path}: {picture.name} was another picture then; write the baseline again")
    before = {
        (row.noise, score.picture): score.mse for row in baseline.rows if row.kind == "input" for score in row.scores
    }
    for row in rows:
        for score in row.scores if row.kind == "input" else ():
            old = before.get((row.noise, score.picture), score.mse)
            if not math.isclose(old, score.mse, rel_tol=1e-6, abs_tol=1e-12):
                raise UsageError(
                    f"{baseline.path}: the noise {row.noise} on {score.picture} was another then (another version of "
                    "the program or of numpy?); write the baseline again"
                )


def partners(baseline: Baseline, rows: Collection[Key]) -> dict[Key, Row]:
    """The baseline's row for each row of a model or of restored pictures that it has one for.

    A row is found by noise and method. Where both have one gated method alone, they are compared whatever their
    names: that is how new weights are held against old ones.

    Raises
    ------
    UsageError
        If no row of the baseline fits.
    """
    then = {(row.noise, row.method): row for row in baseline.rows if row.kind in GATED}
    old_names, new_names = {method for _, method in then}, {method for _, method in rows}
    alias = next(iter(old_names)) if len(old_names) == len(new_names) == 1 else None
    found = {key: then[key[0], alias or key[1]] for key in rows if (key[0], alias or key[1]) in then}
    if not found:
        raise UsageError(f"{baseline.path}: has no row to compare with; it has {_listed(then) or 'no model'}")
    return found


def compare(baseline: Baseline, rows: tuple[Row, ...], max_drop: float) -> Gate:
    """Compare each row with its row of the baseline, as :func:`partners` finds it."""
    now = {(row.noise, row.method): row for row in rows if row.kind in GATED}
    found = partners(baseline, now)
    return Gate(str(baseline.path), max_drop, tuple(_compare(now[key], old, max_drop) for key, old in found.items()))


def _compare(row: Row, old: Row, max_drop: float) -> Comparison:
    scores = {score.picture: score for score in row.scores}
    drops = {each.picture: _drop(each, scores.get(each.picture)) for each in old.scores}
    before = {each.picture: each.psnr for each in old.scores}
    fallen = sorted((name for name, drop in drops.items() if drop > max_drop), key=lambda name: (-drops[name], name))
    falls = tuple(Fall(name, before[name], scores[name].psnr if name in scores else None) for name in fallen)
    finite = all(map(math.isfinite, drops.values()))
    drop = mean_of(list(drops.values())) if finite else None
    return Comparison(row.method, old.method, row.noise, drop, falls, drop is None or drop.mean > max_drop)


def _drop(old: Score, new: Score | None) -> float:
    """By how many dB a picture fell; infinite where it is missing or no longer equals the truth."""
    if new is None:
        return math.inf
    if new.psnr is None:
        return 0.0  # equal to the truth now; an infinite rise would hide every other picture's drop in the mean
    return math.inf if old.psnr is None else old.psnr - new.psnr
