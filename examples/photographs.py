"""Measure models on photographs from cameras that no training has seen, and fill the tables of docs/photographs.md.

    python examples/photographs.py CLEAN_DIR [--model FILE ...] [--bm3d-every 8] [--write docs/photographs.md]

Six cameras, each with some parameters outside the ranges that the noise kind ``camera`` draws for training; each clean
picture is taken by one of them, at four sensitivities. Everybody must find out about the noise alone. The classical
methods get two estimates of its level, and each column shows what the better one gives: scikit-image's, which takes
noise to be white, and that of ``denoiser estimate``. bm3d is slow: it is measured on every N-th picture, on the middle
quarter of what the others see, beside the models on the same pixels.

The last model named is the one that is looked at closely: what it gains over the noisy pictures, what it does to clean
ones, and the pictures of the page. ``--write`` replaces the text between the two marks of the page.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage import data
from skimage.restoration import estimate_sigma

import denoiser
from denoiser.benchmark.filters import FILTERS
from denoiser.estimate import estimate
from denoiser.metrics import psnr

ISOS = (400, 1600, 6400, 25600)

CAMERAS = {
    "phone": "electrons=12000,contrast=1.7,smooth=0.8,spread=1,sharpen=0.7,chroma=1,quality=90,subsampling=1",
    "old compact": "electrons=12000,bands=0.4,smooth=0.3,spread=0,sharpen=0.6,chroma=0.3,gradient=0,quality=60,"
    "subsampling=1",
    "system camera": "electrons=100000,contrast=1,smooth=0,sharpen=0,chroma=0,gradient=1,quality=99,subsampling=0",
    "lamp light": "electrons=100000,red=1.15,blue=3.2,smooth=0.4,spread=0.5,sharpen=0,chroma=0.5,quality=88",
    "bright shade": "electrons=90000,red=2.7,blue=1.25,exposure=1.6,smooth=0,sharpen=0.6,chroma=1,quality=95,"
    "subsampling=0",
    "converter": "electrons=100000,contrast=1.8,gradient=1,smooth=0,sharpen=0.6,chroma=0.5,shrunk=1,jpeg=0",
}
"""Parameters of ``camera``; what is not named is drawn from the ranges of training. ``converter`` saves PNG."""

CLASSICAL = {"non-local means": "nlm", "wavelet": "wavelet", "total variation": "tv"}

PARTS = {
    "skin": ("astronaut", (60, 150), "phone"),
    "lettering": ("astronaut", (330, 118), "system camera"),
    "foliage": ("ukylin_066", (300, 210), "lamp light"),
    "sky": ("ukylin_144", (60, 230), "bright shade"),
    "night": ("ukylin_029", (130, 330), "old compact"),
    "village": ("ukylin_108", (330, 230), "phone"),
    "petals": ("ukylin_024", (129, 144), "converter"),
}
"""What the page shows: picture, row and column of the part's corner, camera. The astronaut is scikit-image's."""
FAINT = {"petals"}
"""Parts of which the page shows the three lowest sensitivities; of the others it shows the three highest."""

SIDE, ENLARGED, LABEL, GAP, CONTRAST = 104, 2, 20, 4, 2
"""Side of a part in pixels; how often each is repeated; height of a label; gap; factor that makes residuals visible."""
MARGIN = 76
"""Pixels around a part that are noisy and denoised too: more than the networks look at."""

MARKS = "<!-- measured by examples/photographs.py -->", "<!-- end of what was measured -->"

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A clean picture and what a camera made of it, both (H, W, 3)."""

    name: str
    camera: str
    iso: int
    clean: Picture
    noisy: Picture
    levels: tuple[float, float]
    """Two estimates of the noise, see :func:`estimated`."""


def taken(clean: Picture, camera: str, iso: int, seed: int) -> Picture:
    """The picture as a camera saves it; the blocks of JPEG begin in the corner, as they do in whole files."""
    return denoiser.corrupt(clean, f"camera:iso={iso},{CAMERAS[camera]},grid=corner", seed=seed)


def middle(picture: Picture, side: int) -> Picture:
    top, left = ((size - min(side, size)) // 2 for size in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def read(folder: Path) -> dict[str, Picture]:
    """Pictures of a folder by the stem of their name."""
    return {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))}


def cases_of(pictures: dict[str, Picture], crop: int) -> list[Case]:
    """Every picture at every sensitivity, the cameras taking turns."""
    cases = []
    for number, (name, picture) in enumerate(pictures.items()):
        camera, clean = list(CAMERAS)[number % len(CAMERAS)], middle(picture, crop)
        for iso in ISOS:
            noisy = taken(clean, camera, iso, seed=number)
            cases.append(Case(name, camera, iso, clean, noisy, estimated(noisy)))
    return cases


def estimated(noisy: Picture) -> tuple[float, float]:
    """Two estimates of the noise in units of the full range: scikit-image's and the program's own."""
    values = noisy / np.float32(255)
    white = float(estimate_sigma(values, channel_axis=2, average_sigmas=True))
    own = estimate([values], clips=True, step=1 / 255).sigma
    return white, white if own is None else own / 255


def filtered(method: str, noisy: Picture, level: float) -> Picture:
    """The result of a classical method, rounded to 8 bit."""
    if level == 0:
        return noisy
    values = FILTERS[method](noisy / np.float32(255), level)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def by_iso(cases: Sequence[Case], results: Sequence[Picture]) -> list[float]:
    """Mean PSNR of results at each sensitivity."""
    scored = [(case.iso, psnr(case.clean, made, 255)) for case, made in zip(cases, results, strict=True)]
    return [mean(score for at, score in scored if at == iso) for iso in ISOS]


def classical_row(method: str, cases: Sequence[Case]) -> list[float]:
    """Mean PSNR of a classical method, with the better of the two estimates for each column."""
    both = ([filtered(method, case.noisy, case.levels[which]) for case in cases] for which in (0, 1))
    return [max(pair) for pair in zip(*(by_iso(cases, results) for results in both), strict=True)]


def line(name: str, figures: Iterable[float], form: str = ".2f") -> str:
    return f"| {name} | " + " | ".join(f"{figure:{form}}" for figure in figures) + " |"


def head(*columns: object) -> str:
    return f"| {' | '.join(map(str, columns))} |\n|" + "---|" * len(columns)


def psnr_table(cases: list[Case], made: dict[str, list[Picture]]) -> Iterator[str]:
    """Mean PSNR over ISO, and the distance of the last model to the best of all others."""
    rows = {"noisy": by_iso(cases, [case.noisy for case in cases])}
    rows |= {name: classical_row(method, cases) for name, method in CLASSICAL.items()}
    rows |= {name: by_iso(cases, results) for name, results in made.items()}
    yield head("PSNR in dB", *(f"ISO {iso}" for iso in ISOS))
    yield from (line(name, row) for name, row in rows.items())
    name, last = rows.popitem()
    best = [max(column) for column in zip(*rows.values(), strict=True)]
    yield line(f"{name} above the best other", (a - b for a, b in zip(last, best, strict=True)), "+.2f")


def bm3d_table(cases: list[Case], made: dict[str, list[Picture]], every: int) -> Iterator[str]:
    """bm3d and the models on the middle quarter of every so manieth picture."""
    side = min(cases[0].clean.shape[:2]) // 2
    chosen = [number for number in range(len(cases)) if number // len(ISOS) % every == 0]
    some = [
        replace(cases[number], clean=middle(cases[number].clean, side), noisy=middle(cases[number].noisy, side))
        for number in chosen
    ]
    yield head(f"{len(some) // len(ISOS)} pictures of {side} x {side}", *(f"ISO {iso}" for iso in ISOS))
    yield line("bm3d", classical_row("bm3d", some))
    for name, results in made.items():
        yield line(name, by_iso(some, [middle(results[number], side) for number in chosen]))


def gains_tables(cases: list[Case], results: list[Picture]) -> Iterator[str]:
    """What a model gains over the noisy picture: by camera, and where it gains least."""
    gains = [
        psnr(case.clean, made, 255) - psnr(case.clean, case.noisy, 255)
        for case, made in zip(cases, results, strict=True)
    ]
    yield "Gain over the noisy picture in dB, by camera:\n"
    yield head("", *(f"ISO {iso}" for iso in ISOS))
    for camera in CAMERAS:
        found = [(case.iso, gain) for case, gain in zip(cases, gains, strict=True) if case.camera == camera]
        if found:
            yield line(camera, (mean(gain for at, gain in found if at == iso) for iso in ISOS), "+.2f")
    worse = sum(gain < 0 for gain in gains)
    yield f"\n{worse} of {len(cases)} results are worse than their noisy picture. The five smallest gains:\n"
    yield head("picture", "camera", "ISO", "noisy (dB)", "gain (dB)")
    for number in np.argsort(gains)[:5]:
        case = cases[number]
        noisy = psnr(case.clean, case.noisy, 255)
        yield f"| {case.name} | {case.camera} | {case.iso} | {noisy:.2f} | {gains[number]:+.2f} |"


def shift(before: Picture, after: Picture) -> float:
    """By how much the mean colour moved, in 1/255: the channel that moved most."""
    return float(np.abs(np.mean(after.astype(np.float64) - before, axis=(0, 1))).max())


def changed(before: Picture, after: Picture) -> float:
    """Mean absolute difference in 1/255."""
    return float(np.abs(after.astype(np.float64) - before).mean())


def half(picture: Picture) -> Picture:
    """At half the size: as clean, and of finer texture."""
    image = Image.fromarray(picture)
    return np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS))


def faithful_table(
    pictures: Collection[Picture], model: Any, cases: list[Case], results: list[Picture]
) -> Iterator[str]:
    """What a model does to clean pictures, and to the mean colour of noisy ones."""
    whole, halves = (
        [(picture, np.asarray(model.denoise(picture))) for picture in each]
        for each in (pictures, [half(picture) for picture in pictures])
    )
    moved = [shift(case.noisy, made) for case, made in zip(cases, results, strict=True)]
    noisy_off = [shift(case.clean, case.noisy) for case in cases]
    off = [shift(case.clean, made) for case, made in zip(cases, results, strict=True)]
    yield head("in 1/255", "mean over pictures", "largest")
    for name, found in (
        ("clean pictures: mean absolute change", [changed(*pair) for pair in whole]),
        ("clean pictures at half the size: mean absolute change", [changed(*pair) for pair in halves]),
        ("clean pictures: shift of the mean colour", [shift(*pair) for pair in whole]),
        ("noisy pictures: shift of the mean colour", moved),
        ("mean colour, noisy picture against the truth", noisy_off),
        ("mean colour, result against the truth", off),
    ):
        yield line(name, (mean(found), max(found)), ".3f")


def shown(part: Picture) -> Image.Image:
    return Image.fromarray(part.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))


def sheet(clean: Picture, corner: tuple[int, int], camera: str, model: Any, isos: Sequence[int]) -> Image.Image:
    """Rows of views, one for each sensitivity: clean, noisy, result, and what was taken away around gray."""
    top, left = (max(0, start - MARGIN) for start in corner)
    clean = clean[top : corner[0] + SIDE + MARGIN, left : corner[1] + SIDE + MARGIN]
    part = slice(corner[0] - top, corner[0] - top + SIDE), slice(corner[1] - left, corner[1] - left + SIDE)
    step = SIDE * ENLARGED + GAP
    page = Image.new("RGB", (4 * step - GAP, len(isos) * (step + LABEL) - GAP), "white")
    pen = ImageDraw.Draw(page)
    for row, iso in enumerate(isos):
        noisy = taken(clean, camera, iso, seed=0)
        made = np.asarray(model.denoise(noisy))
        residual = 128 + CONTRAST * (noisy[part].astype(np.float64) - made[part])
        before, after = (psnr(clean[part], each[part], 255) for each in (noisy, made))
        labels = ("clean", f"ISO {iso}: {before:.1f} dB", f"result: {after:.1f} dB", f"residual x {CONTRAST}")
        views = (clean[part], noisy[part], made[part], np.clip(residual, 0, 255).astype(np.uint8))
        for column, (label, view) in enumerate(zip(labels, views, strict=True)):
            x, y = column * step, row * (step + LABEL)
            pen.text((x + 2, y + 2), label, fill="black", font_size=14)
            page.paste(shown(view), (x, y + LABEL))
    return page


def draw(folder: Path, pictures: dict[str, Picture], model: Any) -> None:
    """The pictures of the page, of those photographs that are there."""
    folder.mkdir(exist_ok=True)
    known = {**pictures, "astronaut": data.astronaut()}
    for motif, (name, corner, camera) in PARTS.items():
        if name in known:
            isos = ISOS[:-1] if motif in FAINT else ISOS[1:]
            page = sheet(known[name], corner, camera, model, isos)
            page.save(folder / f"{motif}.webp", quality=70, method=6)


def cameras_table() -> Iterator[str]:
    yield head("camera", "parameters")
    yield from (f"| {name} | `{text.replace(',', ', ')}` |" for name, text in CAMERAS.items())


def filled(page: str, text: str) -> str:
    """The page with new text between its marks."""
    before, _, rest = page.partition(MARKS[0])
    _, found, after = rest.partition(MARKS[1])
    if not found:
        raise SystemExit(f"the page lacks its marks {MARKS[0]} and {MARKS[1]}")
    return f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"


def loaded(names: Sequence[str]) -> dict[str, Any]:
    """Models by stem, or by the whole name where stems repeat: training calls every file model.safetensors."""
    stems = Counter(Path(name).stem for name in set(names))
    return {name if stems[Path(name).stem] > 1 else Path(name).stem: denoiser.load(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="folder of clean colour PNG pictures")
    parser.add_argument("--model", action="append", help="bundled model or weights file (default: unet, unet-photo)")
    parser.add_argument("--crop", type=int, default=256, help="side of the middle part that is measured")
    parser.add_argument("--bm3d-every", type=int, default=0, help="0 leaves bm3d out")
    parser.add_argument("--write", type=Path, help="page to fill; its pictures go into the folder of its name")
    given = parser.parse_args()
    begun = time.monotonic()
    pictures = read(given.clean)
    if not pictures:
        parser.error(f"{given.clean}: no PNG picture in it")
    models = loaded(given.model or ("unet", "unet-photo"))
    cases = cases_of(pictures, given.crop)
    made = {name: [np.asarray(model.denoise(case.noisy)) for case in cases] for name, model in models.items()}
    name, model = list(models.items())[-1]
    parts = [
        cameras_table(),
        psnr_table(cases, made),
        *([bm3d_table(cases, made, given.bm3d_every)] if given.bm3d_every else []),
        gains_tables(cases, made[name]),
        faithful_table(pictures.values(), model, cases, made[name]),
    ]
    text = "\n\n".join("\n".join(part) for part in parts)
    print(text, f"\n{len(pictures)} pictures, {time.monotonic() - begun:.0f} s")
    if given.write:
        given.write.write_text(filled(given.write.read_text(encoding="utf-8"), text), encoding="utf-8", newline="\n")
        draw(given.write.with_suffix(""), pictures, model)


if __name__ == "__main__":
    main()
