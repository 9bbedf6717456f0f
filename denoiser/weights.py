"""Weights files: one ``.safetensors`` each, with its model card in the header.

A weights file says what it is: the card names the architecture and its configuration, so nothing is
guessed from names or shapes. Only ``.safetensors`` is ever read; a pickle could run code.
torch is imported by :func:`load` and :func:`save` alone: listing, resolving and hashing stay quick.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.errors import UnavailableError
from denoiser.estimate import MODELS

if TYPE_CHECKING:
    from denoiser.models import Network

CARD_KEY = "denoiser.card"
CHECKPOINT_KEY = "denoiser.training"
"""In the header of the checkpoints that training goes on from."""
CARD_SCHEMA = "denoiser.card/1"
CHECKSUMS = "SHA256SUMS"

AUTO = "auto"
"""Stands for the bundled networks between which :func:`denoiser.estimate.choose` chooses, picture by picture."""


@dataclass(frozen=True)
class Card:
    """Everything a user should know about a weights file, and everything needed to run it.

    Attributes
    ----------
    architecture : str
        Key of :data:`denoiser.models.ARCHITECTURES`.
    config : dict
        Fields of the architecture's config class.
    name, purpose, noise : str
        What it is called, what it is for, and the noise specification it was trained on.
    parameters : int
    macs_per_pixel : float
        Multiply-accumulate operations per pixel of the picture.
    receptive_field : int
        Radius in pixels.
    psnr : dict
        Protocol -> {noise level: mean PSNR in dB} on the validation pictures.
    """

    architecture: str
    config: dict[str, Any]
    name: str = ""
    purpose: str = ""
    noise: str = ""
    parameters: int = 0
    macs_per_pixel: float = 0.0
    receptive_field: int = 0
    licence: str = ""
    data: str = ""
    steps: int = 0
    seed: int = 0
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    psnr: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: str = ""

    def to_json(self) -> str:
        return json.dumps({"schema": CARD_SCHEMA, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card; fields that this version does not know are ignored."""
        data = json.loads(text)
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})


def _folders() -> tuple[Path, ...]:
    """Where bundled weights may be: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "_weights", package.parent / "weights"


def bundled() -> dict[str, Path]:
    """Bundled weights, name -> file, sorted by name."""
    for folder in _folders():
        if files := sorted(folder.glob("*.safetensors")):
            return {file.stem: file for file in files}
    return {}


def resolve(name_or_path: str | Path) -> Path:
    """The file of a bundled model's name, or of a path.

    Raises
    ------
    UnavailableError
        If there is no such model or file, or the file is not ``.safetensors``.
    """
    models = bundled()
    if str(name_or_path) == AUTO:
        raise UnavailableError(f"{AUTO} is no network but the choice between {' and '.join(MODELS)}: name one of these")
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix != ".safetensors" and path.is_file():
        raise UnavailableError(
            f"{path}: only .safetensors weights are loaded, because formats built on pickle can run any code "
            "that is hidden in them; convert the file, or train with `denoiser train`"
        )
    if path.is_dir():
        raise UnavailableError(f"{path}: is a folder; name the model.safetensors in it")
    if not path.is_file():
        known = ", ".join(models) or "none"
        raise UnavailableError(f"no model {str(name_or_path)!r}: not a bundled name ({known}) and no such file")
    return path


def names(model: str) -> tuple[str, ...]:
    """The networks that a model's name or path stands for: itself, or all between which ``auto`` chooses.

    Raises
    ------
    UnavailableError
        If ``auto`` is asked for and one of them is not bundled.
    """
    if model != AUTO:
        return (model,)
    models = bundled()
    missing = [name for name in MODELS if name not in models]
    if missing:
        raise UnavailableError(
            f"the model {AUTO} chooses between {' and '.join(MODELS)}, and {' and '.join(missing)} is not among the "
            f"bundled models ({', '.join(models) or 'none'}); name one of these"
        )
    return MODELS


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_hash(model: str) -> str:
    """Hash of the weights that a model's name or path stands for, one for each of its networks."""
    return "+".join(file_hash(resolve(name)) for name in names(model))


def read_card(path: Path) -> Card:
    """The card in a weights file's header; the tensors are not read.

    Raises
    ------
    UnavailableError
        If the file is damaged or carries no card.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UnavailableError(f"{path}: damaged or not a weights file ({error})") from error
    if CHECKPOINT_KEY in metadata:
        raise UnavailableError(f"{path}: is a checkpoint; `denoiser train --resume` makes a model of it")
    if CARD_KEY not in metadata:
        raise UnavailableError(f"{path}: has no model card; name the model.safetensors that `denoiser train` makes")
    try:
        return Card.from_json(metadata[CARD_KEY])
    except (ValueError, TypeError, AttributeError) as error:
        raise UnavailableError(f"{path}: its model card cannot be read ({error})") from error


def checksum_error(path: Path) -> str | None:
    """What is wrong with a bundled file, by the list of checksums beside it; None when all is well."""
    sums = path.parent / CHECKSUMS
    if not sums.is_file():
        return f"{path.name}: there is no {CHECKSUMS} beside it"
    listed = {name: digest for digest, name in (line.split() for line in sums.read_text().splitlines())}
    if path.name not in listed:
        return f"{path.name}: not listed in {CHECKSUMS}"
    if not path.is_file():
        return f"{path.name}: missing"
    if file_hash(path) != listed[path.name]:
        return f"{path.name}: damaged, its SHA-256 is not the listed one; install the package again"
    return None


def verify() -> list[str]:
    """Check every bundled file against its checksum. Returns the problems, none when all is well."""
    for folder in _folders():
        sums = folder / CHECKSUMS
        if sums.is_file():
            listed = {line.split()[1] for line in sums.read_text().splitlines()}
            names = sorted(listed | {file.name for file in folder.glob("*.safetensors")})
            return [problem for name in names if (problem := checksum_error(folder / name))]
    return ["no bundled weights were found; install the package again"]


def load(name_or_path: str | Path) -> tuple[Network, Card]:
    """Build the network that a weights file describes and give it its weights.

    Returns
    -------
    module : Network
        In fp32, on the CPU, in evaluation mode.
    card : Card

    Raises
    ------
    UnavailableError
        If the model is unknown or its file damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from denoiser import models

    path = resolve(name_or_path)
    if path in bundled().values() and (problem := checksum_error(path)):
        raise UnavailableError(f"{path}: {problem}")
    card = read_card(path)
    try:
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and replaced; a user's seed stays
            module = models.build(card.architecture, card.config)
    except (ValueError, TypeError) as error:
        raise UnavailableError(f"{path}: its card is damaged ({error})") from error
    try:
        module.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    except (SafetensorError, RuntimeError) as error:
        raise UnavailableError(f"{path}: its tensors do not fit its card ({error})") from error
    return module.eval(), card


def save(path: Path, module: Network, card: Card) -> None:
    """Write a weights file in one step: a reader never sees half of it."""
    import torch
    from safetensors.torch import save_file

    tensors = {key: value.detach().to("cpu", torch.float32).contiguous() for key, value in module.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata={CARD_KEY: card.to_json()})
    give_usual_mode(temporary)
    os.replace(temporary, path)


def give_usual_mode(path: Path) -> None:
    """The permissions of new files: safetensors makes its own readable by their owner alone."""
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    # There is no way to ask for the mask but to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
