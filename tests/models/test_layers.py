"""Layers that are computed in one pass: the same numbers as one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from denoiser.models import ARCHITECTURES, build, fold_batchnorm
from denoiser.models.layers import ConvReLU, has_fused_bf16, relu_of, sum_of


@pytest.fixture
def conv() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(8, 8, 3, padding=1)


@pytest.fixture(params=["channels first", "channels last"])
def x(request: pytest.FixtureRequest) -> Tensor:
    values = torch.randn(2, 8, 9, 13)
    return values.contiguous(memory_format=torch.channels_last) if request.param == "channels last" else values


def test_relu_of(conv: nn.Conv2d, x: Tensor) -> None:
    with torch.inference_mode():
        assert torch.allclose(relu_of(conv, x), conv(x).relu(), atol=1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_sum_of_leaves_its_terms_as_they_were(conv: nn.Conv2d, x: Tensor, relu: bool) -> None:
    other = x + 1
    before = x.clone(), other.clone()
    with torch.inference_mode():
        plain = other + conv(x)
        assert torch.allclose(sum_of(other, conv, x, relu), plain.relu() if relu else plain, atol=1e-6)
    assert torch.equal(x, before[0])
    assert torch.equal(other, before[1])


def test_gradients_pass(x: Tensor) -> None:
    layer = ConvReLU(8, 8)
    sum_of(x, layer[0], layer(x)).sum().backward()
    assert layer[0].weight.grad is not None


def test_bf16_loses_no_more_than_one_after_the_other(conv: nn.Conv2d, x: Tensor) -> None:
    exact = x + conv(x)
    half, values = conv.bfloat16(), x.bfloat16()
    with torch.inference_mode():
        fused, plain = sum_of(values, half, values), values + half(values)
    assert (fused - exact).abs().mean() <= (plain - exact).abs().mean() * 1.05


def test_a_processor_for_which_onednn_refuses_bf16(
    conv: nn.Conv2d, x: Tensor, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def refuse(*_: object) -> Tensor:
        raise RuntimeError("mkldnn_convolution: bf16 path needs the cpu support avx512bw")

    half, values = conv.bfloat16(), x.bfloat16()
    request.addfinalizer(has_fused_bf16.cache_clear)  # what it remembers is not so for the other tests
    has_fused_bf16.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", refuse)
    with torch.inference_mode():
        assert torch.equal(relu_of(half, values), half(values).relu())
        assert torch.equal(sum_of(values, half, values), values + half(values))


def test_autocast_is_heeded(x: Tensor) -> None:
    layer = ConvReLU(8, 8).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert sum_of(x.bfloat16(), layer[0], layer(x)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_computes_the_same_in_one_pass(name: str) -> None:
    torch.manual_seed(0)
    module = fold_batchnorm(build(name, {}).eval())
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * 0.02)  # no network begins at zero then
    side = 4 * module.needs.multiple_of
    x, white = torch.rand(1, 3, side, side), torch.ones(1, 1, 1, 1)
    with torch.no_grad():
        plain = module(x, white)
    with torch.inference_mode():
        fused = module(x, white)
    assert plain.abs().max() > 0
    assert torch.allclose(fused, plain, rtol=1e-4, atol=1e-5)
