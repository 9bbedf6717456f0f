"""Values of options: their form, their kind, their limits.

Options are frozen dataclasses, whose annotations say what a field holds. Nothing is imported that takes long, so that a
wrong option is told at once.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from denoiser.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ENSEMBLES = (1, 2, 4, 8)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A scheme has two letters at least, a drive of Windows one."""


def plain(value: Any) -> Any:
    """A number of NumPy's as one of Python's; all else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def settle(options: Any) -> None:
    """Bring the fields of a frozen dataclass into the form of their annotations, where nothing is lost by it.

    Numbers of NumPy's become Python's, whole ones integers, text paths and paths text, a list a tuple, and one value a
    tuple of one. Fields of several kinds, such as ``str | int``, are left to who knows their words.

    Raises
    ------
    UsageError
        If a value is of another kind. The message names the option as on the command line.
    """
    for each in fields(options):
        value = _settled(option(each.name), plain(getattr(options, each.name)), str(each.type))
        object.__setattr__(options, each.name, value)


def option(field: str) -> str:
    """The name of a field on the command line."""
    return f"--{field.replace('_', '-')}"


def as_text(name: str, given: Any, wanted: str = "text") -> str:
    """Text, or a path as text.

    Raises
    ------
    UsageError
        If it is something else, such as bytes.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{name} {given!r}: must be {wanted}")
    return text


def as_path(name: str, given: Any) -> str:
    """A path as text; errors are those of :func:`as_text`."""
    return as_text(name, given, "a path")


def as_paths(name: str, given: Any) -> list[str]:
    """One path, or several, as text; errors are those of :func:`as_text`."""
    return [as_path(name, each) for each in _each(given)]


def on_disk(name: str, path: str | os.PathLike[str]) -> None:
    """Refuse the address of an object store, which as a path would be a folder ``s3:``.

    Raises
    ------
    UsageError
        If it is one.
    """
    text = os.fspath(path)
    if _ADDRESS.match(text):
        address = text if "://" in text else text.replace(":/", "://", 1)  # paths lose one of the slashes
        raise UsageError(
            f"{name} {address}: names an object store, where only INPUT and OUT of `denoiser run` may be; give a path, "
            "and copy what is there before or afterwards"
        )


def _settled(option: str, value: Any, annotation: str) -> Any:
    kind = annotation.removesuffix(" | None")
    if value is None and kind != annotation:
        return None
    if kind in _KINDS:
        return _KINDS[kind](option, value)
    if kind.endswith(", ...]"):
        return _several(option, value, _KINDS[kind.removeprefix("tuple[").removesuffix(", ...]")])
    return value


def _several(option: str, value: Any, one: Callable[[str, Any], Any]) -> tuple[Any, ...]:
    return () if value is None else tuple(one(option, each) for each in _each(value))


def _each(value: Any) -> Iterable[Any]:
    """The members of a list or the like, and a value that is none by itself."""
    alone = isinstance(value, str | bytes | bytearray | os.PathLike) or not hasattr(value, "__iter__")
    return (value,) if alone else value


def _truth(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{option} {value!r}: must be True or False")
    return value


def _whole(option: str, value: Any) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise UsageError(f"{option} {value!r}: must be a whole number")
    return int(value)


def _number(option: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{option} {value!r}: must be a number")
    return value


def _path(option: str, value: Any) -> Path:
    path = as_path(option, value)
    on_disk(option, path)
    return Path(path)


_KINDS: dict[str, Callable[[str, Any], Any]] = {
    "bool": _truth,
    "int": _whole,
    "float": _number,
    "str": as_text,
    "Path": _path,
}
"""Annotation -> what makes a value of it."""


def one_of(option: str, value: str | int, words: tuple[str | int, ...]) -> None:
    """Refuse what is none of these words."""
    if value not in words:
        raise UsageError(f"{option} {value!r}: must be one of {', '.join(map(str, words))}")


def word_or_count(option: str, value: str | int, words: tuple[str, ...], least: int) -> None:
    """Refuse what is neither one of these words nor a whole number that is large enough."""
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not (value in words if isinstance(value, str) else counts):
        raise UsageError(f"{option} {value}: must be {' or '.join(words)} or a whole number from {least}")


def within(option: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Refuse a number outside these limits, which are allowed themselves."""
    if value is not None and not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise UsageError(f"{option} {value:g}: must be {limits}")


def check_range(white: float | None, black: float | None) -> None:
    """Refuse values of white and black that are no numbers, or that leave nothing between them."""
    for name, value in (("--white", white), ("--black", black)):
        if value is not None and not math.isfinite(_number(name, plain(value))):
            raise UsageError(f"{name} {value}: must be a finite number in the units of the files")
    if white is not None and black is not None and white <= black:
        raise UsageError(f"--white {white:g} must be above --black {black:g}")
