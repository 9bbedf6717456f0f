"""From options to pictures: what is taught, and what is held out to judge by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from denoiser import models
from denoiser.errors import UsageError
from denoiser.models import Network
from denoiser.noise import parse, parse_mixture, parts, sidecar
from denoiser.progress import Progress
from denoiser.training import validate
from denoiser.training.folder import Picture, Reading, load_pairs, load_pictures, reduced
from denoiser.training.objectives import SELF_SUPERVISED, Mask, Objective, Pairs, Synthetic
from denoiser.training.options import TrainOptions
from denoiser.training.store import PictureStore

BOTTLENECKS = ("convdae", "convdae-long", "dae")
"""Architectures without a way around their bottleneck, which is what ``mask`` relies on."""

DIM = 0.3
"""Share of the range of files of more than 8 bits below which all values are a sign of another range."""

INDEPENDENT = ("blind-spot", "neighbours")
"""Ways to learn from noisy pictures alone that need noise which is independent from pixel to pixel."""

SPREADING = frozenset({"stripes", "blocks", "correlated", "banding", "jpeg", "camera"})
"""Kinds of noise that are not."""

Pictures = tuple[Sequence[Picture], Sequence[Picture]]
"""Those to learn from or clean ones, and their noisy partners where there are some."""


def prepare(
    options: TrainOptions, module: Network, device: torch.device, progress: Progress, leads: bool
) -> tuple[Objective, validate.Validation | None]:
    """Read the pictures; the objective over them, and the validation that the leading process needs.

    Raises
    ------
    DenoiserError
        If the pictures are unusable, or do not suit the network.
    """
    _check_network(options, module, progress)
    mixture = parse_mixture(options.mixture)
    reading = Reading(options.black, options.white, bounded=module.needs.needs_range)
    learned = replace(reading, held=options.held_out)
    data, partners = _read(options.data, options.noisy, max(options.crops), learned, progress)
    held: Pictures = ([], [])
    if options.val_split:
        (data, held_data), (partners, held_partners) = (_split(part, options) for part in (data, partners))
        held = held_data, held_partners
    elif options.val and leads:
        held = _read(options.val, options.val_noisy, 1, reading, progress)
    _warn_of_dim(options, data, progress)
    smaller = [copy for factor in options.reduced for copy in reduced(data, factor, max(options.crops))]
    store = PictureStore([*data, *smaller], device)
    objective: Objective
    if options.self_supervised:
        objective = SELF_SUPERVISED[options.self_supervised](store)
    elif options.noisy:
        objective = Pairs(PictureStore(partners, device), store)
    else:
        objective = Synthetic(store, mixture, options.gray_share, options.clip_share, options.patterns or 0.0)
    return objective, _validation(options, held, device) if leads and held[0] else None


def as_told(options: TrainOptions, progress: Progress) -> TrainOptions:
    """The options with what ``corruption.json`` says of the noisy pictures, where the user does not say it.

    Parameters
    ----------
    options : TrainOptions
    progress : Progress
        Warned where the noise does not suit the way to learn from it.
    """
    folder = options.data if options.self_supervised else options.noisy
    told = sidecar.read(folder) if folder else sidecar.Told()
    noises = [noise for noise in told.noises if noise]
    name = options.self_supervised
    if name in INDEPENDENT and (wrong := [noise for noise in noises if not _is_independent(noise)]):
        progress.note(
            f"{folder}: {sidecar.NAME} tells of {wrong[0]}; {name} takes noise that is not independent from pixel to "
            "pixel for picture",
            "warning",
        )
    options = replace(options, noise_note=options.noise_note or " | ".join(noises))
    if options.white is not None or options.black is not None or told.range is None:
        return options
    black, white = told.range
    progress.note(f"{folder}: black is {black:g} and white {white:g}, says {sidecar.NAME}")
    return replace(options, black=black, white=white)


def _is_independent(spec: str) -> bool:
    """Whether noise is independent from pixel to pixel; what nobody can read is given the benefit of the doubt."""
    try:
        noise = parse(spec)
    except UsageError:
        return True
    return not any(kind.name in SPREADING for kind in parts(noise))


def _validation(options: TrainOptions, held: Pictures, device: torch.device) -> validate.Validation:
    pictures, partners = held
    if partners:
        return validate.Pairs(partners, pictures)
    if not options.self_supervised:
        return validate.Synthetic(pictures, options.mixture)
    size = options.crops[0]
    large = [picture for picture in pictures if min(picture.pixels.shape[:2]) >= size]
    if not large:
        raise UsageError(f"{options.val}: every picture is smaller than a crop, {size} px; choose a smaller --crop")
    name = options.self_supervised
    objective = SELF_SUPERVISED[name](PictureStore(large, device))
    return validate.Unseen(objective, large, name, options.batch, size)


def _read(folder: Path, noisy: Path | None, minimum: int, reading: Reading, progress: Progress) -> Pictures:
    if noisy:
        return load_pairs(folder, noisy, minimum, reading, progress)
    return load_pictures(folder, minimum, reading, progress), []


def _split(pictures: Sequence[Picture], options: TrainOptions) -> tuple[Sequence[Picture], Sequence[Picture]]:
    """All but every N-th, and every N-th."""
    every = options.val_split or 1
    held = pictures[every - 1 :: every]
    if pictures and not held:
        raise UsageError(f"--val-split {every} holds out one picture of {every}, but there are {len(pictures)}")
    return [picture for index, picture in enumerate(pictures) if index % every != every - 1], held


def _warn_of_dim(options: TrainOptions, pictures: Sequence[Picture], progress: Progress) -> None:
    """12-bit numbers in files of 16 bit: noise and scores are in parts of a range of which they fill a sixteenth."""
    deep = [picture for picture in pictures if 0 < picture.step < 1 / 255]
    if options.white is not None or not deep or len(deep) < len(pictures):
        return
    share = max(float(picture.pixels.max()) * picture.scale for picture in deep)
    if share < DIM:
        largest = math.ceil(share / max(picture.step for picture in deep))
        bits = max(1, largest.bit_length())
        what = "noise is made" if options.is_synthetic else "losses, scores and samples are"
        progress.note(
            f"{options.data}: the values fill {share:.1%} of the range of their files, and {what} in parts of that "
            f"range; give the value of white, such as --white {2**bits - 1}",
            "warning",
        )


def _check_network(options: TrainOptions, module: Network, progress: Progress) -> None:
    name = options.self_supervised
    multiple = module.needs.multiple_of * (2 if name == "neighbours" else 1)
    if wrong := [size for size in options.crops if size % multiple]:
        raise UsageError(f"--crop {wrong[0]} must be a multiple of {multiple} for this network")
    if name and not issubclass(SELF_SUPERVISED[name], Mask) and type(module).objective is not Network.objective:
        raise UsageError(
            f"--self-supervised {name} has its own loss, and so has this architecture; use mask, or --arch"
        )
    if name == "mask" and models.name_of(module) not in BOTTLENECKS:
        progress.note(
            f"mask needs a network that squeezes pictures through a bottleneck ({', '.join(BOTTLENECKS)}); this has "
            "a way around its own and may hand noise through: blind-spot or neighbours suit it better",
            "warning",
        )
