"""INPUT arguments -> the files they mean. Nothing is opened but the list files; stat calls only."""

from __future__ import annotations

import codecs
import errno
import fnmatch
import glob
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from denoiser.batch import folders
from denoiser.batch.names import STATE, is_hidden, shown
from denoiser.errors import InputError, UsageError
from denoiser.images import SUFFIXES, is_store, signature
from denoiser.settings import on_disk

Identity = tuple[int, int]
"""(st_dev, st_ino): what makes two paths one file."""

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Found:
    """One file that the arguments mean, or one directory that is a picture (OME-Zarr).

    Attributes
    ----------
    relative : str
        Path below the argument it was found under, with slashes: its place below the output directory.
    failure : str
        Why it cannot be an input; empty for a file that can be opened.
    """

    path: Path
    relative: str
    size: int = 0
    mtime_ns: int = 0
    identity: Identity = (0, 0)
    failure: str = ""


@dataclass
class Discovery:
    """Every file that the arguments mean, sorted bytewise by place.

    Attributes
    ----------
    ignored : int
        Files that were passed over in directories: no image suffix, hidden, excluded.
    single : bool
        Whether there is one argument and it names one file, so that the output may be a file.
    roots : list of Path
        Directories among the arguments.
    made : list of Path
        Directories below these that earlier runs have written into.
    """

    files: list[Found] = field(default_factory=list)
    ignored: int = 0
    single: bool = False
    roots: list[Path] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """What a walk passes over.

    Attributes
    ----------
    skipped : frozenset of Identity
        Directories that are never entered: the output directory and those of what is written beside outputs.
    made : frozenset of Identity
        Files that this program made, which are no inputs.
    """

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    skipped: frozenset[Identity] = frozenset()
    made: frozenset[Identity] = frozenset()

    def admits(self, relative: str) -> bool:
        """Whether a file's place passes ``include`` and ``exclude``."""
        return not self.excludes(relative) and (not self.include or any(_fits(relative, p) for p in self.include))

    def excludes(self, relative: str) -> bool:
        """Whether a file or directory is excluded, by itself or by a directory above it."""
        path = PurePosixPath(relative)
        return any(_fits(str(each), p) for p in self.exclude for each in (path, *path.parents[:-1]))


def _fits(relative: str, pattern: str) -> bool:
    """Whether a place matches a glob: by its name, or by the whole of it where the glob has a slash.

    ``**/`` stands for no directory as well, a slash at the end for the directory and all below it. What is written as
    the place itself is meant, also where it holds brackets.
    """
    pattern = pattern.removeprefix("./")
    if "/" not in pattern:
        name = PurePosixPath(relative).name
        return name == pattern or fnmatch.fnmatch(name, pattern)
    path = pattern.strip("/")
    ways = _ways(path)
    if pattern.endswith("/"):
        ways = (*ways, *(f"{way}/*" for way in ways))
    return relative == path or any(fnmatch.fnmatch(relative, way) for way in ways)


@cache
def _ways(pattern: str) -> tuple[str, ...]:
    """A glob, with each part of it that is ``**`` and without; kept, since every file is compared with it."""
    parts = pattern.split("/")
    parts = [part for part, following in zip(parts, [*parts[1:], ""], strict=True) if (part, following) != ("**", "**")]
    choices = [(f"{part}/", "") if part == "**" else (f"{part}/",) for part in parts[:-1]]
    return tuple("".join(chosen) + parts[-1] for chosen in itertools.product(*choices))


def discover(inputs: Sequence[str | Path], rules: Rules) -> Discovery:
    """Find the files that the arguments mean.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files, directories, globs that the shell has not expanded, and ``@file`` for a list of these
        (one per line, or separated by NUL). An argument that exists is taken as it stands.
    rules : Rules

    Returns
    -------
    Discovery
        A file is found at most once per place. Broken links, loops of links, unreadable directories
        and special files are among ``files`` with their ``failure``.

    Raises
    ------
    UsageError
        If an argument is empty, or a list file cannot be read.
    """
    result = Discovery()
    seen: set[tuple[str, str]] = set()
    arguments = list(_arguments(inputs))
    for path, prefix in arguments:
        for found in _expand(path, prefix, rules, result):
            place = (os.path.abspath(found.path), found.relative)
            if place not in seen:
                seen.add(place)
                result.files.append(found)
    result.files.sort(key=lambda found: os.fsencode(found.relative))
    result.single = len(inputs) == 1 and len(arguments) == 1 and not result.roots
    return result


def _arguments(inputs: Sequence[str | Path]) -> Iterator[tuple[Path, str]]:
    """Arguments as (path, place below the output): a file's base name, nothing for a directory."""
    for argument in map(str, inputs):
        if not argument:  # as a path it would be the current directory
            raise UsageError("INPUT is empty (a variable that is not set?); the current directory is . (a dot)")
        if argument == "@":
            raise UsageError("--from-file (or @) names no file (a variable that is not set?)")
        if argument.startswith("@"):
            for entry in _read_list(Path(argument[1:])):
                yield from _globbed(entry, keep_folders=True)
        else:
            yield from _globbed(argument, keep_folders=False)


def _read_list(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"@{shown(path)}: the list of inputs cannot be read ({error.strerror})") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell 5 writes
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise UsageError(f"@{shown(path)}: begins as UTF-16 but is none; save the list as UTF-8") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    entries = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(entry) for entry in entries if entry.strip()]


def _globbed(argument: str, keep_folders: bool) -> Iterator[tuple[Path, str]]:
    """Expand a glob that the shell has left alone; its matches keep their place below its fixed part.

    Entries of a list that are relative keep their folders (as ``rsync --files-from`` does): names in
    a list are seldom unique.
    """
    on_disk("INPUT", argument)
    path = Path(argument)
    if os.path.lexists(argument) or not glob.has_magic(argument):
        place = PurePath(os.path.normpath(argument))
        keep = keep_folders and not place.is_absolute() and ".." not in place.parts
        yield path, place.as_posix() if keep else ""
        return
    fixed = Path(*_fixed_parts(path))
    matches = sorted(glob.glob(argument, recursive=True), key=os.fsencode)
    if not matches:
        yield path, ""
    for match in map(Path, matches):
        place = match.relative_to(fixed)
        if any(is_store(fixed / folder) for folder in place.parents[:-1]):
            continue
        if is_store(match) or not (match.is_dir() and "**" in path.parts):  # its files are matched as well
            yield match, place.as_posix()


def _fixed_parts(path: Path) -> list[str]:
    parts = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _expand(path: Path, place: str, rules: Rules, result: Discovery) -> Iterator[Found]:
    """One argument -> its files."""
    relative = place or path.name or "input"
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        yield Found(path, relative, failure=_why(path, error))
        return
    if stat.S_ISDIR(status.st_mode) and not is_store(path):
        result.roots.append(path)
        prefix = "" if place in ("", ".") else place + "/"
        yield from _walk(_Folder(path, prefix, ((status.st_dev, status.st_ino),)), rules, result)
    elif not rules.admits(relative):
        result.ignored += 1
    elif not (stat.S_ISREG(status.st_mode) or is_store(path)):
        yield Found(path, relative, failure=_special(status))
    elif path.suffix.lower() in SUFFIXES or _has_signature(path):
        yield _found(path, relative, status)
    else:
        yield Found(path, relative, status.st_size, failure="not an image, by its name and its first bytes")


class _Folder(NamedTuple):
    """A directory to be looked into."""

    path: Path
    prefix: str
    """What the names of its files begin with."""
    above: tuple[Identity, ...]
    """The directories on the way to it and itself, by which a loop is known."""


def _walk(top: _Folder, rules: Rules, result: Discovery) -> Iterator[Found]:
    """The images below a directory, however deep."""
    waiting = [top]
    while waiting:
        yield from _listed(waiting.pop(), rules, result, waiting)


def _listed(place: _Folder, rules: Rules, result: Discovery, waiting: list[_Folder]) -> Iterator[Found]:
    """The images in a directory; those in it that are to be looked into are added to what waits."""
    folder, prefix, above = place
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError as error:
        yield Found(folder, prefix.rstrip("/") or folder.name, failure=_why(folder, error))
        return
    for entry in listed:
        relative = prefix + entry.name
        if entry.name == STATE and len(above) > 1:
            result.made.append(folder)
        if is_hidden(entry.name) or _has_hidden_attribute(entry) or rules.excludes(relative):
            result.ignored += not _is_directory(entry)
            continue
        image = PurePath(entry.name).suffix.lower() in SUFFIXES
        if not (image or entry.is_symlink() or _is_directory(entry)):
            result.ignored += 1
            continue
        path = Path(entry.path)
        try:
            status = path.stat()  # not entry.stat(): on Windows it knows no identity
        except OSError as error:
            if image or not path.suffix:  # without a suffix it may have been a directory of images
                yield Found(path, relative, failure=_why(path, error))
            continue
        if stat.S_ISDIR(status.st_mode) and not is_store(path):
            identity = (status.st_dev, status.st_ino)
            if not rules.recursive or identity in rules.skipped:
                continue
            if identity in above:
                loop = "a loop of symbolic links: it leads back to a directory above it"
                yield Found(path, relative, failure=loop)
                continue
            waiting.append(_Folder(path, relative + "/", (*above, identity)))
        elif not image or not rules.admits(relative) or (status.st_dev, status.st_ino) in rules.made:
            result.ignored += 1
        elif stat.S_ISREG(status.st_mode) or is_store(path):
            yield _found(path, relative, status)
        else:
            yield Found(path, relative, failure=_special(status))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """False as well where the entry cannot be looked at, such as a loop of links."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _has_hidden_attribute(entry: os.DirEntry[str]) -> bool:
    """The hidden attribute of Windows files; elsewhere there is none."""
    if not hasattr(stat, "FILE_ATTRIBUTE_HIDDEN") or os.name != "nt":
        return False
    attributes: int = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def _has_signature(path: Path) -> bool:
    try:
        return signature(path) is not None
    except (OSError, InputError):
        return True  # it is the reader who says what is wrong with it


def _found(path: Path, relative: str, status: os.stat_result) -> Found:
    identity = status.st_dev, status.st_ino
    if stat.S_ISREG(status.st_mode):
        return Found(path, relative, status.st_size, status.st_mtime_ns, identity)
    try:
        size, mtime_ns = folders.measure(path)
    except OSError as error:
        return Found(path, relative, failure=_why(path, error))
    return Found(path, relative, size, mtime_ns, identity)


def _special(status: os.stat_result) -> str:
    kind = KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
    return f"{kind}, not a file of pixels; it was not opened"


def _why(path: Path, error: OSError | ValueError) -> str:
    """A sentence for a path that cannot be looked at."""
    if isinstance(error, ValueError):
        return "not a possible file name"
    if error.errno == errno.ELOOP:
        return "a loop of symbolic links"
    if error.errno == errno.ENOENT and path.is_symlink():
        try:
            return f"a broken symbolic link to {shown(os.readlink(path))}"
        except OSError:  # as some links in /proc
            return "a broken symbolic link"
    if error.errno == errno.ENOENT and glob.has_magic(str(path)):
        return "no file matches this pattern"
    return f"cannot be read: {error.strerror}"


def identities(paths: Iterable[Path]) -> frozenset[Identity]:
    """The identities of those of the paths that exist."""
    found = set()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)
