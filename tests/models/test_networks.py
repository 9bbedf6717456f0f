"""Every declaration of every architecture, measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import models
from denoiser.errors import UnavailableError, UsageError
from denoiser.models import Network

SMALL = {"channels": (8, 16), "blocks": (1, 1)}
SMALL_OF: dict[str, dict[str, Any]] = {"rednet": {"channels": 8}, "dcdae": {"width": 4}}
"""Widths do not enter the declarations: narrow networks show them as well, and quicker."""

ALL = sorted(models.ARCHITECTURES)
PICTURES = {"convdae", "convdae-long", "convdae-unet", "dae", "vdae"}
"""Architectures that make the picture; the others make the noise."""


def network_with_random_weights(name: str, config: dict[str, Any] | None = None) -> Network:
    """A network in which every path carries signal: freshly built ones start with one answer to everything."""
    torch.manual_seed(0)
    module = models.build(name, SMALL_OF.get(name) if config is None else config).double().eval()
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        else:
            torch.nn.init.uniform_(parameter, 0.1, 0.3)  # biases, and scales of batch normalisation
    return module


@pytest.mark.parametrize("name", ALL)
def test_receptive_field_is_as_declared(name: str) -> None:
    module = network_with_random_weights(name)
    radius, multiple = module.needs.receptive_field, module.needs.multiple_of
    side = -(-(2 * radius + 3 * multiple) // multiple) * multiple
    reach = 0
    # The reach depends on where an output pixel lies within the stride: both ends of one stride show the widest.
    for centre in (side // 2 // multiple * multiple, side // 2 // multiple * multiple + multiple - 1):
        x = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        module(x, torch.zeros(1, 1, 1, 1, dtype=torch.float64))[0, 0, centre, centre].backward()
        assert x.grad is not None
        rows = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 3))).flatten()
        reach = max(reach, centre - int(rows.min()), int(rows.max()) - centre)
    assert reach <= radius, "pixels beyond the declared radius have influence: tiling would leave seams"
    assert reach > radius - multiple, "the declared radius is wider than it need be: tiling would waste work"


@pytest.mark.parametrize("name", ALL)
def test_smallest_input_is_the_multiple(name: str) -> None:
    module = network_with_random_weights(name)
    side = module.needs.multiple_of
    x = torch.rand(1, 3, side, side, dtype=torch.float64)
    assert module(x, torch.ones(1, 1, 1, 1, dtype=torch.float64)).shape == x.shape


@pytest.mark.parametrize("name", ALL)
def test_fresh_network_does_no_harm(name: str) -> None:
    """Whoever estimates noise starts with none, whoever makes the picture with mid-gray."""
    module = models.build(name, SMALL_OF.get(name)).eval()
    x = torch.rand(1, 3, 2 * module.needs.multiple_of, 2 * module.needs.multiple_of)
    residual = module(x, torch.ones(1, 1, 1, 1))
    expected = x - 0.5 if name in PICTURES else torch.zeros_like(x)
    assert torch.equal(residual, expected)


@pytest.mark.parametrize("name", ALL)
def test_range_is_needed_as_declared(name: str) -> None:
    """A network that asks for no range is homogeneous; one that is not must ask."""
    module = network_with_random_weights(name)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    none = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    homogeneous = torch.allclose(module(4 * x, none), 4 * module(x, none), rtol=1e-9, atol=1e-9)
    assert homogeneous is not module.needs.needs_range


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(1e-3, 1e3), white=st.sampled_from([0.0, 1.0, 16.0]))
def test_unet_is_homogeneous(scale: float, white: float) -> None:
    module = network_with_random_weights("unet", SMALL)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    level = torch.full((1, 1, 1, 1), white, dtype=torch.float64)
    expected = scale * module(x, level)
    assert torch.allclose(module(scale * x, scale * level), expected, rtol=1e-9, atol=1e-9 * scale)


def test_unet_uses_the_white_level() -> None:
    module = network_with_random_weights("unet", SMALL)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    none, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    assert not torch.allclose(module(x, none), module(x, one))


def test_unet_keeps_to_its_budget() -> None:
    module = models.build("unet")
    assert models.macs_per_pixel(module) <= 80_000
    assert sum(parameter.numel() for parameter in module.parameters()) <= 4_000_000


def test_macs_are_counted_as_by_hand() -> None:
    module = models.build("unet", {"channels": [8, 16], "blocks": [1, 1]})
    half, quarter = 1 / 4, 1 / 16  # pixels of a scale per pixel of the picture
    by_hand = half * 9 * (16 * 8 + 4 * 8 * 8 + 8 * 12)  # head, two blocks, tail
    by_hand += quarter * (4 * 8 * 16 + 2 * 9 * 16 * 16 + 4 * 16 * 8)  # down, one block, up
    assert models.macs_per_pixel(module) == pytest.approx(by_hand)


def test_config_survives_a_round_trip() -> None:
    module = models.build("unet", {"channels": [8, 16], "blocks": [1, 2], "stem": 4})
    again = models.build(models.name_of(module), models.config_of(module))
    assert again.config == module.config


@pytest.mark.parametrize(("name", "config"), [("unnet", {}), ("unet", {"channel": [8]})])
def test_unknown_names_are_told(name: str, config: dict[str, object]) -> None:
    with pytest.raises(UnavailableError, match=r"unnet|channel"):
        models.build(name, config)


def test_settings_are_read_in_the_form_of_their_defaults() -> None:
    assert models.parse_config("unet", ["blocks=1,2,3", "stem=4"]) == {"blocks": (1, 2, 3), "stem": 4}
    assert models.parse_config("convdae", ["channels=8"]) == {"channels": (8,)}
    assert models.parse_config("rednet", ["skips=no"]) == {"skips": False}
    assert models.parse_config("dcdae", ["dropout=0.1"]) == {"dropout": 0.1}
    assert models.parse_config("vdae", []) == {}


@pytest.mark.parametrize(
    ("architecture", "setting", "told"),
    [
        ("unet", "depth=3", "blocks=1,1,4"),
        ("unet", "blocks=1,x", "blocks=1,1,4"),
        ("unet", "stem", "stem=2"),
        ("rednet", "skips=perhaps", "skips=yes"),
        ("unet", "channels=0,0,0", "channels=0,0,0: must be at least 1"),
        ("unet", "channels=-8,1,1", "must be at least 1"),
        ("unet", "blocks=-1,1,1", "must be at least 0"),
        ("convdae-long", "middle=0", "must be at least 1"),
        ("dae", "channels=8", "takes 2 numbers, not 1"),
        ("vdae", "channels=8,8,8", "takes 2 numbers, not 3"),
    ],
)
def test_wrong_settings_tell_the_right_ones(architecture: str, setting: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        models.parse_config(architecture, [setting])
