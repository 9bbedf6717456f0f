"""Folders of pictures to learn from or to measure. What a run does to a tree is decided in :mod:`denoiser.batch`."""

from __future__ import annotations

import os
from pathlib import Path

from denoiser.images.formats import is_picture, is_store


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and those below it, sorted.

    Links to folders are followed, but not into one that lies above them; what is hidden is passed over.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path
        Each begins with ``folder``. A store (OME-Zarr) is one picture.
    """
    found = []
    above = {str(folder): frozenset([os.path.realpath(folder)])}
    for place, folders, files in os.walk(folder, followlinks=True):
        on_the_way = above.pop(place)
        shown = [name for name in folders if not name.startswith(".")]
        stores = [name for name in shown if is_store(Path(place, name))]
        folders[:] = []
        for name in set(shown) - set(stores):
            path = str(Path(place, name))
            real = os.path.realpath(path)
            if real not in on_the_way:
                folders.append(name)
                above[path] = on_the_way | {real}
        found += [Path(place, name) for name in (*files, *stores) if not name.startswith(".")]
    return sorted(path for path in found if is_picture(path))
