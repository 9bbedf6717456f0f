"""Fine-tune the bundled `unet` on fifteen pages of documents, and measure on pages it never saw what that is worth.

    python examples/finetune.py [WORK_DIR] [--max-time 5m]

The pages are drawn here: text of several sizes, tables and rules in ink on paper. Put your own clean scans into
WORK_DIR/pages and WORK_DIR/held-out (before the first call) to measure on them instead.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = "eeettaaooiinnssrrhhddlluuccmmffyywwggppbbvvkkxqjz"


def make_page(rng: np.random.Generator, width: int = 512, height: int = 640) -> Image.Image:
    """A page of paragraphs and a table."""
    paper, ink = (int(v) for v in (rng.integers(225, 256), rng.integers(0, 70)))
    page = Image.new("L", (width, height), paper)
    draw = ImageDraw.Draw(page)
    y = 24
    while y < height - 40:
        size = int(rng.choice([9, 11, 13, 16, 24]))
        font = ImageFont.load_default(size)
        if rng.random() < 0.2:
            y = _table(draw, rng, y, width, ink)
        for _ in range(int(rng.integers(2, 7))):
            words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 10))) for _ in range(width // (3 * size))]
            draw.text((28, y), " ".join(words).capitalize(), fill=ink, font=font)
            y += int(size * 1.35)
        y += size
    return page


def _table(draw: ImageDraw.ImageDraw, rng: np.random.Generator, top: int, width: int, ink: int) -> int:
    rows, columns = (int(v) for v in rng.integers(2, 6, 2))
    for row in range(rows + 1):
        draw.line((28, top + 18 * row, width - 28, top + 18 * row), fill=ink)
    for column in range(columns + 1):
        x = 28 + (width - 56) * column // columns
        draw.line((x, top, x, top + 18 * rows), fill=ink)
    return top + 18 * rows + 12


def make_pages(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        make_page(rng).save(folder / f"{number:02}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("finetune"))
    parser.add_argument("--max-time", default="5m")
    arguments = parser.parse_args()
    pages, held_out, tuned = (arguments.work / name for name in ("pages", "held-out", "tuned"))
    for folder, count, seed in ((pages, 15, 0), (held_out, 5, 1)):
        if not folder.exists():
            make_pages(folder, count, seed)
    shutil.rmtree(tuned, ignore_errors=True)  # the result of an earlier call, which no other run may replace
    train = ["train", pages, "--init", "unet", "--lr", "3e-4", "--max-time", arguments.max_time, "--out", tuned]
    measure = ["benchmark", held_out, "--classical", "none", "--model", "unet", "--model", tuned / "model.safetensors"]
    noise = ["--noise", "gaussian:15", "--noise", "gaussian:25", "--noise", "gaussian:50"]
    for command in (train, [*measure, *noise]):
        subprocess.run([sys.executable, "-m", "denoiser", *map(str, command)], check=True)


if __name__ == "__main__":
    main()
