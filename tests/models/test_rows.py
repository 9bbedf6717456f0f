"""A picture that goes through a network row by row gets what it gets as a whole."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from denoiser.models import ARCHITECTURES, build, rows
from denoiser.models.rows import Flow
from denoiser.models.unet import UNet, UNetConfig

CONFIGS = [
    UNetConfig((8,), (2,)),
    UNetConfig((8, 12), (0, 1), 4),
    UNetConfig((8, 12), (2, 1), 1),
    UNetConfig((8, 12, 16), (1, 1, 4)),
    UNetConfig((4, 4, 6, 8), (1, 0, 1, 2)),
]


@cache
def network(config: UNetConfig) -> UNet:
    torch.manual_seed(0)
    made = UNet(config).eval()
    for weight in made.parameters():
        nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return made


def poured(flow: Flow, x: Tensor, white: Tensor, steps: list[int]) -> Tensor:
    """The residual of a picture that is pushed in steps of so many rows, repeated."""
    found, start = [], 0
    while start < x.shape[2]:
        stop = start + steps[len(found) % len(steps)]
        found.append(flow.push(x[:, :, start:stop], white, stop >= x.shape[2]))
        start = stop
    return torch.cat([rows for rows in found if rows is not None], dim=2)


@settings(max_examples=12)
@given(
    st.sampled_from(CONFIGS), st.integers(1, 30), st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=3)
)
def test_rows_give_what_the_whole_gives(config: UNetConfig, rows: int, columns: int, steps: list[int]) -> None:
    made = network(config)
    multiple = made.needs.multiple_of
    x = torch.randn(1, 3, rows * multiple, columns * multiple)
    white = torch.ones(1, 1, 1, 1)
    with torch.inference_mode():
        whole = made(x, white)
        found = poured(made.flow(), x, white, [step * multiple for step in steps])
    assert found.shape == whole.shape
    assert (found - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize("width", [200, 2392])
def test_rows_do_so_in_half_precision_bit_for_bit(width: int) -> None:
    made = copy.deepcopy(network(CONFIGS[3])).bfloat16().to(memory_format=torch.channels_last)
    x, white = torch.randn(1, 3, 320, width).bfloat16(), torch.ones(1, 1, 1, 1).bfloat16()
    with torch.inference_mode():
        assert torch.equal(poured(made.flow(), x, white, [64]), made(x, white))


@pytest.mark.parametrize("config", [config for config in CONFIGS if len(config.channels) > 1])
def test_rows_that_are_continued_for_speed_give_the_same(config: UNetConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SIMPLE_WIDTH", 2)
    made = network(config)
    multiple = made.needs.multiple_of
    white = torch.ones(1, 1, 1, 1)
    for columns in (3, 16, 17, 21):
        x = torch.randn(1, 3, 9 * multiple, columns * multiple)
        with torch.inference_mode():
            found, whole = poured(made.flow(), x, white, [2 * multiple]), made(x, white)
        assert found.shape == whole.shape
        assert (found - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_declaration_is_true(name: str) -> None:
    made = build(name)
    assert made.needs.flows == hasattr(made, "flow")
