"""Write the table of bundled models into the README, from the cards that the weights files carry.

python examples/models_table.py [README.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from denoiser import weights

BEGIN = "<!-- models table: written by `make models-table` from the models' cards -->"
END = "<!-- end of models table -->"
HEAD = """| model | what it is for | PSNR 15 / 25 / 50 | parameters | kMAC/px | size |
|---|---|---|---|---|---|
"""
FOOT = """
PSNR: mean over 24 held-out photographs with Gaussian noise of that sigma, or with the noise that is named, clipped and
rounded as files are (protocol `file`), measured when the model was trained; other protocols and noise by
`denoiser benchmark`. The noise that each was trained on, its data and their licences: `denoiser models show NAME`.
"""


def row(name: str, path: Path) -> str:
    card = weights.read_card(path)
    levels = card.psnr.get("file", {})
    shown = [
        f"{value:.2f}" if kind.isdigit() else f"{kind} {value:.2f}" for kind, value in levels.items() if ":" not in kind
    ]
    psnr = " / ".join(shown) or "-"
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    facts = [psnr, f"{card.parameters / 1e6:.2f} M", f"{card.macs_per_pixel / 1e3:,.0f}", size]
    return " | ".join([f"| `{name}`", card.purpose, *facts]) + " |\n"


def table() -> str:
    """The table in Markdown: the flagship and what was made from it first, the others by name."""
    models = weights.bundled()
    names = sorted(models, key=lambda name: (not name.startswith("unet"), name))
    return HEAD + "".join(row(name, models[name]) for name in names) + FOOT


def filled(text: str) -> str:
    """A document with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"the document lacks its marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "README.md"
    parser.add_argument("document", type=Path, nargs="?", default=default, help="by default the README")
    document = parser.parse_args().document
    if not document.is_file():
        parser.error(f"{document}: no such file")
    document.write_text(filled(document.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(f"{document}: {len(weights.bundled())} models")


if __name__ == "__main__":
    main()
