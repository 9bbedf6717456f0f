"""The optimiser against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from denoiser import models
from denoiser.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 90), (2, 90, 16), (1, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_directions_are_kept_and_singular_values_come_near_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonal(matrices.to(dtype)).float()
    for matrix, made in zip(matrices, result, strict=True):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        # In the basis of the given matrix the made one is diagonal, with values between 0.6 and 1.3.
        values = left.T @ made @ right.T
        assert values.diagonal().min() > 0.6 and values.diagonal().max() < 1.3
        assert (values - torch.diag(values.diagonal())).abs().max() < (0.05 if dtype == torch.bfloat16 else 1e-3)


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not orthogonal(torch.zeros(1, 4, 8)).any()


def test_a_step_is_of_the_learning_rate_whatever_the_gradient() -> None:
    """Muon's steps have the root mean square of AdamW's, and know directions alone."""

    def changed(factor: float) -> torch.Tensor:
        torch.manual_seed(0)
        layers = nn.Sequential(*[nn.Conv2d(32, 32, 3, bias=False) for _ in range(3)])
        layers = layers.to(memory_format=torch.channels_last)
        before = layers[1].weight.detach().clone()
        optimizer = Muon(layers.parameters(), lr=1e-2, dtype=torch.float32)
        for parameter in layers.parameters():
            parameter.grad = torch.randn_like(parameter) * factor
        optimizer.step()
        return layers[1].weight.detach() - before

    small, large = changed(1e-3), changed(10.0)
    assert torch.allclose(small, large, atol=1e-5)
    assert 0.1 * 1e-2 < small.pow(2).mean().sqrt() < 0.3 * 1e-2


def test_ends_biases_and_norms_are_left_to_adamw() -> None:
    module = models.build("dcdae")
    optimizer = Muon(module.parameters(), lr=1e-3)
    hidden, others = (group["params"] for group in optimizer.param_groups)
    assert {parameter.ndim for parameter in hidden} == {4}
    assert sum(parameter.ndim == 4 for parameter in others) == 2
    assert len(hidden) + len(others) == len(list(module.parameters()))


def test_all_state_can_be_seen() -> None:
    """Who saves or slows the optimiser down must reach the AdamW inside."""
    module = models.build("dae")
    optimizer = Muon(module.parameters(), lr=1e-3)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.detach().clone() for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
    assert all(optimizer.state[parameter] for parameter in module.parameters())
