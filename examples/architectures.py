"""Measure every bundled model, side by side, and write the tables of examples/architectures.md.

    python examples/architectures.py CLEAN_DIR [--model unet ...] [--out FILE.md] [--crop 192]

The text between the marks of "What is to be learned from it" is written by hand and kept. On two processor cores and
24 pictures this takes some minutes; models that cost more than 500 kMAC per pixel are measured on every sixth picture,
beside `unet` and non-local means on the same ones.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter
from scipy.stats import spearmanr

import denoiser
from denoiser import weights
from denoiser.benchmark import BenchmarkOptions, benchmark
from denoiser.metrics import Mean, mse, psnr_of_mse
from denoiser.noise import noisy_version
from denoiser.progress import Silent

GAUSSIAN = ("gaussian:15", "gaussian:25", "gaussian:50")
HOLES = ("stripes", "blocks")
HEAVY, EVERY = 500_000, 6
"""Models of more MAC per pixel than HEAVY see every so manieth picture."""

SKIPS = {"unet": "added", "rednet": "added", "dcdae": "concatenated", "convdae-unet": "concatenated"}
"""How features pass by the coarser scales; the other architectures have no such way."""
SKIPS_PAIR = ("convdae-long", "convdae-unet")
"""Two models that differ in their skips alone."""

PUBLISHED = {0.1: 28.33, 0.3: 22.81, 0.5: 20.42, 0.7: 18.98, 1.0: 15.35}
"""PSNR of a 10 + 10 layer convolution-deconvolution network on CIFAR-10, one network per sigma: PSNR of the mean
squared error over the training pictures, as its authors computed it (an open-source project after Mao et al. 2016)."""
SMALL = 32
"""Side of the pictures of that study."""
WINDOW = 7
"""Pixels on a side over which errors and deviations are averaged, to compare their local means."""

LESSONS = "<!-- by hand: what is to be learned -->", "<!-- end of what is written by hand -->"

Picture = NDArray[np.uint8]
Figures = dict[tuple[str, str], dict[str, Any]]
"""(method, column) -> figures; a column is noise and protocol."""


class Tell(Silent):
    """Says what is being measured."""

    def start(self, files: int, megapixels: float, what: str) -> None:
        print(f"{what}: {files} pictures, {megapixels:.1f} MP", flush=True)


def read(folder: Path) -> list[Picture]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


# The benchmark's tables.


def measure(folder: Path, models: Sequence[str], crop: int, classical: tuple[str, ...]) -> tuple[Figures, list[str]]:
    """PSNR and SSIM of models and classical methods for every noise, and what the benchmark says of its protocol."""
    figures: Figures = {}
    statements = []
    for protocol, specs in (("file", (*GAUSSIAN, *HOLES)), ("literature", GAUSSIAN)):
        chosen = tuple(name for name in classical if name != "biharmonic" or set(specs) & set(HOLES))
        options = BenchmarkOptions(
            folder, noise=specs, models=tuple(models), classical=chosen or ("none",), protocol=protocol, crop=crop
        )
        result = benchmark(options, Tell())
        statements.append(result.protocol["statement"])
        for row in result.rows:
            means: dict[str, Mean | None] = {"psnr": row.psnr, "ssim": row.ssim, "hole": row.hole_psnr}
            found = {name: value.mean for name, value in means.items() if value is not None}
            figures[row.method, f"{protocol} {row.noise}"] = found
    return figures, statements


def measure_all(clean: Path, cards: dict[str, weights.Card], crop: int) -> tuple[Figures, list[str]]:
    """All models, the heavy ones on fewer pictures: their rows and those beside them say on how many."""
    heavy = [name for name, card in cards.items() if card.macs_per_pixel > HEAVY]
    figures, statements = measure(clean, [name for name in cards if name not in heavy], crop, ("nlm", "biharmonic"))
    files = sorted(clean.glob("*.png"))
    if not heavy:
        return figures, statements
    with tempfile.TemporaryDirectory() as folder:
        for path in files[::EVERY]:
            shutil.copy(path, folder)
        some, _ = measure(Path(folder), [*heavy, *(["unet"] if "unet" in cards else [])], crop, ("nlm",))
    note = f" (on {len(files[::EVERY])})"
    some = {(name + note, column): found for (name, column), found in some.items()}
    return {**figures, **some}, statements


def table(figures: Figures, columns: dict[str, tuple[str, str, int]], bold: bool = True) -> Iterator[str]:
    """A Markdown table with a row per method; heading -> (column, figure, digits). The best of each column is bold."""
    yield f"| method | {' | '.join(columns)} |\n|---|" + "---|" * len(columns)
    methods = list(dict.fromkeys(method for method, _ in figures))
    whole = [method for method in methods if " (on " not in method]
    for method in methods:
        cells = []
        for column, figure, digits in columns.values():
            value = figures.get((method, column), {}).get(figure)
            best = max((figures.get((each, column), {}).get(figure, -np.inf) for each in whole), default=-np.inf)
            text = "-" if value is None else f"{value:.{digits}f}"
            cells.append(f"**{text}**" if bold and method in whole and value == best else text)
        if set(cells) != {"-"}:
            yield f"| {method} | {' | '.join(cells)} |"


def noise_sections(figures: Figures) -> Iterator[str]:
    """One table per protocol for Gaussian noise, one per kind for what makes holes."""
    for protocol, words in (
        ("file", "clipped and rounded to 8 bit"),
        ("literature", "neither clipped nor rounded, as in papers; models that need a range are told white"),
    ):
        yield f"\n## Gaussian noise, protocol `{protocol}`\n\n{words.capitalize()}.\n"
        columns = {}
        for spec in GAUSSIAN:
            level = spec.split(":")[1]
            columns[f"PSNR {level}"] = (f"{protocol} {spec}", "psnr", 2)
            columns[f"SSIM {level}"] = (f"{protocol} {spec}", "ssim", 3)
        yield from table(figures, columns)
    words = {"stripes": "10 of 28 rows are black", "blocks": "one gray square, 10/28 of the side"}
    for kind in HOLES:
        yield f"\n## {kind.capitalize()}\n\nThe default of `{kind}`: {words[kind]}. `biharmonic` alone is told where.\n"
        column = f"file {kind}"
        columns = {"PSNR": (column, "psnr", 2), "SSIM": (column, "ssim", 3), "PSNR in the hole": (column, "hole", 2)}
        yield from table(figures, columns)


def skips_section(figures: Figures) -> Iterator[str]:
    """What skips are worth: two models that differ in nothing else."""
    without, having = SKIPS_PAIR
    columns = [f"file {spec}" for spec in GAUSSIAN]
    if not all((name, column) in figures for name in SKIPS_PAIR for column in columns):
        return
    yield "\n## With and without skips\n\n| protocol `file` | PSNR 15 | PSNR 25 | PSNR 50 |\n|---|---|---|---|"
    psnr = {name: [figures[name, column]["psnr"] for column in columns] for name in SKIPS_PAIR}
    for name in SKIPS_PAIR:
        yield f"| {name} | " + " | ".join(f"{value:.2f}" for value in psnr[name]) + " |"
    gains = [b - a for a, b in zip(psnr[without], psnr[having], strict=True)]
    yield "| what the skips add | " + " | ".join(f"{gain:+.2f}" for gain in gains) + " |"


# The models, their cost, and two studies.


def speed(name: str, card: weights.Card) -> float:
    """Megapixels per second on one large picture, the second of two times."""
    side = 1024 if card.macs_per_pixel < HEAVY else 320
    model = denoiser.load(name)
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    seconds = 0.0
    for _ in range(2):
        begun = time.perf_counter()
        model.denoise(picture)
        seconds = time.perf_counter() - begun
    return side * side / 1e6 / seconds


def models_section(cards: dict[str, weights.Card]) -> Iterator[str]:
    yield "\n## The models\n"
    yield (
        "| model | architecture | skips | parameters | kMAC/px | reach | MP/s | trained on | with |\n|---"
        + "|---" * 8
        + "|"
    )
    for name, card in cards.items():
        facts = [
            f"| {name} | {card.architecture} | {SKIPS.get(card.architecture, 'none')} | {card.parameters:,}",
            f"{card.macs_per_pixel / 1e3:,.0f} | {card.receptive_field} px | {speed(name, card):.2f}",
            f"{card.noise.split(';')[0].replace(' | ', ', ')} | {card.notes}",
        ]
        yield " | ".join(facts) + " |"
    yield (
        "\nMP/s: one 8-bit colour picture of one megapixel (heavy models: a tenth) through `model.denoise`, in the "
        "precision that the program chooses here. Reach: radius of the receptive field."
    )


def small_pictures(clean: Iterable[Picture]) -> NDArray[np.float32]:
    """Four quarters of every photograph, reduced to 32 x 32 by averaging, (N, 32, 32, 3) in [0, 1].

    They overlap where a side is not a multiple of 64; pictures below 64 pixels have none.
    """
    found = [np.empty((0, SMALL, SMALL, 3))]
    for picture in clean:
        step = min(picture.shape[:2]) // 2 // SMALL
        if not step:
            continue
        side = step * SMALL
        for top in (0, picture.shape[0] - side):
            for left in (0, picture.shape[1] - side):
                part = picture[top : top + side, left : left + side] / np.float32(255)
                found.append(part.reshape(1, SMALL, step, SMALL, step, 3).mean(axis=(2, 4)))
    return np.concatenate(found).astype(np.float32)


def small_section(clean: Iterable[Picture], cards: dict[str, weights.Card]) -> Iterator[str]:
    """The study of 32 x 32 pictures under noise as strong as the full range."""
    pictures = small_pictures(clean)
    if not len(pictures):
        return
    levels = tuple(PUBLISHED)
    noise = {s: np.random.default_rng(int(10 * s)).normal(0, s, pictures.shape).astype(np.float32) for s in levels}
    noisy = {s: np.clip(pictures + noise[s], 0, 1) for s in levels}
    rows: dict[str, dict[float, NDArray[np.float32]]] = {"noisy input": noisy}
    for name, card in cards.items():
        if "gaussian" in card.noise:
            model = denoiser.load(name)
            rows[name] = {s: np.clip(model.denoise(noisy[s], white=1.0), 0, 1) for s in levels}
    yield (
        f"\n## Pictures of {SMALL} x {SMALL}\n\n{len(pictures)} quarters of the photographs, reduced to {SMALL} x "
        f"{SMALL}; Gaussian noise of sigma 0.1 to 1.0 of the full range, clipped to it, not rounded. Each cell: PSNR "
        "of the mean squared error over all pictures / mean of the pictures' PSNRs. The published line is the former "
        "only, on the *training* pictures of CIFAR-10, one network per sigma; the models here are one for all levels, "
        "saw no sigma above 0.3 but by chance (`dcdae`: an exponential distribution), and none of these pictures.\n"
    )
    yield "| | " + " | ".join(f"{s:g}" for s in levels) + " |\n|---" + "|---" * len(levels) + "|"
    yield "| published | " + " | ".join(f"{PUBLISHED[s]:.2f} / -" for s in levels) + " |"
    for name, restored in rows.items():
        cells = []
        for s in levels:
            each = [mse(one, other) for one, other in zip(pictures, restored[s], strict=True)]
            cells.append(f"{psnr_of_mse(mean(each)):.2f} / {mean(map(psnr_of_mse, each)):.2f}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def rank_correlations(model: Any, clean: Picture, noisy: Picture) -> list[float]:
    """How stated deviations and errors go together in one picture.

    Returns
    -------
    list of float
        Spearman's rank correlation of deviation and absolute error: value by value; the same if the errors were
        normal with exactly these deviations; of local means. Last the mean squared error over the mean variance.
    """
    error = np.abs(model.denoise(noisy).astype(np.float32) - clean)
    stated = model.uncertainty(noisy)
    ideal = stated * np.abs(np.random.default_rng(0).standard_normal(stated.shape))
    local = [uniform_filter(plane.mean(axis=2), WINDOW) for plane in (error, stated)]
    pairs = (error, stated), (ideal, stated), local
    ranks = [float(spearmanr(one.ravel(), other.ravel()).statistic) for one, other in pairs]
    return [*ranks, float(np.mean(error**2) / np.mean(stated**2))]


def uncertainty_section(clean: Sequence[Picture], cards: dict[str, weights.Card], crop: int) -> Iterator[str]:
    """Whether what a model states of its errors is true."""
    for name in cards:
        model = denoiser.load(name)
        if not model.needs.states_uncertainty:
            continue
        yield (
            f"\n## What `{name}` knows of its errors\n\nSpearman's rank correlation between the stated deviation and "
            "the absolute error, mean over pictures, protocol `file`. Local: both averaged over channels and "
            f"{WINDOW} x {WINDOW} pixels. By value: each pixel and channel; a single error is partly chance: normal "
            "errors of exactly these deviations would reach the next column. Ratio: RMS error over RMS stated "
            "deviation.\n"
        )
        yield "| sigma | local | by value | by value, normal errors | ratio |\n|---|---|---|---|---|"
        for sigma in (15, 25, 50):
            found = []
            for index, whole in enumerate(clean):
                picture = centre(whole, crop)
                noisy = np.asarray(noisy_version(picture, sigma, "file", index))
                found.append(rank_correlations(model, picture, noisy))
            values, ideal, local, ratio = np.mean(found, axis=0)
            yield f"| {sigma} | {local:.3f} | {values:.3f} | {ideal:.3f} | {ratio**0.5:.2f} |"


def centre(picture: Picture, crop: int) -> Picture:
    top, left = (max(0, side - crop) // 2 for side in picture.shape[:2])
    return picture[top : top + crop, left : left + crop]


# The document.


def lessons(out: Path) -> str:
    """What is written by hand in the document that is there."""
    begin, end = LESSONS
    text = out.read_text(encoding="utf-8") if out.is_file() else ""
    return text.split(begin)[1].split(end)[0] if begin in text and end in text else "\n"


def write(out: Path, sections: Iterable[str], statements: Sequence[str]) -> None:
    begin, end = LESSONS
    body = "\n".join(sections)
    protocols = "\n\n".join(statements)
    out.write_text(
        "# The bundled models side by side\n\nWritten by `make architectures`; means over pictures, the best of each "
        "column in bold (rows on fewer pictures apart).\n\n## What is to be learned from it\n\n"
        f"{begin}{lessons(out)}{end}\n{body}\n\n## How it was measured\n\n{protocols}\n",
        encoding="utf-8",
        newline="\n",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="folder of clean colour PNG pictures")
    parser.add_argument("--model", action="append", help="bundled model or weights file; all bundled ones by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--crop", type=int, default=192, help="side of the central part that is measured")
    arguments = parser.parse_args()
    begun = time.monotonic()
    cards = {name: weights.read_card(weights.resolve(name)) for name in arguments.model or weights.bundled()}
    clean = read(arguments.clean)
    if not clean:
        parser.error(f"{arguments.clean}: no PNG picture in it")
    figures, statements = measure_all(arguments.clean, cards, arguments.crop)
    sections = [*models_section(cards), *noise_sections(figures), *skips_section(figures)]
    sections += [*small_section(clean, cards), *uncertainty_section(clean, cards, arguments.crop)]
    write(arguments.out, sections, statements)
    print(f"{arguments.out}: {len(cards)} models, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
