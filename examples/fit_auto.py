"""Fit the rule by which ``--model auto`` chooses between its two networks, and measure it on other pictures.

    python examples/fit_auto.py CLEAN_DIR HELD_OUT_DIR [--weights DIR] [--pictures 10000] [--jobs 2] [--measure]

Two networks are better and worse at different pictures; this learns to tell which, from the noisy picture alone.
Crops of CLEAN_DIR, reduced in size by factors that vary so that they have texture of every fineness and no compression
of their own, get noise of a kind and strength drawn at random; some have a frame, bars or a round mask of one colour
around them, under the noise or over it. Both networks denoise them; a logistic regression of the sign of the
difference in PSNR on the picture's spectra is the rule. A difference counts as much as it is large, up to two dB.
HELD_OUT_DIR gets the noise of a fixed list with other seeds, once as it is and once with something around it, and the
tables say what came of it: PSNR of each network, of the choice and of one who knows, and how often the choice was right
(within 0.02 dB of the better one).

The rule goes into ``denoiser/estimate/rule.json``, with where it comes from and what came of it. Fit it anew whenever
one of the networks is replaced; ``--measure`` leaves it as it is. 10,000 pictures take twelve minutes of two cores
with bfloat16, 50 without.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import denoiser
from denoiser import weights
from denoiser.estimate import MODELS, Estimate, choose
from denoiser.estimate.rule import PATH, Rule, figures, is_gray, rules
from denoiser.images import Page
from denoiser.metrics import psnr
from denoiser.noise import NumpyRandom, parse
from denoiser.selection import Rows, look

ABOUT = "Written by examples/fit_auto.py, which says how. To be fitted anew when a network is replaced."
SEED = 6
REDUCED = (1.0, 2.6)
"""By how much the pictures for the fit are made smaller."""
SIDES = (256, 320)
GRAY = 6
"""One in so many pictures of the fit is gray."""
HELD_OUT_SIDE = 384
MOST_PSNR = 60.0
"""In dB; a network that leaves a clean picture as it is would have an infinite one."""
FRAMED = 10
"""One in so many pictures of the fit has something around it."""
WIDEST = 0.3
"""Share of a side that a frame may take at one end."""
LARGE = 2.0
"""Difference in dB from which on none counts more."""
TIE = 0.02
ANY = 0.1
"""How much each difference above a tie counts besides, so that it matters how often the choice is right."""
PULL = 5.0
"""Strength of the pull of the weights towards 0, for figures in units of their standard deviation."""
PART = 100
"""Pictures that a process does before it tells of them."""

HELD_OUT = (
    *("gaussian:2", "gaussian:5", "gaussian:15", "gaussian:30", "gaussian:60", "poisson:50", "poisson:1000"),
    *("poisson-gaussian:gain=0.003,read=3", "correlated:sigma=5,length=0.6", "correlated:sigma=12,length=1"),
    *("correlated:sigma=25,length=1.5", "camera:iso=100", "camera:iso=400", "camera:iso=1600", "camera:iso=6400"),
    *("camera:iso=25600", "gaussian:5+jpeg:90", "gaussian:20+jpeg:80", "clean"),
)

Picture = NDArray[np.uint8]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Draft:
    """A clean picture and the noise it is to get.

    Attributes
    ----------
    clean : ndarray
    noise : str
    seed : int
        Of the noise.
    bare : ndarray or None
        (H, W), where it gets none: a frame that was laid over the noisy picture.
    """

    clean: Picture
    noise: str
    seed: int
    bare: Marks | None = None


@dataclass(frozen=True)
class Example:
    """One noisy picture: its estimate, and the PSNR of both networks."""

    kind: str
    estimate: Estimate
    psnr: tuple[float, float]

    @property
    def gain(self) -> float:
        """Of the second network over the first, in dB."""
        return self.psnr[1] - self.psnr[0]

    @property
    def chosen(self) -> float:
        return self.psnr[MODELS.index(choose(self.estimate).model)]


def drawn_noise(random: np.random.Generator) -> str:
    """A kind of noise and its strength."""

    def between(low: float, high: float) -> float:
        return math.exp(random.uniform(math.log(low), math.log(high)))

    drawn = (
        (4, f"gaussian:{between(1, 70):.3g}"),
        (1, f"poisson:{between(15, 8000):.4g}"),
        (2, f"poisson-gaussian:gain={between(1e-4, 0.04):.3g},read={random.uniform(0, 10):.3g}"),
        (3, f"correlated:sigma={between(1, 30):.3g},length={random.uniform(0.4, 1.8):.3g}"),
        (5, f"camera:iso={between(80, 25600):.0f}"),
        (2, f"gaussian:{between(2, 40):.3g}+jpeg:{random.integers(60, 99)}"),
        (1, "clean"),
    )
    shares = np.array([share for share, _ in drawn])
    return drawn[random.choice(len(drawn), p=shares / shares.sum())][1]


def noisy(draft: Draft) -> Picture:
    """As in an 8-bit file."""
    clean = draft.clean
    if draft.noise == "clean":
        return clean
    values = clean.reshape(1, *clean.shape[:2], -1).astype(np.float32) / 255
    made = parse(draft.noise).apply(values, NumpyRandom(np.random.default_rng([SEED, draft.seed])))[0]
    picture = np.rint(made.clip(0, 1) * 255).astype(np.uint8).reshape(clean.shape)
    if draft.bare is not None:
        picture[draft.bare] = clean[draft.bare]
    return picture


def around(height: int, width: int, random: np.random.Generator) -> Marks:
    """Which pixels a frame, bars at two sides or a round mask takes."""
    shape = random.integers(3)
    if shape == 2:
        y, x = np.ogrid[-1 : 1 : 1j * height, -1 : 1 : 1j * width]
        return np.asarray(y * y + x * x > random.uniform(0.7, 1.2))
    marks = np.ones((height, width), bool)
    ends = random.uniform(0.02, WIDEST, 4) * (1 if shape == 0 else np.repeat(random.permutation(2), 2))
    top, bottom, left, right = (ends * np.repeat([height, width], 2)).astype(int)
    marks[top : height - bottom, left : width - right] = False
    return marks


def looked_at(picture: Picture) -> Estimate:
    """What ``--model auto`` sees of a picture."""
    pixels = picture.reshape(*picture.shape[:2], -1)
    height, width, channels = pixels.shape
    rows = Rows(Page(height, width, channels, pixels.dtype), lambda start, stop: pixels[start:stop])
    return look(rows)


def example(networks: Sequence[denoiser.Denoiser], draft: Draft) -> Example:
    picture = noisy(draft)
    results = [min(MOST_PSNR, psnr(draft.clean, network.denoise(picture), 255)) for network in networks]
    return Example(draft.noise, looked_at(picture), (results[0], results[1]))


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def for_the_fit(folder: Path, number: int) -> Draft:
    """A random crop of a random picture, with random noise."""
    random = np.random.default_rng([SEED, number])
    files = files_of(folder)
    with Image.open(files[random.integers(len(files))]) as stored:
        image = stored.convert("L" if random.integers(GRAY) == 0 else "RGB")
    factor = random.uniform(*REDUCED)
    image = image.resize([round(size / factor) for size in image.size], Image.Resampling.LANCZOS)
    width, height = (min(size, int(random.integers(*SIDES))) for size in image.size)
    left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
    clean, noise = np.array(image.crop((left, top, left + width, top + height))), drawn_noise(random)
    if random.integers(FRAMED):
        return Draft(clean, noise, number)
    marks = around(height, width, random)
    clean[marks] = random.choice([0, 255, int(random.integers(256))])
    return Draft(clean, noise, number, marks if random.integers(2) else None)


def held_out(folder: Path, number: int) -> Draft:
    """The middle of a picture, and the noise of the list whose turn it is."""
    picture, index = divmod(number, len(HELD_OUT))
    with Image.open(files_of(folder)[picture]) as stored:
        pixels = np.asarray(stored.convert("RGB"))
    top, left = (max(0, (size - HELD_OUT_SIDE) // 2) for size in pixels.shape[:2])
    clean = pixels[top : top + HELD_OUT_SIDE, left : left + HELD_OUT_SIDE].copy()
    return Draft(clean, HELD_OUT[index], 1_000_000 + 1000 * picture + index)


def framed(folder: Path, number: int) -> Draft:
    """The same with something around it, half of them over the noise."""
    draft = held_out(folder, number)
    random = np.random.default_rng([SEED, draft.seed])
    marks = around(*draft.clean.shape[:2], random)
    draft.clean[marks] = random.choice([0, 255, int(random.integers(256))])
    return replace(draft, bare=marks if random.integers(2) else None)


Draw = Callable[[Path, int], Draft]


def examples(files: Sequence[Path], draw: Draw, folder: Path, count: int, jobs: int) -> Iterator[Example]:
    """So many noisy pictures and what the networks in these files make of them, by so many processes."""
    parts = [range(start, min(start + PART, count)) for start in range(0, count, PART)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for number, found in enumerate(pool.map(partial(some, files, draw, folder), parts), 1):
            print(f"{number} of {len(parts)} parts", flush=True)
            yield from found


def some(files: Sequence[Path], draw: Draw, folder: Path, numbers: Sequence[int]) -> list[Example]:
    networks = [denoiser.load(str(path), device="cpu") for path in files]
    return [example(networks, draw(folder, number)) for number in numbers]


def fitted(seen: Sequence[Example]) -> Rule:
    """The rule for these examples, all of which have as many planes."""
    values = np.array([figures(each.estimate) for each in seen])
    centre, scale = (
        np.array([f"{value:.4g}" for value in each], float) for each in (values.mean(axis=0), values.std(axis=0) + 1e-3)
    )
    blank = Rule(0.0, centre, scale, np.zeros((2, len(centre))))
    design = np.array([blank.terms(each.estimate).ravel() for each in seen])
    gains = np.array([each.gain for each in seen])
    counts = np.minimum(np.abs(gains), LARGE) + ANY * (np.abs(gains) > TIE)
    weight, bias = logistic(design, gains > 0, counts)
    return replace(blank, bias=round(bias, 5), weight=weight.reshape(2, -1).round(5))


def logistic(
    values: NDArray[np.float64], second: NDArray[np.bool_], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of a logistic regression of ``second`` on values (N, K), by Newton's method."""
    design = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    pull = PULL * np.diag([1.0] * values.shape[1] + [1e-6])
    found = np.zeros(design.shape[1])
    for _ in range(30):
        likely = 1 / (1 + np.exp(-design @ found))
        slope = design.T @ (counts * (second - likely)) - pull @ found
        curve = (design * (counts * likely * (1 - likely))[:, None]).T @ design + pull
        found += np.linalg.solve(curve, slope)
    return found[:-1], float(found[-1])


def summary(seen: Sequence[Example]) -> dict[str, float]:
    psnrs = np.array([each.psnr for each in seen])
    best, chosen = psnrs.max(axis=1), np.array([each.chosen for each in seen])
    means = dict(zip(MODELS, psnrs.mean(axis=0), strict=True))
    found = {**means, "auto": chosen.mean(), "knowing": best.mean(), "right": np.mean(best - chosen < TIE)}
    return {name: round(float(value), 3) for name, value in found.items()}


def with_noise(seen: Sequence[Example]) -> list[Example]:
    return [each for each in seen if each.kind != "clean"]


def table(seen: Sequence[Example]) -> Iterator[str]:
    """PSNR in dB by kind of noise, mean over pictures, and the share of right choices."""
    yield f"| noise | {' | '.join(MODELS)} | auto | knowing | right |\n|---|---|---|---|---|---|"
    groups = {kind: [each for each in seen if each.kind == kind] for kind in HELD_OUT}
    groups["all with noise"] = with_noise(seen)
    for kind, group in (groups | {"all": list(seen)}).items():
        row = summary(group)
        right = row.pop("right")
        yield f"| {kind} | {' | '.join(f'{value:.2f}' for value in row.values())} | {right:.0%} |"


def fit(seen: Iterable[Example]) -> dict[str, Any]:
    """The rules for pictures of three channels and of one, and what they were fitted to, as in the file."""
    groups: dict[str, list[Example]] = {"colour": [], "gray": []}
    for each in seen:
        if each.estimate.spectra is not None:
            groups["gray" if is_gray(each.estimate) else "colour"].append(each)
    counts = {name: len(group) for name, group in groups.items()}
    found = {name: fitted(group).to_json() for name, group in groups.items()}
    return {"fitted": {"seed": SEED, "pictures": counts}, "rules": found}


def write(document: dict[str, Any]) -> None:
    PATH.write_text(json.dumps(document) + "\n", encoding="utf-8", newline="\n")
    rules.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="folder of clean pictures to fit the rule to")
    parser.add_argument("held_out", type=Path, help="folder of others to measure it on")
    parser.add_argument("--weights", type=Path, help="folder of both networks; by default the bundled ones")
    parser.add_argument("--pictures", type=int, default=10000, help="noisy pictures of the fit")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--measure", action="store_true", help="do not fit: measure the rule that is there")
    options = parser.parse_args()
    files = [options.weights / f"{name}.safetensors" if options.weights else weights.bundled()[name] for name in MODELS]
    for path in files:
        if not path.is_file():
            parser.error(f"{path}: no such file")
    for folder in (options.held_out,) if options.measure else (options.clean, options.held_out):
        if not files_of(folder):  # said before the rule is written anew
            parser.error(f"{folder}: no PNG or JPEG picture in it")
    hashes = {name: weights.file_hash(path) for name, path in zip(MODELS, files, strict=True)}
    document: dict[str, Any] = {"about": ABOUT, "networks": hashes}
    if not options.measure:
        document |= fit(examples(files, for_the_fit, options.clean, options.pictures, options.jobs))
        document["fitted"]["folder"] = options.clean.name
        write(document)
    # The choice is made here, by the rule that was written just now.
    count = len(files_of(options.held_out)) * len(HELD_OUT)
    seen = list(examples(files, held_out, options.held_out, count, options.jobs))
    print("\n".join(table(seen)))
    beside = list(examples(files, framed, options.held_out, count, options.jobs))
    print("\nwith frames, bars or masks:\n" + "\n".join(table(beside)))
    if not options.measure:
        found = {"all": summary(seen), "with noise": summary(with_noise(seen)), "framed": summary(beside)}
        write(document | {"held_out": {"folder": options.held_out.name, "pictures": len(seen), **found}})


if __name__ == "__main__":
    main()
