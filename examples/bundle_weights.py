"""Put a trained network among the bundled ones.

    python examples/bundle_weights.py TRAINED/model.safetensors NAME [--purpose TEXT] [--notes TEXT]

Convolutions are kept in float16: half the bytes, and still finer than the bfloat16 that most machines compute in. The
card stays with the network; the list of checksums is drawn up anew. Afterwards `python -m tests.test_golden` draws
the pictures that the tests compare with, and `make models-table` the README's table.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from safetensors.torch import load_file, save_file

from denoiser import weights


def bundle(trained: Path, name: str, purpose: str, notes: str, folder: Path) -> Path:
    """Write weights and checksums into a folder; returns the file."""
    card = dataclasses.replace(weights.read_card(trained), name=name)
    if purpose:
        card = dataclasses.replace(card, purpose=purpose)
    if notes:
        card = dataclasses.replace(card, notes=f"{card.notes}; {notes}".removeprefix("; "))
    tensors = {key: value.half() if value.ndim == 4 else value for key, value in load_file(trained).items()}
    target = folder / f"{name}.safetensors"
    save_file(tensors, target, metadata={weights.CARD_KEY: card.to_json()})
    target.chmod(0o644)
    lines = [f"{weights.file_hash(file)}  {file.name}\n" for file in sorted(folder.glob("*.safetensors"))]
    (folder / weights.CHECKSUMS).write_text("".join(lines))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path)
    parser.add_argument("name")
    parser.add_argument("--purpose", default="", help="what it is for, for the card")
    parser.add_argument("--notes", default="", help="what else is to be known of it, for the card")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent.parent / "weights")
    arguments = parser.parse_args()
    target = bundle(arguments.trained, arguments.name, arguments.purpose, arguments.notes, arguments.folder)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
