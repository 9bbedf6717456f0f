"""The layout of OME-Zarr stores: which arrays hold which planes of which pictures.

A store is a directory that holds a group of arrays, one for each level of a pyramid, and documents that describe them
(OME-NGFF, https://ngff.openmicroscopy.org): 0.1 to 0.4 on version 2 of Zarr, 0.5 on version 3, where they stand below
``ome``. What bioformats2raw writes is a group of such groups, one for each picture of the file that was converted.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiser.errors import InputError
from denoiser.images.formats import NUMBERS, type_code
from denoiser.images.image import Page
from denoiser.images.raster import reading

if TYPE_CHECKING:
    from zarr import Array, Group

DOCUMENTS = frozenset({".zarray", ".zattrs", "zarr.json"})
"""Files in an array's directory that are no chunks."""

Index = tuple[int, ...]
Region = tuple[slice, ...]
"""A range along each axis of an array."""

_OLD_AXES = ("t", "c", "z", "y", "x")
"""Before OME-NGFF 0.3 axes had no names."""
_LEADING = frozenset({"t", "c", "z"})


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of a store, whose planes along its last two axes are pages.

    Attributes
    ----------
    levels : tuple of zarr.Array
        The picture at its full size, then reduced versions of it, each made of the one before.
    """

    levels: tuple[Array[Any], ...]

    @property
    def full(self) -> Array[Any]:
        return self.levels[0]

    @property
    def leading(self) -> Index:
        """Sizes of the axes before y and x: time, channel, depth, as far as there are such axes."""
        return tuple(self.full.shape[:-2])

    @property
    def planes(self) -> int:
        return math.prod(self.leading)

    @property
    def page(self) -> Page:
        """What each of its planes is."""
        height, width = self.full.shape[-2:]
        return Page(height, width, 1, stored_type(self.full))


@dataclass(frozen=True)
class ZarrRecord:
    """What is needed to write the same store again, besides what is copied from it.

    Attributes
    ----------
    places : tuple of tuple of str
        For each picture the directories of its levels below that of the store.
    sparse : frozenset of str
        Those of them that lack chunks, which stand for the fill value.
    """

    places: tuple[tuple[str, ...], ...]
    sparse: frozenset[str]


def open_store(path: Path, mode: str = "r") -> Group:
    """The group at the root of a store.

    Raises
    ------
    InputError
        If the package for it is not installed, or there is no group.
    """
    try:
        import zarr
        from zarr.errors import ContainsArrayError, GroupNotFoundError
    except ImportError as error:
        raise InputError(
            f"{path}: OME-Zarr needs a package that is not installed: pip install 'image-denoiser[zarr]'"
        ) from error
    # What zarr has to say about odd stores would reach the user's stderr as lines that name no file.
    warnings.filterwarnings("ignore", module=r"(zarr|numcodecs)\.")
    with reading(path):
        try:
            return zarr.open_group(path, mode="r+" if mode == "r+" else "r", use_consolidated=False)
        except ContainsArrayError as error:
            raise InputError(
                f"{path}: is one Zarr array and not OME-Zarr; write it anew as OME-Zarr 0.4 or 0.5, or as .npy"
            ) from error
        except GroupNotFoundError as error:
            raise InputError(
                f"{path}: holds no group of Zarr arrays; copy it again from its source, or rename it if it is an "
                "ordinary folder"
            ) from error


def pictures_of(path: Path, root: Group) -> tuple[Picture, ...]:
    """The pictures of a store, in the order of their names.

    Raises
    ------
    InputError
        If it is of another kind than OME-Zarr pictures, or one that is not supported.
    """
    described = _description(root)
    if "plate" in described or "well" in described:
        raise InputError(
            f"{path}: is a plate of many wells (HCS), which is not supported; copy the directories of its fields out "
            "of it, under names that end in .zarr"
        )
    if "bioformats2raw.layout" not in described:
        return (_picture(path, root),)
    names = sorted((name for name in root.group_keys() if name.isdecimal()), key=int)
    if not names:
        raise InputError(f"{path}: holds no picture; copy it again from its source")
    groups = [root[name] for name in names]
    return tuple(_picture(path, group) for group in groups)


def _description(group: Any) -> Mapping[str, Any]:
    """What OME-NGFF says of a group: its attributes, or since 0.5 those below ``ome``."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    below = attributes.get("ome")
    return below if isinstance(below, Mapping) else attributes


def _picture(path: Path, group: Any) -> Picture:
    where = f"{path}: its group {group.path}" if group.path else f"{path}: the store"
    multiscales = _description(group).get("multiscales")
    if not multiscales:
        raise InputError(f"{where} has no multiscales, so it is not OME-Zarr; write it anew as OME-Zarr 0.4 or 0.5")
    if len(multiscales) > 1:
        raise InputError(f"{where} has {len(multiscales)} multiscales; write each to a store of its own")
    try:
        axes = [each if isinstance(each, str) else each["name"] for each in multiscales[0].get("axes", _OLD_AXES)]
        places = [each["path"] for each in multiscales[0]["datasets"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{where} has multiscales that are not as OME-NGFF has them ({error!r})") from error
    if axes[-2:] != ["y", "x"] or len(set(axes)) < len(axes) or not set(axes[:-2]) <= _LEADING:
        raise InputError(f"{where} has the axes {', '.join(map(str, axes))}; those of t, c and z, then y, x, are known")
    levels = tuple(_array(path, group, place, len(axes)) for place in places)
    if not levels:
        raise InputError(f"{where} has multiscales without an array; copy it again from its source")
    for larger, smaller in pairwise(levels):
        _check_level(path, larger, smaller, axes)
    return Picture(levels)


def _array(path: Path, group: Group, place: str, axes: int) -> Array[Any]:
    from zarr import Array

    with reading(path / group.path / place):
        array: Any = group.get(place)
    if not isinstance(array, Array):
        raise InputError(f"{path}: its array {place} is missing; copy it again from its source")
    if array.ndim != axes or 0 in array.shape:
        raise InputError(f"{path}: its array {place} has the shape {array.shape}, which its {axes} axes do not fit")
    if type_code(array.dtype) not in NUMBERS:
        raise InputError(f"{path}: pixels of type {array.dtype} are not supported; convert them to uint16 or float32")
    return array


def _check_level(path: Path, larger: Array[Any], smaller: Array[Any], axes: list[str]) -> None:
    """A level is made of the one before it, which must have all that it shows."""
    fits = all(
        small == large or (small < large and axis not in ("t", "c"))
        for small, large, axis in zip(smaller.shape, larger.shape, axes, strict=True)
    )
    if not fits or smaller.dtype != larger.dtype:
        raise InputError(
            f"{path}: its level {smaller.path} ({smaller.dtype}, {smaller.shape}) is no smaller version of "
            f"{larger.path} ({larger.dtype}, {larger.shape}); write the pyramid anew"
        )


def stored_type(array: Array[Any]) -> np.dtype[Any]:
    """Type of an array's values in the byte order of this machine."""
    return np.dtype(array.dtype).newbyteorder("=")


def unit_of(array: Array[Any]) -> Index:
    """Shape of what is one file: a chunk, or a shard of many."""
    return tuple(array.shards or array.chunks)


def whole(array: Array[Any]) -> Region:
    """The region of all values."""
    return tuple(slice(0, size) for size in array.shape)


def parts(region: Region, shape: Index) -> Iterator[tuple[Index, Region]]:
    """What cells of a shape cut a region into: the number of each cell, and its part of the region."""
    ranges = [range(each.start // size, -(-each.stop // size)) for each, size in zip(region, shape, strict=True)]
    for cell in product(*ranges):
        yield (
            cell,
            tuple(
                slice(max(each.start, number * size), min(each.stop, (number + 1) * size))
                for number, each, size in zip(cell, region, shape, strict=True)
            ),
        )


def unit_file(path: Path, array: Array[Any], cell: Index) -> Path:
    """The file of a chunk or shard, by its place in the grid."""
    return path / array.path / array.metadata.encode_chunk_key(cell)


def count_units(path: Path, array: Array[Any]) -> tuple[int, int]:
    """How many chunks or shards an array has, and how many there would be without gaps."""
    there = sum(
        sum(name not in DOCUMENTS and not name.startswith(".z") for name in names)
        for _, _, names in os.walk(path / array.path)
    )
    grid = (-(-size // unit) for size, unit in zip(array.shape, unit_of(array), strict=True))
    return there, math.prod(grid)
