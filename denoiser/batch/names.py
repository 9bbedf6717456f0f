"""File names: how they are shown, split, compared, and what is never read."""

from __future__ import annotations

import os
import secrets
import unicodedata
from pathlib import Path, PurePosixPath

from denoiser import lock
from denoiser.errors import shown as shown

EXTENSIONS = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg", "webp": ".webp", "npy": ".npy"}
"""The suffix that an output gets when its format is not its input's."""

STATE = lock.STATE
"""Directory in every output directory for manifests and locks."""

TEMPORARY = ".denoiser-tmp"

SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information", "__macosx"}
)
"""Files and directories that file managers and NAS boxes strew among pictures, in lower case. Names that
begin with a dot (``.DS_Store``, ``._a.jpg``) are hidden anyway."""


def reason(error: Exception, path: Path) -> str:
    """What an error says about a file, without the file's name that every message begins with."""
    return shown(str(error)).removeprefix(f"{shown(path)}: ")


def is_hidden(name: str) -> bool:
    """True for names that a walk through a directory passes over."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def split_name(name: str) -> tuple[str, str]:
    """Stem and suffix; ``.ome.tif`` and ``.ome.zarr`` count as one suffix, because readers know OME files by it."""
    path = PurePosixPath(name)
    suffix = path.suffix
    if suffix.lower() in (".tif", ".tiff", ".zarr") and path.stem.lower().endswith(".ome"):
        suffix = path.stem[-4:] + suffix
    return name.removesuffix(suffix), suffix


def collision_key(relative: str, folds_case: bool) -> str:
    """Names with equal keys are one file on some file system: composed or not, and in any case if it folds case."""
    key = unicodedata.normalize("NFC", relative)
    return key.casefold() if folds_case else key


def temporary(target: Path, share: str) -> Path:
    """A fresh temporary name beside ``target``; ``share`` tells whose it is when a dead run left it.

    The name is cut where it would pass the 255 bytes that file systems allow.
    """
    token = f"{share or 'all'}-{secrets.token_hex(4)}"
    room = 255 - len(token) - len(TEMPORARY) - 2
    # Cut between characters, and spelt as the system's names are: its encoding may know ASCII alone.
    name = os.fsencode(target.name)[:room].decode("utf-8", "ignore").encode()
    return target.with_name(f".{os.fsdecode(name)}.{token}{TEMPORARY}")


def temporary_share(name: str) -> str | None:
    """Whose temporary file a name is: the share as given to :func:`temporary`; None for any other name."""
    parts = name.removesuffix(TEMPORARY).rsplit(".", 1)
    if not (name.startswith(".") and name.endswith(TEMPORARY)) or len(parts) != 2:
        return None
    share, dash, token = parts[1].partition("-")
    if not dash or len(token) != 8 or not set(token) <= set("0123456789abcdef"):
        return None
    return "" if share == "all" else share
