"""Every architecture learns, runs on pictures of any size, and is tiled without seams."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from denoiser import models
from denoiser.errors import UsageError
from denoiser.inference import Denoiser, InferenceOptions
from denoiser.models import Network, fold_batchnorm
from denoiser.models.reach import Span, radius
from denoiser.models.vdae import VDAE
from denoiser.tiling import round_up, smallest_tile
from tests.models.test_networks import ALL, SMALL, SMALL_OF, network_with_random_weights

NARROW: dict[str, dict[str, Any]] = {
    **SMALL_OF,
    "unet": SMALL,
    "convdae": {"channels": (16, 16, 16)},
    "convdae-long": {"channels": (8, 16, 16), "middle": 16},
    "convdae-unet": {"channels": (8, 16, 16), "middle": 16},
    "dae": {"channels": (16, 16)},
    "vdae": {"channels": (8, 16), "code": 8},
}
"""Configurations that train and run in milliseconds."""

README = Path(__file__).parents[2] / "README.md"


def denoiser_of(module: Network, **options: Any) -> Denoiser:
    return Denoiser(module, None, InferenceOptions(device="cpu", precision="fp32", halo="exact", **options))


def trained_network(name: str) -> Network:
    """Random weights, and for batch normalisation statistics unlike those of a fresh one."""
    module = network_with_random_weights(name, NARROW.get(name)).float()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
    return module


def synthetic_batch(count: int = 4, size: int = 32) -> tuple[Tensor, Tensor]:
    """Smooth colour pictures (N, 3, S, S), clean and with Gaussian noise."""
    generator = torch.Generator().manual_seed(1)
    slope = torch.rand(count, 3, 2, generator=generator) - 0.5
    along = torch.linspace(-1, 1, size)
    clean = 0.5 + 0.6 * (slope[:, :, 0, None, None] * along[:, None] + slope[:, :, 1, None, None] * along)
    return clean, clean + 0.2 * torch.randn(clean.shape, generator=generator)


def loss_of(module: Network, noisy: Tensor, clean: Tensor) -> Tensor:
    white = torch.ones(len(noisy), 1, 1, 1)
    loss = module.objective(noisy, white, clean)
    return (noisy - module(noisy, white) - clean).square().mean().sqrt() if loss is None else loss


@pytest.mark.parametrize("name", ALL)
def test_thirty_steps_lower_the_loss(name: str) -> None:
    torch.manual_seed(0)
    module = models.build(name, NARROW.get(name)).train()
    clean, noisy = synthetic_batch()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = loss_of(module, noisy, clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
    assert all(p.grad is not None and p.grad.any() for p in module.parameters()), "a parameter takes no part"


@pytest.mark.parametrize("name", ALL)
def test_pictures_of_any_size_and_kind_run(name: str) -> None:
    denoiser = denoiser_of(trained_network(name))
    generator = np.random.default_rng(0)
    for shape, dtype in [((1, 1), np.uint8), ((1, 5, 3), np.uint16), ((2, 13, 7, 3), np.uint8), ((33, 18), np.uint8)]:
        array = generator.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
        result = denoiser.denoise(array)
        assert (result.shape, result.dtype) == (array.shape, array.dtype)
    floats = generator.random((9, 10, 3))
    assert np.isfinite(denoiser.denoise(floats, white=1.0)).all()


@pytest.mark.parametrize("name", ALL)
def test_tiles_leave_no_seams(name: str) -> None:
    module = trained_network(name)
    multiple = module.needs.multiple_of
    tile = smallest_tile(round_up(module.needs.receptive_field, multiple), multiple)
    array = np.random.default_rng(0).random((tile + 2 * multiple + 3, tile + 5, 3), np.float32)
    whole = denoiser_of(module, tile="none").denoise(array, white=1.0)
    tiled = denoiser_of(module, tile=tile).denoise(array, white=1.0)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("name", ALL)
def test_channels_and_multiple_are_as_declared(name: str) -> None:
    module = trained_network(name).double().eval()
    channels, multiple, radius = module.needs.channels, module.needs.multiple_of, module.needs.receptive_field
    white = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        module(torch.rand(1, channels + 1, multiple, multiple, dtype=torch.float64), white)
    side = round_up(2 * radius, multiple) + 4 * multiple
    first = round_up(radius, multiple) + multiple
    x = torch.rand(1, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def moves_along(step: int) -> bool:
        """Whether the result of a picture that is moved is the moved result, where the border has no influence."""
        with torch.inference_mode():
            here, there = module(x, white), module(x.roll(step, dims=2), white).roll(-step, dims=2)
        kept = slice(first, first + multiple)
        return torch.allclose(here[..., kept, kept], there[..., kept, kept], rtol=0, atol=1e-9)

    assert moves_along(multiple), "tiles that begin on the declared multiple would leave seams"
    assert multiple == 1 or not moves_along(multiple // 2), "tiles could begin in more places than declared"


@pytest.mark.parametrize("name", ALL)
def test_uncertainty_is_stated_as_declared(name: str) -> None:
    module: Any = trained_network(name).double().eval()
    assert hasattr(module, "uncertainty") is module.needs.states_uncertainty
    if not module.needs.states_uncertainty:
        return
    radius, multiple = module.needs.receptive_field, module.needs.multiple_of
    centre = round_up(radius, multiple) + multiple
    x = torch.rand(1, 3, 2 * centre, 2 * centre, dtype=torch.float64, requires_grad=True)
    deviation = module.uncertainty(x, torch.ones(1, 1, 1, 1, dtype=torch.float64))
    assert deviation.shape == x.shape
    assert (deviation > 0).all()
    deviation[0, 0, centre, centre].backward()
    assert x.grad is not None
    rows = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 3))).flatten()
    assert max(centre - int(rows.min()), int(rows.max()) - centre) <= radius, "it is tiled as the estimate is"


def test_uncertainty_of_arrays() -> None:
    """The second door beside ``denoise``: tiles, gray, alpha, depths and missing pixels."""
    module = trained_network("vdae")
    model, whole = denoiser_of(module, tile=64), denoiser_of(module, tile="none")
    generator = np.random.default_rng(0)
    array = generator.integers(0, 65536, (90, 70, 3)).astype(np.uint16)
    with torch.inference_mode():
        x = torch.from_numpy((array[:88, :68] / 65535).astype(np.float32)).permute(2, 0, 1)[None]
        expected: Any = module.uncertainty(x, torch.ones(1, 1, 1, 1))  # type: ignore[operator]
    found = model.uncertainty(array)
    assert (found.shape, found.dtype) == (array.shape, np.float32)
    np.testing.assert_allclose(found, whole.uncertainty(array), rtol=1e-4)
    inside = np.s_[:60, :40]  # away from where the picture was cut for the network alone
    np.testing.assert_allclose(found[inside], 65535 * expected[0].permute(1, 2, 0).numpy()[inside], rtol=1e-4)
    gray = model.uncertainty(array[..., 0])
    colour = model.uncertainty(np.repeat(array[..., :1], 3, axis=2))
    np.testing.assert_allclose(gray, colour.mean(axis=2), rtol=1e-4)
    with_alpha = np.dstack([array, array[..., 0]])
    np.testing.assert_array_equal(model.uncertainty(with_alpha, alpha=True), found)
    floats = array.astype(np.float64) / 65535
    floats[5, 5] = np.nan
    missing = np.isnan(model.uncertainty(np.stack([floats, floats]), white=1.0))
    assert missing[:, 5, 5].all() and missing.sum() == 6
    with pytest.raises(UsageError, match="white"):
        model.uncertainty(floats)
    with pytest.raises(UsageError, match="--arch vdae"):
        denoiser_of(trained_network("unet")).uncertainty(array)


def test_folding_keeps_results() -> None:
    module = trained_network("dcdae")
    before = copy.deepcopy(module.state_dict())
    folded = fold_batchnorm(module)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    x, white = torch.rand(2, 3, 32, 48), torch.ones(2, 1, 1, 1)
    with torch.inference_mode():
        expected = module.eval()(x, white)
        assert (folded(x, white) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    plain = models.build("unet", SMALL)
    assert fold_batchnorm(plain) is plain


def test_dropout_draws_while_training_alone() -> None:
    module = trained_network("dcdae")
    x, white = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 1, 1)
    with torch.no_grad():
        assert torch.equal(module.eval()(x, white), module(x, white))
        assert not torch.equal(module.train()(x, white), module(x, white))


def test_rednet_has_the_size_of_its_source_and_uses_its_skips() -> None:
    assert sum(parameter.numel() for parameter in models.build("rednet").parameters()) == 2_663_555
    with_skips, without = (
        models.build("rednet", {"channels": 8, "depth": 4, "skips": skips}) for skips in (True, False)
    )
    for module in (with_skips, without):
        nn.init.ones_(module.tail.weight)  # type: ignore[arg-type,union-attr]
    without.load_state_dict(with_skips.state_dict())
    x, white = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 1, 1)
    assert not torch.allclose(with_skips(x, white), without(x, white))


def test_vdae_is_less_certain_where_its_errors_are_larger() -> None:
    torch.manual_seed(0)
    module = models.build("vdae", NARROW["vdae"])
    assert isinstance(module, VDAE)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    white = torch.ones(2, 1, 1, 1)
    noisy = torch.full((2, 3, 16, 32), 0.8)
    noisy[..., 16:] = 0.2
    for _ in range(200):
        clean = noisy.clone()
        clean[..., 16:] += 0.2 * torch.randn(2, 3, 16, 16)  # nothing in the input tells of this
        optimizer.zero_grad()
        loss_of(module, noisy, clean).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    deviation = module.uncertainty(noisy, white).detach()
    assert deviation.shape == noisy.shape
    assert deviation[..., 20:].mean() == pytest.approx(0.2, rel=0.3)
    assert deviation[..., :12].mean() < 0.6 * deviation[..., 20:].mean()


def test_reach_of_single_layers() -> None:
    """Against what the layers of torch read, found by their gradients."""
    layers: list[tuple[Callable[[Span], Span], nn.Module]] = [
        (lambda span: span.conv(), nn.Conv1d(1, 1, 3, padding=1)),
        (lambda span: span.conv(5, stride=2), nn.Conv1d(1, 1, 5, stride=2, padding=2)),
        (lambda span: span.pooled(), nn.AvgPool1d(2)),
        (lambda span: span.enlarged(), nn.Upsample(scale_factor=2)),
        (lambda span: span.transposed(), nn.ConvTranspose1d(1, 1, 3, stride=2, padding=1, output_padding=1)),
    ]
    for read, layer in layers:
        for first, last in ((8, 8), (9, 9), (6, 9), (7, 12)):
            x = torch.ones(1, 1, 64, requires_grad=True)
            layer(x)[..., first : last + 1].sum().backward()
            assert x.grad is not None
            seen = torch.nonzero(x.grad[0, 0]).flatten()
            assert read(Span(first, last)) == (int(seen.min()), int(seen.max()))
    assert Span(2, 5).joined(Span(4, 9)) == (2, 9)
    assert radius(lambda span: span.conv(times=3), stride=1) == 3


@pytest.mark.parametrize("name", ALL)
def test_readme_states_the_true_size(name: str) -> None:
    module = models.build(name)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    work = round(models.macs_per_pixel(module) / 1000)
    row = f"| {parameters:,} | {work:,} | {module.needs.receptive_field} |"
    section = README.read_text(encoding="utf-8").split("### Architectures")[1]
    (stated,) = [line for line in section.splitlines() if line.startswith(f"| `{name}` |")]
    assert stated.endswith(row)
