"""``denoiser models``: which networks are there, what they are for, whether their files are whole; and as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import UnavailableError

if TYPE_CHECKING:
    from denoiser.weights import Card

FLAGSHIP = "unet"

app = typer.Typer(help="List the models, show one, check their files, write one as ONNX.", no_args_is_help=True)


@app.command("list", context_settings=o.SETTINGS)
def list_models(json: o.Json = False, debug: o.Debug = False) -> None:
    """List the bundled models: purpose, noise, size, measured quality, licence, data."""
    with console.talking(progress=False, debug=debug):
        from denoiser import weights

        rows = [_row(path, weights.read_card(path)) for path in weights.bundled().values()]
        rows.sort(key=lambda row: (row["architecture"] != FLAGSHIP, row["name"]))  # first those that most people need
        if not rows:
            raise UnavailableError("no bundled weights were found; install the package again")
        if json:
            console.print_json({"schema": "denoiser.models/1", "models": rows})
            return
        from denoiser.cli import tables

        tables.show_models(rows)


@app.command("show", context_settings=o.SETTINGS)
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A bundled model or a .safetensors file.")],
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Show everything that a model's card says."""
    with console.talking(progress=False, debug=debug):
        from denoiser import weights

        path = weights.resolve(name)
        row = _row(path, weights.read_card(path))
        if json:
            console.print_json({"schema": "denoiser.model/1", **row})
            return
        from denoiser.cli import tables

        tables.show_model(row)


@app.command("verify", context_settings=o.SETTINGS)
def verify_models(json: o.Json = False, debug: o.Debug = False) -> None:
    """Check the SHA-256 of every bundled weights file. Exit code 4 when one is damaged."""
    with console.talking(progress=False, debug=debug):
        from denoiser import weights

        problems = weights.verify()
        names = list(weights.bundled())
        if json:
            console.print_json({"schema": "denoiser.verify/1", "models": names, "problems": problems})
        elif not problems:
            console.print_text(f"{console.count(len(names), 'weights file')} whole: {', '.join(names)}")
        if problems:
            raise UnavailableError("; ".join(problems))


@app.command("export", context_settings=o.SETTINGS)
def export_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A bundled model or a .safetensors file.")],
    onnx: Annotated[Path, o.option("--onnx", metavar="FILE", help="Write ONNX to FILE, replacing what is there.")],
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Write a model as ONNX, in fp32, for programs without torch. Needs: pip install 'image-denoiser[onnx]'"""
    with console.talking(progress=False, debug=debug):
        from denoiser.inference.export import write_onnx

        told = write_onnx(name, onnx)
        if json:
            console.print_json({"schema": "denoiser.export/1", "model": name, "file": str(onnx), **told})
            return
        floats = "values between black at 0 and white at 1" if told["needs_range"] else "values in any units"
        typer.echo(
            f"{onnx}: {told['bytes'] / 1e6:.1f} MB; from {', '.join(told['inputs'])} to {', '.join(told['outputs'])}; "
            f"{floats}, height and width multiples of {told['multiple_of']}",
            err=True,
        )


def _row(path: Path, card: Card) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(card), "name": path.stem, "file": str(path), "bytes": path.stat().st_size}
