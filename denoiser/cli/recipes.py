"""Recipes: the options that a network was trained with, in a file of the form of ``denoiser.toml``."""

from __future__ import annotations

from pathlib import Path

import typer

from denoiser.cli import config
from denoiser.errors import UsageError

_MADE = ("noise", "gray", "clip", "patterns", "reduced")
SOURCE = "denoiser.recipe"
"""In the meta data of a context: options that a recipe sets -> its file."""


def apply(ctx: typer.Context, name: str | None) -> str | None:
    """Make a recipe's options the defaults of the command, below those of the configuration file.

    Called by Typer before the options that it may set.

    Parameters
    ----------
    ctx : typer.Context
    name : str or None
        A bundled recipe, or a path that ends in ``.toml``.

    Raises
    ------
    UsageError
        If there is no such recipe, or it holds what the command does not know.
    """
    if name is None or ctx.resilient_parsing:
        return name
    path = find(name)
    values = config.defaults(ctx, path)
    if "recipe" in values:
        raise UsageError(f"{path}: a recipe cannot name another one")
    present = ctx.default_map or {}
    # For errors that name the file which a wrong value comes from.
    ctx.meta[SOURCE] = dict.fromkeys(values.keys() - present.keys(), path)
    ctx.default_map = {**values, **present}
    return name


def made_noise(ctx: typer.Context) -> str | None:
    """The first option about noise that is made which a recipe sets, and nobody else; None where it sets none."""
    return next((name for name in _MADE if name in ctx.meta.get(SOURCE, {}) and _is_default(ctx, name)), None)


def _is_default(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


def find(name: str) -> Path:
    """The file of a bundled recipe, or of a path."""
    recipes = bundled()
    if name in recipes:
        return recipes[name]
    if not name.endswith(".toml"):
        known = ", ".join(recipes) or "none"
        raise UsageError(f"no recipe {name!r}: not a bundled name ({known}) and no path of a .toml file")
    return Path(name)


def bundled() -> dict[str, Path]:
    """Bundled recipes, name -> file; they lie beside the bundled weights."""
    from denoiser import weights

    folders = {path.parent / "recipes" for path in weights.bundled().values()}
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def complete(incomplete: str) -> list[str]:
    """Names of the bundled recipes, for the shell."""
    return [name for name in bundled() if name.startswith(incomplete)]
