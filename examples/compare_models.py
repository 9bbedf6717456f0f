"""Compare models on pictures of your own, look at them, and hold later models to what was reached.

    python compare_models.py clean/ work/ --noise gaussian:25

Makes noise on the clean pictures, denoises them with two models as a user would, scores both against the truth, and
writes a page to look at (work/page.html). Then the gate: the first model's result is kept as a baseline, and a damaged
copy of its weights must fail it with exit code 8 and the names of the pictures that fell.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from denoiser import weights


def denoiser(*arguments: object, expect: int = 0, out: Path | None = None) -> None:
    """Call the command line; what it prints on stdout goes into a file where one is named."""
    print("$ denoiser", *arguments, *([">", out] if out else []), flush=True)
    command = [sys.executable, "-m", "denoiser", *map(str, arguments)]
    if out is None:
        code = subprocess.run(command, check=False).returncode
    else:
        with out.open("w", encoding="utf-8") as stream:
            code = subprocess.run(command, check=False, stdout=stream).returncode
    if code != expect:
        raise SystemExit(f"exit code {code} where {expect} was expected")


def folders(work: Path, models: list[str]) -> list[Path]:
    """Where each model's results go: named after it, and numbered where the names alone would meet."""
    stems = [Path(model).stem for model in models]
    if len({*stems, "noisy"}) <= len(stems):
        stems = [f"{number}-{stem}" for number, stem in enumerate(stems, 1)]
    return [work / stem for stem in stems]


def damaged(model: str, path: Path) -> Path:
    """A copy of a model whose last tensor is off by a fifth: it still runs, and nobody sees it from the file."""
    module, card = weights.load(model)
    *_, last = module.parameters()
    last.data *= 0.8
    weights.save(path, module, card)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="folder of clean pictures")
    parser.add_argument("work", type=Path, help="folder for all that is made")
    parser.add_argument("--noise", default="gaussian:25", help="see: denoiser corrupt --list")
    parser.add_argument("--models", nargs=2, default=["unet", "dcdae"], help="two bundled models or weights files")
    given = parser.parse_args()
    if not given.clean.is_dir():
        parser.error(f"{given.clean}: no such folder")
    clean, work, noisy = given.clean, given.work, given.work / "noisy"

    denoiser("corrupt", clean, noisy, "--noise", given.noise, "--seed", 7, "-q")
    restored = []
    for model, folder in zip(given.models, folders(work, given.models), strict=True):
        denoiser("run", noisy, folder, "--model", model, "-q")
        restored += ["--restored", folder]
    truth = ["--clean", clean, "--noisy", noisy, "--model", "none"]
    denoiser("benchmark", *truth, *restored, "--classical", "none", "--report", work / "page.html", "-q")

    first = given.models[0]
    gate = ["benchmark", "--clean", clean, "--noisy", noisy, "--classical", "none", "-q"]
    baseline = work / "baseline.json"
    denoiser(*gate, "--model", first, "--json", out=baseline)
    broken = damaged(first, work / "damaged.safetensors")
    denoiser(*gate, "--model", broken, "--json", "--baseline", baseline, expect=8, out=work / "damaged.json")
    print(f"the gate failed for the damaged copy of {first}, as it must; look at {work / 'page.html'}")


if __name__ == "__main__":
    main()
