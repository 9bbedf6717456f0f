"""Options from ``denoiser.toml``: a table per command, below the environment and the command line.

    [run]
    model = "unet"
    max-memory = "4GiB"
    exclude = ["*_preview.jpg"]

Keys are the long options without their dashes. A key or table that no command knows is an error, so that a
slip of the pen never silently changes a nightly run.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from denoiser.errors import UsageError

FILE = "denoiser.toml"

COMMAND_LINE_ONLY = {"config", "help", "list"}
"""Options that a file cannot set: where the file is, and what ends the program at once."""


def apply(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make a configuration file's table the defaults of the command that ``ctx`` belongs to.

    Called by Typer before any other option is read. Without ``path`` the working directory's
    ``denoiser.toml`` is taken where there is one.

    Raises
    ------
    UsageError
        If the file is missing or not TOML, or holds a table or key that no command knows.
    """
    if ctx.resilient_parsing:  # shell completion: nothing is run
        return path
    if path is None:
        if not Path(FILE).is_file():
            return None
        path = Path(FILE)
    ctx.default_map = {**(ctx.default_map or {}), **defaults(ctx, path)}
    return path


def defaults(ctx: typer.Context, path: Path) -> dict[str, Any]:
    """What a file says about the command that ``ctx`` belongs to: parameter -> value.

    Raises
    ------
    UsageError
        If the file is missing or not TOML, or holds a table or key that no command knows.
    """
    tables = _read(path, ctx.info_name or "run")
    commands = {name: command for name, command in _root(ctx).commands.items() if _takes_config(command)}
    for name, table in tables.items():
        if name not in commands:
            raise UsageError(f"{path}: no command has a table [{name}]{_hint(name, commands)}")
        _check_keys(path, name, table, commands[name])
    own = tables.get(ctx.info_name or "", {})
    return {key.replace("-", "_"): _plain(value) for key, value in own.items()}


def _read(path: Path, command: str) -> dict[str, dict[str, Any]]:
    import tomllib

    try:
        with path.open("rb") as stream:
            data = tomllib.load(stream)
    except OSError as error:
        raise UsageError(f"{path}: the configuration file cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file ({error})") from error
    if loose := [key for key, value in data.items() if not isinstance(value, dict)]:
        raise UsageError(f"{path}: the key {loose[0]!r} stands outside a table; put it below [{command}]")
    return data


def _root(ctx: typer.Context) -> Any:
    return ctx.find_root().command


def _takes_config(command: Any) -> bool:
    return any(param.name == "config" for param in command.params)


def _check_keys(path: Path, name: str, table: Mapping[str, Any], command: Any) -> None:
    known = {
        param.name.replace("_", "-"): param
        for param in command.params
        if param.param_type_name == "option" and param.name not in COMMAND_LINE_ONLY
    }
    for key, value in table.items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            raise UsageError(f"{path}: [{name}] has no option {key!r}{_hint(key, known)}")
        if option.is_bool_flag != isinstance(value, bool):
            wanted = "true or false" if option.is_bool_flag else "a value"
            raise UsageError(f"{path}: {key!r} in [{name}] takes {wanted}, not {value!r}")
        if option.multiple != isinstance(value, list) or isinstance(value, dict):
            wanted = "a list" if option.multiple else "one value"
            raise UsageError(f"{path}: {key!r} in [{name}] takes {wanted}, not {value!r}")


def _hint(wrong: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(wrong, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


def _plain(value: Any) -> Any:
    """As it would stand on the command line, where parsers and ranges expect text."""
    if isinstance(value, bool):
        return value
    return [str(item) for item in value] if isinstance(value, list) else str(value)
