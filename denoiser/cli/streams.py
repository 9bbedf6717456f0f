"""``-``: one image from stdin, one image to stdout.

The batch works on files, whose names can be renamed into place; a stream passes through a temporary folder.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from denoiser.batch.names import STATE
from denoiser.cli import console
from denoiser.errors import InputError, UsageError

STREAM = "-"
LIST = "@-"
"""A list of paths on stdin."""

SEVERAL = "only one picture that is one file can go to stdout; name an output directory instead of -"


@contextmanager
def as_files(inputs: Sequence[str], output: str) -> Iterator[tuple[list[str], str | Path]]:
    """Give inputs and an output that are files, and copy the result to stdout when ``output`` is ``-``.

    A list on stdin, ``@-``, becomes a list in a file: a run may have to read it more than once.

    Raises
    ------
    UsageError
        If a stream stands beside other inputs, or several pictures would go to stdout.
    InputError
        If stdin holds no picture.
    OutputError
        If stdout cannot be written.
    """
    if LIST in inputs:
        if STREAM in inputs:
            raise UsageError("stdin cannot be a list and an image at once; give the list as @list.txt")
        with TemporaryDirectory(prefix="denoiser-") as folder:
            with Path(folder, "list").open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream)
            named = [f"@{folder}/list" if each == LIST else each for each in inputs]
            with as_files(named, output) as found:
                yield found
        return
    if STREAM not in (*inputs, output):
        yield list(inputs), output
        return
    if len(inputs) != 1:
        raise UsageError("- stands for one image; give it as the only INPUT, and as OUT only for one INPUT")
    with TemporaryDirectory(prefix="denoiser-") as folder:
        source = str(_stdin_file(Path(folder))) if inputs[0] == STREAM else inputs[0]
        if output != STREAM:
            yield [source], output
            return
        _check_single(source)
        made = Path(folder, "out")
        yield [source], made
        results = [path for path in made.rglob("*") if path.is_file() and path.relative_to(made).parts[0] != STATE]
        if len(results) > 1:  # a folder in a store, into which nobody has looked before
            raise UsageError(SEVERAL)
        for result in results:
            with result.open("rb") as stream, console.to_stdout():
                shutil.copyfileobj(stream, sys.stdout.buffer)


@contextmanager
def as_inputs(inputs: Sequence[str]) -> Iterator[list[str]]:
    """Give inputs that are files: ``-`` alone is the picture on stdin.

    Raises
    ------
    UsageError
        If a stream stands beside other inputs.
    InputError
        If stdin holds no picture.
    """
    if STREAM not in inputs:
        yield list(inputs)
        return
    if len(inputs) != 1:
        raise UsageError("- stands for one image; give it as the only INPUT")
    with TemporaryDirectory(prefix="denoiser-") as folder:
        yield [str(_stdin_file(Path(folder)))]


def _check_single(source: str) -> None:
    """Make sure that an argument means no more than one file."""
    from denoiser.batch.discover import Rules, discover

    found = discover([source], Rules(recursive=False))
    if found.roots or len(found.files) > 1 or any(each.path.is_dir() for each in found.files):
        raise UsageError(SEVERAL)


def _stdin_file(folder: Path) -> Path:
    """Write stdin to a file whose suffix tells its format."""
    from denoiser.images import SUFFIXES, signature

    path = folder / "stdin"
    with path.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
    found = signature(path)
    if found is None:
        if not path.stat().st_size:
            raise InputError("stdin: is empty")
        known = sorted(set(SUFFIXES.values()) - {"zarr"})  # which is a directory
        raise InputError(f"stdin: holds no picture of a known format ({', '.join(known)})")
    suffix = next(suffix for suffix, name in SUFFIXES.items() if name == found)
    return path.rename(path.with_suffix(suffix))
