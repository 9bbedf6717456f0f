"""Regular patterns over crops: of the drawn periods, within what a file can hold, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from denoiser.training import patterns
from denoiser.training.patterns import lay_patterns
from denoiser.training.store import Crops


def crops(count: int, size: int = 64, step: float = 1 / 255, white: float = 1.0) -> Crops:
    """Flat ones of middle gray."""
    one = torch.ones(count, 1, 1, 1)
    values = torch.full((count, size, size, 3), 128 / 255)
    return Crops(values, step * one, white * one, np.zeros(count, bool))


def test_a_share_of_the_crops_gets_patterns_that_differ() -> None:
    some = crops(400, 16)
    lay_patterns(some, 0.25, np.random.default_rng(0))
    changed = [float(each.std()) > 0 for each in some.values]
    assert 70 < sum(changed) < 130
    assert len({round(float(each.std()), 6) for each in some.values}) > sum(changed) - 5
    again = crops(400, 16)
    lay_patterns(again, 0.25, np.random.default_rng(0))
    assert torch.equal(some.values, again.values)


def test_values_stay_those_that_the_file_can_hold() -> None:
    some = crops(200, 32)
    lay_patterns(some, 1.0, np.random.default_rng(1))
    levels = some.values * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert float(some.values.min()) >= 0 and float(some.values.max()) <= 1
    floats = crops(200, 32, step=0.0, white=0.0)
    floats.values[:] = 0.9
    lay_patterns(floats, 1.0, np.random.default_rng(1))
    assert float(floats.values.max()) > 1, "floats are not clipped"


@pytest.mark.parametrize("kind", patterns.KINDS)
def test_patterns_repeat_with_the_period_that_was_drawn(kind: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KINDS", (kind,)), ("PERIODS", (8.0, 8.0)), ("UPRIGHT", 1.0), ("AMPLITUDES", (0.1, 0.1))):
        monkeypatch.setattr(patterns, name, value)
    monkeypatch.setattr(patterns, "_where", lambda values, generator: torch.ones_like(values[..., :1]))
    some = crops(40)
    lay_patterns(some, 1.0, np.random.default_rng(2))
    varied = [each for each in some.values[..., 0] if float(each.std()) > 0.01]
    assert len(varied) > 20
    for plane in varied:
        power = torch.fft.fft2(plane - plane.mean()).abs() ** 2
        multiples = power[::8, ::8].sum()  # of the pattern's own frequency, 8 of 64
        assert float(multiples / power.sum()) > 0.95, "all but what rounding makes"
