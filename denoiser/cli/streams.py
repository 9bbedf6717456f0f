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

from denoiser.errors import InputError, UsageError

STREAM = "-"
LIST = "@-"
"""A list of paths on stdin."""


@contextmanager
def as_files(inputs: Sequence[str], output: str) -> Iterator[tuple[list[str], Path]]:
    """Give inputs and an output that are files, and copy the result to stdout when ``output`` is ``-``.

    A list on stdin, ``@-``, becomes a list in a file: a run may have to read it more than once.

    Raises
    ------
    UsageError
        If a stream stands beside other inputs.
    InputError
        If stdin holds no picture.
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
        yield list(inputs), Path(output)
        return
    if len(inputs) != 1:
        raise UsageError("- stands for one image; give it as the only INPUT, and as OUT only for one INPUT")
    with TemporaryDirectory(prefix="denoiser-") as folder:
        source = str(_stdin_file(Path(folder))) if inputs[0] == STREAM else inputs[0]
        if output != STREAM:
            yield [source], Path(output)
            return
        if Path(source).is_dir():
            raise UsageError(f"{source}: a directory cannot go to stdout; name an output directory instead of -")
        made = Path(folder, "out")
        yield [source], made
        for result in made.glob("[!.]*"):
            with result.open("rb") as stream:
                shutil.copyfileobj(stream, sys.stdout.buffer)
        sys.stdout.buffer.flush()


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


def _stdin_file(folder: Path) -> Path:
    """Write stdin to a file whose suffix tells its format."""
    from denoiser.images import SUFFIXES, signature

    path = folder / "stdin"
    with path.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
    found = signature(path)
    if found is None:
        raise InputError(f"stdin: holds no picture of a known format ({', '.join(sorted(set(SUFFIXES.values())))})")
    suffix = next(suffix for suffix, name in SUFFIXES.items() if name == found)
    return path.rename(path.with_suffix(suffix))
