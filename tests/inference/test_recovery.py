"""What goes wrong on a device is found, and either made good exactly or reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from denoiser.errors import InputError, UnavailableError, UsageError
from denoiser.inference import Denoiser, InferenceOptions, Piece, probes
from denoiser.inference.network import Network
from denoiser.models.needs import Needs
from tests.inference.networks import Fragile, Hungry, Local, Tiny, Wrong

CPU = torch.device("cpu")


def make(network: torch.nn.Module, **options: Any) -> Denoiser:
    return Denoiser(network, None, InferenceOptions(device="cpu", **options))


def pieces(count: int, side: int) -> list[Piece]:
    generator = np.random.default_rng(0)
    return [Piece(generator.integers(0, 256, (side, side, 3), dtype=np.uint8), 1 / 255, 1.0) for _ in range(count)]


def same(network: torch.nn.Module, given: list[Piece], model: Denoiser) -> bool:
    expected = make(network, precision="fp32", tile="none", batch=1).stream(given)
    found = list(model.stream(given))
    return len(found) == len(given) and all(
        np.abs(a - b).max() < 1e-5 for (_, a), (_, b) in zip(found, expected, strict=True)
    )


# Memory.


def hungry(most_pixels: int, error: type[Exception] = MemoryError, **options: Any) -> tuple[Hungry, Denoiser]:
    """A model in fp32 that is loaded without trouble and then has little memory."""
    network = Hungry(error)
    model = make(network, precision="fp32", **options)
    network.most_pixels = most_pixels
    network.seen.clear()
    return network, model


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch_and_is_remembered(error: type[Exception]) -> None:
    network, model = hungry(6 * 64 * 64, error, batch=20)
    given = pieces(20, 64)
    assert same(Tiny(), given, model)
    assert max(shape[0] for shape in network.seen) == 20
    network.seen.clear()
    assert same(Tiny(), given, model)
    assert max(shape[0] for shape in network.seen) <= 6


def test_then_the_window_and_the_result_stays_exact() -> None:
    network, model = hungry(100 * 100)
    given = pieces(2, 250)
    assert same(Tiny(), given, model)
    network.seen.clear()
    assert same(Tiny(), given, model)
    assert max(shape[0] * shape[2] * shape[3] for shape in network.seen) <= 100 * 100


def test_context_rows_survive_a_smaller_window() -> None:
    given = [Piece(pieces(1, 250)[0].values, 1 / 255, 1.0, above=12, below=16)]
    _, model = hungry(80 * 80)
    ((_, found),) = model.stream(given)
    ((_, whole),) = make(Tiny(), precision="fp32", tile="none").stream(given)
    assert found.shape == (250 - 28, 250, 3)
    assert np.abs(found - whole).max() < 1e-5


def test_when_nothing_smaller_is_possible_it_says_so() -> None:
    _, model = hungry(10)
    with pytest.raises(InputError, match=r"out of memory.*cannot be made smaller"):
        list(model.stream(pieces(1, 250)))


def test_whole_pictures_are_not_cut_against_the_users_will() -> None:
    _, model = hungry(100 * 100, tile="none")
    with pytest.raises(InputError, match="--tile auto"):
        list(model.stream(pieces(1, 250)))


def test_other_errors_surface() -> None:
    class Broken(Tiny):
        def forward(self, x: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
            if x.shape[2] > 128:
                raise RuntimeError("device-side assert triggered")
            return super().forward(x, white)

    with pytest.raises(RuntimeError, match="device-side assert"):
        list(make(Broken(), precision="fp32").stream(pieces(2, 250)))


def test_windows_and_bytes_in_flight_follow_the_budget() -> None:
    def largest(budget: int) -> int:
        network, model = hungry(10**9, max_memory=budget)
        list(model.stream(pieces(1, 600)))
        return max(shape[0] * shape[2] * shape[3] for shape in network.seen)

    network = Network(Tiny(), CPU, "fp32")
    per_pixel = probes.footprint(network, 4).bytes_per_pixel
    for budget in (2**23, 2**25):
        assert largest(budget) * per_pixel <= budget
    assert largest(2**23) < largest(2**25)


def test_footprint_counts_what_lives_at_once() -> None:
    # By hand: skip, upsampled features and their sum, 16 channels each, besides stored values and input.
    found = probes.footprint(Network(Tiny(), CPU, "fp32"), 4)
    assert 4 * 3 * 16 + 24 <= found.bytes_per_pixel <= 4 * 5 * 16
    assert found.elements_per_pixel == 16
    half = probes.footprint(Network(Tiny(), CPU, "bf16"), 4)
    assert half.bytes_per_pixel < found.bytes_per_pixel


# Precision.


def test_windows_that_half_precision_cannot_hold_are_done_in_fp32() -> None:
    model = make(Fragile(), precision="bf16", tile=64)
    dark = pieces(2, 100)
    bright = Piece(np.full((100, 100, 3), 60000, np.uint16), 1e-4, 6.0)
    results = [values for _, values in model.stream([dark[0], bright, dark[1]])]
    assert all(np.isfinite(values).all() for values in results)
    ((_, exact),) = make(Tiny(), precision="fp32").stream([bright])
    assert np.abs(results[1] - exact).max() < 1e-5
    ((_, alone),) = model.stream([dark[0]])
    assert np.array_equal(results[0], alone)


def test_a_network_that_gives_nan_in_fp32_is_not_tried_for_ever() -> None:
    class Hopeless(Tiny):
        def forward(self, x: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
            residual = super().forward(x, white)
            return residual if x.shape[2] < 80 else residual * torch.nan

    ((_, values),) = make(Hopeless(), precision="bf16").stream(pieces(1, 100))
    assert np.isnan(values).all()


def test_auto_takes_the_fastest_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoiser.inference.devices.has_bf16", lambda device: True)
    assert make(Tiny()).precision == "bf16"
    assert make(Wrong((torch.bfloat16,))).precision == "fp32"
    monkeypatch.setattr("denoiser.inference.devices.has_bf16", lambda device: False)
    assert make(Tiny()).precision == "fp32"


def test_a_network_says_in_which_precisions_it_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careful(Tiny):
        needs = Needs(channels=3, multiple_of=4, receptive_field=9, precisions=("fp32",))

    monkeypatch.setattr("denoiser.inference.devices.has_bf16", lambda device: True)
    assert make(Careful()).precision == "fp32"
    with pytest.raises(UnavailableError, match="use auto or one of fp32"):
        make(Careful(), precision="bf16")


def test_wrong_arithmetic_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(UnavailableError, match=r"bf16 differs by .* --precision auto"):
        make(Wrong((torch.bfloat16,)), precision="bf16")
    with pytest.raises(UnavailableError, match=r"fp32 differs by .* --device"):
        make(Wrong((torch.bfloat16, torch.float32)))


def test_fp16_is_never_computed_on_a_cpu() -> None:
    with pytest.raises(UnavailableError, match="fp16 is not available"):
        make(Tiny(), precision="fp16")


def test_floats_of_unknown_range_are_not_computed_in_fp16() -> None:
    model = make(Tiny(), precision="fp32")
    model.precision = "fp16"
    array = np.zeros((32, 32, 3), np.float32)
    assert model._precision_of(Piece(array)) == "fp32"
    assert model._precision_of(Piece(array, white=1.0)) == "fp16"
    model.precision = "bf16"
    assert model._precision_of(Piece(array)) == "bf16"


# Halo.


def reach(network: torch.nn.Module, needs: Needs) -> int:
    """How far the output looks, measured: the furthest input pixel with a gradient, over all phases of the stride."""
    side = 2 * round(needs.receptive_field / needs.multiple_of + 3) * needs.multiple_of
    furthest = 0
    for phase in range(needs.multiple_of):
        x = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        middle = side // 2 + phase
        network.double()(x, torch.ones(1, 1, 1, 1, dtype=torch.float64))[:, :, middle, middle].sum().backward()
        assert x.grad is not None
        rows, columns = torch.nonzero(x.grad.abs().sum(dim=(0, 1)), as_tuple=True)
        furthest = max(furthest, int((rows - middle).abs().max()), int((columns - middle).abs().max()))
    return furthest


def test_the_test_network_declares_its_receptive_field() -> None:
    positive = Tiny()
    for weight in positive.parameters():
        weight.data.abs_()  # no ReLU may hide a path
    assert reach(positive, Tiny.needs) == Tiny.needs.receptive_field


def test_auto_halo_is_exact_where_that_is_cheap() -> None:
    assert make(Tiny(), precision="fp32").context_rows == 12
    assert make(Tiny(), precision="fp32").describe()["tiling"] == "exact"


def test_auto_halo_is_measured_where_exact_is_dear() -> None:
    network = Local(reach=20, near=3)
    model = make(network, precision="fp32", tile=80)
    assert 4 <= model.context_rows <= 8
    assert model.describe()["tiling"] == "approximate"
    values = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    whole = make(network, precision="fp32", tile="none").denoise(values)
    assert np.abs(model.denoise(values).astype(int) - whole).max() <= 1


def test_halo_can_be_chosen() -> None:
    assert make(Tiny(), precision="fp32", halo=17).context_rows == 20
    assert make(Tiny(), precision="fp32", tile=40, halo="exact").context_rows == 12
    with pytest.raises(UsageError, match="at least 28"):
        make(Tiny(), precision="fp32", tile=24, halo="exact")


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "int8"},
        {"tile": 0},
        {"tile": "big"},
        {"tile": True},
        {"halo": -1},
        {"halo": "none"},
        {"batch": 0},
        {"batch": "none"},
        {"max_memory": 0},
        {"max_memory": "4GiB"},
    ],
)
def test_options_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
        InferenceOptions(**wrong)
