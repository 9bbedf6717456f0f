"""Network architectures: one file each, listed by name in a literal dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from denoiser.errors import UnavailableError, UsageError
from denoiser.models.convdae import ConvDAE, ConvDAEConfig
from denoiser.models.convdae_long import ConvDAELong, ConvDAELongConfig
from denoiser.models.convdae_unet import ConvDAEUNet, ConvDAEUNetConfig
from denoiser.models.dae import DAE, DAEConfig
from denoiser.models.dcdae import DCDAE, DCDAEConfig
from denoiser.models.folding import fold_batchnorm
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.rednet import REDNet, REDNetConfig
from denoiser.models.unet import UNet, UNetConfig
from denoiser.models.vdae import VDAE, VDAEConfig

ARCHITECTURES: dict[str, tuple[type[Network], type[Any]]] = {
    "unet": (UNet, UNetConfig),
    "rednet": (REDNet, REDNetConfig),
    "convdae": (ConvDAE, ConvDAEConfig),
    "convdae-long": (ConvDAELong, ConvDAELongConfig),
    "convdae-unet": (ConvDAEUNet, ConvDAEUNetConfig),
    "dcdae": (DCDAE, DCDAEConfig),
    "vdae": (VDAE, VDAEConfig),
    "dae": (DAE, DAEConfig),
}
"""Architecture name -> (module class, its frozen config class)."""


def _classes(architecture: str) -> tuple[type[Network], type[Any]]:
    if architecture not in ARCHITECTURES:
        raise UnavailableError(f"unknown architecture {architecture!r}; there are: {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[architecture]


def build(architecture: str, config: dict[str, Any] | None = None) -> Network:
    """Make a network with fresh weights.

    Parameters
    ----------
    architecture : str
        A key of :data:`ARCHITECTURES`.
    config : dict, optional
        Fields of the architecture's config class; those left out take their defaults.

    Raises
    ------
    UnavailableError
        If the architecture or one of the fields is unknown.
    """
    module_class, config_class = _classes(architecture)
    known = {field.name for field in fields(config_class)}
    if unknown := set(config or {}) - known:
        raise UnavailableError(
            f"architecture {architecture!r} has no setting {', '.join(sorted(unknown))}; "
            "the weights may come from a newer version of this program"
        )
    # JSON knows lists only; configs are hashable.
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in (config or {}).items()}
    return module_class(config_class(**values))


def parse_config(architecture: str, settings: Sequence[str]) -> dict[str, Any]:
    """Read settings of an architecture as a command line gives them.

    Parameters
    ----------
    architecture : str
        A key of :data:`ARCHITECTURES`.
    settings : sequence of str
        ``name=value``, several numbers with commas between them: ``blocks=1,1,4``, ``skips=no``.

    Returns
    -------
    dict
        What :func:`build` takes.

    Raises
    ------
    UnavailableError
        If there is no such architecture.
    UsageError
        If there is no such setting, or its value has another form.
    """
    config_class = _classes(architecture)[1]
    defaults, kinds = asdict(config_class()), get_type_hints(config_class)
    config = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in defaults:
            there = ", ".join(f"{key}={_as_text(value)}" for key, value in defaults.items())
            raise UsageError(f"{architecture} has no setting {name!r}; there are, with their defaults: {there}")
        try:
            config[name] = _parsed(text, defaults[name])
        except (KeyError, ValueError):
            example = _as_text(defaults[name])
            raise UsageError(f"{name}={text}: not of the form of its default, {name}={example}") from None
        _check(setting, config[name], kinds[name])
    return config


def _check(setting: str, value: Any, kind: Any) -> None:
    """Refuse what no network can be built of: a count below 1, and more or fewer counts than there are levels."""
    counts = value if isinstance(value, tuple) else (value,)
    least = 0 if setting.startswith("blocks=") else 1  # without blocks a scale hands its features on
    if any(type(count) is int and count < least for count in counts):
        raise UsageError(f"{setting}: must be at least {least}")
    if (parts := get_args(kind)) and ... not in parts and len(parts) != len(counts):
        raise UsageError(f"{setting}: takes {len(parts)} numbers, not {len(counts)}")


def _parsed(text: str, like: Any) -> Any:
    if isinstance(like, tuple):
        return tuple(_parsed(part, like[0]) for part in text.split(","))
    if isinstance(like, bool):
        return {"yes": True, "no": False}[text]
    return type(like)(text)


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_as_text, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def config_of(module: Network) -> dict[str, Any]:
    """The configuration of a network as plain data: what :func:`build` takes."""
    config: Any = module.config
    return asdict(config)


def settings_of(module: Network) -> list[str]:
    """The configuration of a network as a command line gives it: what :func:`parse_config` reads."""
    return [f"{name}={_as_text(value)}" for name, value in config_of(module).items()]


def name_of(module: Network) -> str:
    """The key in :data:`ARCHITECTURES` of a network's class."""
    return next(name for name, (module_class, _) in ARCHITECTURES.items() if type(module) is module_class)


def build_like(module: Network) -> Network:
    """A network of the same architecture and configuration, with fresh weights."""
    return type(module)(module.config)


def macs_per_pixel(module: Network) -> float:
    """Multiply-accumulate operations of all convolutions per pixel of the picture, measured by a forward pass."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # A transposed convolution spends its weights once per input pixel, an ordinary one once per output pixel.
        pixels: Tensor = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        total += (
            sum(weight.numel() for weight in layer.parameters() if weight.dim() == 4)
            * pixels.shape[2]
            * pixels.shape[3]
        )

    side = 8 * module.needs.multiple_of
    copy = build_like(module).eval()
    for layer in copy.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        copy(torch.zeros(1, module.needs.channels, side, side), torch.zeros(1, 1, 1, 1))
    return total / side**2


__all__ = [
    "ARCHITECTURES",
    "Needs",
    "Network",
    "build",
    "build_like",
    "config_of",
    "fold_batchnorm",
    "macs_per_pixel",
    "name_of",
    "parse_config",
]
