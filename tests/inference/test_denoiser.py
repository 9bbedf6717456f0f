"""Tiling, batching and streaming change nothing: every result is that of the network on the whole picture."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import denoiser
from denoiser.errors import InputError, UnavailableError, UsageError
from denoiser.inference import Denoiser, InferenceOptions, Piece, devices, network, probes, sizing
from denoiser.models import Needs, build
from denoiser.tiling import round_up
from tests.inference.networks import Identity, Tiny, Told

EXACT = 12  # the receptive field of Tiny, 9, rounded up to its stride, 4


def tiny(**options: Any) -> Denoiser:
    return Denoiser(Tiny(), None, InferenceOptions(device="cpu", **{"precision": "fp32", **options}))


WHOLE = tiny(tile="none")


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def piece(height: int, width: int, channels: int = 3, seed: int = 0, **rest: Any) -> Piece:
    return Piece(noise(height, width, channels, seed=seed), 1 / 255, 1.0, **rest)


def by_hand(one: Piece) -> NDArray[np.float32]:
    """The oracle: pad, run the network on the whole piece, subtract, crop."""
    x = one.values.astype(np.float32) * np.float32(one.scale)
    height, width = x.shape[:2]
    for axis in (0, 1):
        missing = round_up(x.shape[axis], 4) - x.shape[axis]
        pads = [(0, missing) if a == axis else (0, 0) for a in range(3)]
        x = np.pad(x, pads, mode="reflect" if x.shape[axis] > 1 else "edge")
    colour = torch.from_numpy(np.repeat(x, 3 // x.shape[2], axis=2)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        residual = Tiny()(colour, torch.full((1, 1, 1, 1), one.white))[0].permute(1, 2, 0).numpy()
    if x.shape[2] == 1:
        residual = residual.mean(axis=2, keepdims=True)
    return (x - residual)[:height, :width]


def only(results: Iterator[tuple[Piece, NDArray[np.float32]]]) -> NDArray[np.float32]:
    ((_, values),) = results
    return values


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 9))
def test_equals_the_network_run_by_hand(height: int, width: int, channels: int, seed: int) -> None:
    one = piece(height, width, channels, seed)
    assert np.abs(only(WHOLE.stream([one])) - by_hand(one)).max() < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 5000), (2000, 2)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    one = piece(*shape)
    expected = by_hand(one)
    assert np.abs(only(WHOLE.stream([one])) - expected).max() < 1e-5
    assert np.abs(only(tiny(tile=64, halo="exact").stream([one])) - expected).max() < 1e-5


@settings(max_examples=25)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(28, 90), st.integers(9, 12), st.sampled_from([1, 3]))
def test_tiled_equals_untiled(height: int, width: int, tile: int, halo: int, channels: int) -> None:
    one = piece(height, width, channels)
    whole = only(WHOLE.stream([one]))
    tiled = only(tiny(tile=tile, halo=halo).stream([one]))
    assert np.abs(whole - tiled).max() < 1e-5
    assert np.array_equal(to_8_bit(whole), to_8_bit(tiled))


def to_8_bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def test_a_halo_that_is_too_small_is_not_exact() -> None:
    # Without this the property above could hold because windows are never cut.
    one = piece(150, 150)
    assert np.abs(only(WHOLE.stream([one])) - only(tiny(tile=28, halo=4).stream([one]))).max() > 1e-3


@settings(max_examples=15)
@given(st.data())
def test_bands_with_context_equal_the_page(data: st.DataObject) -> None:
    model = tiny(tile=data.draw(st.sampled_from(["auto", 40])))
    page = noise(data.draw(st.integers(30, 150)), data.draw(st.integers(1, 50)), 3)
    step = model.row_multiple * data.draw(st.integers(1, 12))
    bands = []
    for start in range(0, len(page), step):
        stop = min(start + step, len(page))
        above, below = min(start, model.context_rows), min(len(page) - stop, model.context_rows)
        bands.append(Piece(page[start - above : stop + below], 1 / 255, 1.0, above, below))
    whole = only(WHOLE.stream([Piece(page, 1 / 255, 1.0)]))
    found = np.concatenate([values for _, values in model.stream(bands)])
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() < 1e-5


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3])), min_size=1, max_size=9))
def test_order_and_shapes_of_mixed_pieces(shapes: list[tuple[int, int, int]]) -> None:
    model = tiny(tile=48, batch=4)
    pieces = [piece(*shape, seed=i, tag=i) for i, shape in enumerate(shapes)]
    results = list(model.stream(pieces))
    assert [one for one, _ in results] == pieces
    for one, values in results:
        assert values.dtype == np.float32 and values.shape == one.values.shape
        assert np.abs(values - by_hand(one)).max() < 1e-5


@pytest.fixture(scope="module")
def flagship() -> torch.nn.Module:
    """The real architecture with random weights: its deep levels make torch take different ways for small batches."""
    torch.manual_seed(0)
    network = build("unet")
    for weight in network.parameters():
        torch.nn.init.kaiming_normal_(weight)
        weight.data *= 0.6
    return network.eval()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_companions_in_a_batch_change_no_bit(flagship: torch.nn.Module, precision: str) -> None:
    model = Denoiser(flagship, None, InferenceOptions(device="cpu", precision=precision))
    for height, width, channels in ((28, 28, 1), (50, 70, 3), (130, 97, 3)):
        first = piece(height, width, channels, seed=1)
        alone = only(model.stream([first]))
        for others in (1, 2, 6):
            company = [piece(height, width, channels, seed=2 + i) for i in range(others)]
            assert np.array_equal(alone, dict(number(model.stream([first, *company])))[0])
            assert np.array_equal(alone, dict(number(model.stream([*company, first])))[others])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_large_windows_computed_row_by_row_are_the_same(
    flagship: torch.nn.Module, precision: str, channels: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = (np.random.default_rng(0).random((333, 67, channels)) * 255).astype(dtype)
    one = Piece(stored, 1 / 255, 1.0, above=8, below=13)
    model = Denoiser(flagship, None, InferenceOptions(device="cpu", precision=precision, tile="none"))
    whole = only(model.stream([one]))
    for pixels in (1, 2**12, 2**14):
        monkeypatch.setattr(network, "FLOW_FROM", 2**14)
        monkeypatch.setattr(network, "FLOW_PIXELS", pixels)
        found = only(model.stream([one]))
        assert np.abs(found - whole).max() <= (1e-5 if precision == "fp32" else 0)
    assert np.array_equal(stored, one.values)


def number(results: Iterator[tuple[Piece, NDArray[np.float32]]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for index, (_, values) in enumerate(results):
        yield index, values


def test_large_pictures_are_cut_into_narrow_windows_that_go_row_by_row(flagship: torch.nn.Module) -> None:
    model = Denoiser(flagship, None, InferenceOptions(device="cpu", precision="bf16", max_memory=2**34))

    def sizes(height: int, width: int) -> set[tuple[int, int]]:
        return {(window.height, window.width) for window in model._sizing.windows(height, width)}

    assert sizes(2448, 3096) == {(2448, 3096)}
    assert model.cuts(3000, 4000)
    for height, width in sizes(3000, 4000) | sizes(4000, 6000) | sizes(6000, 3000):
        assert width <= 2048 and network.FLOW_FROM < height * width <= 2**23


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_number_of_threads_changes_no_bit(flagship: torch.nn.Module, precision: str) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model = Denoiser(flagship, None, InferenceOptions(device="cpu", precision=precision))
            results.append([values for _, values in model.stream([piece(40, 40), piece(200, 150), piece(40, 40, 1)])])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert np.array_equal(one, two)


def test_the_last_picture_gets_the_processors_of_workers_that_are_done(
    flagship: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "FLOW_FROM", 0)
    monkeypatch.setattr(network, "FLOW_PIXELS", 2**12)
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "threads", lambda: 2)
    torch.set_num_threads(2)
    try:
        model = Denoiser(flagship, None, InferenceOptions(device="cpu", precision="bf16"))
        ran: list[tuple[int, int]] = []
        push = network.Network.push

        def spy(self: network.Network, flow: Any, x: torch.Tensor, white: float, last: bool) -> torch.Tensor | None:
            ran.append((x.shape[1], torch.get_num_threads()))
            return push(self, flow, x, white, last)

        monkeypatch.setattr(network.Network, "push", spy)
        long, short = piece(1600, 128), piece(160, 120)
        # Both begin with a processor each; the short one is done long before the long one.
        results = [values for _, values in model.stream([long, short])]
        threads = [count for width, count in ran if width == 128]
        assert threads[0] == 1
        assert threads[-1] == 2
        ran.clear()
        alone = only(model.stream([long]))
        assert {count for _, count in ran} == {2}
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(alone, results[0])


def test_stream_is_lazy_and_holds_a_bounded_number_of_bytes() -> None:
    model = tiny(max_memory=2**22)  # a quarter of it, 1 MiB, may be in flight
    taken = 0

    def endless() -> Iterator[Piece]:
        nonlocal taken
        while True:
            taken += 1
            yield piece(64, 64, tag=taken)

    results = model.stream(endless())
    assert taken == 0
    most = 0
    for given_back in range(1, 200):
        one, _ = next(results)
        assert one.tag == given_back
        most = max(most, taken - given_back)
    each = 64 * 64 * 3 * (1 + 4)
    assert most <= 2**20 // each + 1
    results.close()


def test_large_pictures_are_taken_until_all_workers_have_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "ENOUGH_IN_FLIGHT", {"cpu": 2**20})
    monkeypatch.setattr(devices, "threads", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        model = tiny(max_memory=2**34)
        taken = 0

        def endless() -> Iterator[Piece]:
            nonlocal taken
            while True:
                taken += 1
                yield piece(512, 512, tag=taken)  # 3.75 MiB with its result

        results = model.stream(endless())
        next(results)
        assert model._engine.workers == 4
        assert model._engine.depth <= taken <= model._engine.depth + 2
        results.close()
    finally:
        torch.set_num_threads(before)


def test_stream_gives_results_before_the_last_piece_is_taken() -> None:
    model = tiny(batch=2)
    seen = []

    def pieces() -> Iterator[Piece]:
        for tag in range(20):
            seen.append(tag)
            yield piece(300, 300, tag=tag)

    first, _ = next(model.stream(pieces()))
    assert first.tag == 0
    assert len(seen) < 20


def test_small_pictures_share_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    batches = []
    engine = model._engine
    submit = engine.submit

    def spy(items: Any, key: Any, places: int, share: int) -> Any:
        batches.append(len(items))
        return submit(items, key, places, share)

    monkeypatch.setattr(engine, "submit", spy)
    assert len(list(model.stream(piece(28, 28, 1, seed=i) for i in range(700)))) == 700
    assert len(batches) <= 6


def test_threads_of_the_caller_and_denormals_are_left_alone() -> None:
    before = torch.get_num_threads()
    list(tiny(tile=40).stream([piece(100, 100), piece(30, 30)]))
    assert torch.get_num_threads() == before
    assert np.float32(1e-39) * np.float32(1) != 0


# The Python door.

DTYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]
SHAPES = [(5, 6), (5, 6, 3), (5, 6, 1), (5, 6, 2), (5, 6, 4), (2, 5, 6, 3), (1, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_network_that_finds_no_noise_changes_nothing(dtype: str, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    if dtype.startswith("float"):
        array = (generator.normal(0, 100, shape)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        array = generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    found = IDENTITY.denoise(array)
    assert found.dtype == array.dtype and found.shape == array.shape
    assert np.array_equal(found, array)


IDENTITY = Denoiser(Identity(), None, InferenceOptions(device="cpu"))


def test_denoise_rounds_and_clips_what_stream_gives() -> None:
    array = noise(30, 41, 3)
    assert np.array_equal(WHOLE.denoise(array), to_8_bit(only(WHOLE.stream([Piece(array, 1 / 255, 1.0)]))))


def test_channels_other_than_three_are_pictures_of_their_own() -> None:
    array = noise(20, 24, 5)
    each = [WHOLE.denoise(array[:, :, i]) for i in range(5)]
    assert np.array_equal(WHOLE.denoise(array[None])[0], np.stack(each, axis=2))


def test_a_stack_of_gray_pictures_is_not_taken_for_channels() -> None:
    array = noise(5, 20, 24)
    with pytest.raises(UsageError, match=r"gray pictures or one of 24 channels: give array\[\.\.\., None\]"):
        WHOLE.denoise(array)
    found = WHOLE.denoise(array[..., None])[..., 0]
    assert np.array_equal(found, np.stack([WHOLE.denoise(page) for page in array]))


def test_a_stack_is_its_pages() -> None:
    array = noise(4, 20, 24, 3)
    assert np.array_equal(WHOLE.denoise(array), np.stack([WHOLE.denoise(page) for page in array]))


def test_alpha_is_not_denoised() -> None:
    array = noise(20, 24, 4)
    found = WHOLE.denoise(array, alpha=True)
    assert np.array_equal(found[:, :, 3], array[:, :, 3])
    assert np.array_equal(found[:, :, :3], WHOLE.denoise(array[:, :, :3]))
    assert not np.array_equal(WHOLE.denoise(array)[:, :, 3], array[:, :, 3])


def test_float_results_scale_with_the_input() -> None:
    array = np.random.default_rng(0).normal(1, 0.1, (20, 24, 3)).astype(np.float32)
    found = WHOLE.denoise(array)
    for factor in (2.0**-20, 2.0**10):
        assert np.allclose(WHOLE.denoise(array * np.float32(factor)), found * factor, rtol=1e-5, atol=1e-6 * factor)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32"])
def test_integers_that_use_little_of_their_container_are_as_floats(dtype: str) -> None:
    dim = np.random.default_rng(0).normal(500, 100, (20, 24, 3)).round().astype(dtype)
    for values in (dim, dim * 16):
        expected = WHOLE.denoise(values.astype(np.float32)).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
        assert np.abs(WHOLE.denoise(values) - expected).max() <= 0.51


def test_missing_pixels_stay_and_do_not_spread() -> None:
    array = np.random.default_rng(0).normal(1, 0.1, (30, 30)).astype(np.float32)
    array[3, 4], array[20, 20] = np.nan, np.inf
    found = WHOLE.denoise(array)
    assert np.isnan(found[3, 4]) and np.isposinf(found[20, 20])
    assert np.isfinite(found).sum() == found.size - 2


def test_strength() -> None:
    array = noise(20, 24)
    assert np.array_equal(WHOLE.denoise(array, strength=0), array)
    full, half = (WHOLE.denoise(array, strength=s).astype(int) for s in (1.0, 0.5))
    inside = (full > 0) & (full < 255)
    assert np.abs(half - (array + full) / 2)[inside].max() <= 1


def test_luma_chroma_and_detail() -> None:
    array = noise(40, 44, 3)
    plain = WHOLE.denoise(array)
    assert np.array_equal(WHOLE.denoise(array, luma=1.0, chroma=1.0, detail=0.0), plain)
    assert np.array_equal(WHOLE.denoise(array, luma=0.0, chroma=0.0), array)
    inside = ((plain > 0) & (plain < 255)).all(axis=2)
    for name, kept in (("luma", (0.299, 0.587, 0.114)), ("chroma", (1.0, -1.0, 0.0))):
        found = WHOLE.denoise(array, **{name: 0.0})
        there = inside & ((found > 0) & (found < 255)).all(axis=2)
        assert there.sum() > 100
        assert np.abs((found.astype(float) - array) @ kept)[there].max() <= 1, "a half is rounded, twice"
    tiled = tiny(tile=32, halo="exact").denoise(array, luma=0.6, detail=0.7)
    assert np.abs(tiled.astype(int) - WHOLE.denoise(array, luma=0.6, detail=0.7)).max() <= 1
    assert np.array_equal(WHOLE.denoise(array[..., 0], chroma=0.2), WHOLE.denoise(array[..., 0]))


def test_empty_arrays_come_back() -> None:
    assert WHOLE.denoise(np.empty((0, 5, 3), np.uint8)).shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.zeros(5, np.uint8), {}),
        (np.zeros((2, 2, 2, 2, 3), np.uint8), {}),
        (np.zeros((5, 5), bool), {}),
        (np.zeros((5, 5), complex), {}),
        (np.zeros((5, 5), np.int64), {}),
        (np.zeros((5, 5), np.uint8), {"sigma": 25}),
        (np.zeros((5, 5), np.uint8), {"strength": 1.5}),
        (np.zeros((5, 5), np.uint8), {"alpha": True}),
        (np.zeros((5, 5), np.uint8), {"detail": -1.0}),
        (np.zeros((5, 5), np.uint8), {"white": 5, "black": 5}),
        (np.zeros((5, 5), np.uint8), {"white": "255"}),
        (np.zeros((5, 5), np.uint8), {"strength": "1"}),
    ],
)
def test_bad_arguments_are_refused(array: NDArray[Any], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        WHOLE.denoise(array, **options)


@pytest.mark.parametrize("name", ["unet", "dcdae"])
@pytest.mark.parametrize("ensemble", [1, 8])
def test_narrow_pictures_are_right_in_half_precision(name: str, ensemble: int) -> None:
    half, full = (
        denoiser.load(name, device="cpu", precision=precision, ensemble=ensemble) for precision in ("bf16", "fp32")
    )
    for width in (1, 5, 8, 9, 16, 17, 24):
        picture = np.random.default_rng(width).integers(0, 256, (120, width, 3), np.uint8)
        for turned in (picture, picture.swapaxes(0, 1)) if ensemble > 1 else (picture,):
            expected = full.denoise(turned).astype(int)
            assert np.abs(half.denoise(turned) - expected).max() <= 4


def test_an_alpha_that_is_no_truth_value_and_a_mask_are_refused() -> None:
    model = Denoiser(Tiny(), None, InferenceOptions(device="cpu", precision="fp32"))
    picture = np.full((16, 16, 4), 100, np.uint8)
    for alpha in (3, -1, None, "1"):
        with pytest.raises(UsageError, match="alpha"):
            model.denoise(picture, alpha=alpha)  # type: ignore[arg-type]
    assert model.denoise(picture, alpha=np.bool_(True)).shape == picture.shape
    with pytest.raises(UsageError, match="mask"):
        model.denoise(np.ma.masked_greater(np.arange(256.0).reshape(16, 16), 9))
    assert model.denoise(np.ma.masked_array(picture)).shape == picture.shape  # nothing is masked


def test_values_too_large_for_the_network_are_refused(flagship: torch.nn.Module) -> None:
    model = Denoiser(flagship, None, InferenceOptions(device="cpu", precision="fp32"))
    picture = np.random.default_rng(0).normal(0.5, 0.05, (64, 64)).astype(np.float32)
    picture[30:34, 30:34] = np.finfo(np.float32).min
    with pytest.raises(InputError, match="NaN"):
        model.denoise(picture)
    picture[30:34, 30:34] = np.nan
    assert np.isfinite(model.denoise(picture)).sum() == picture.size - 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of threads and fork
def test_a_forked_process_computes_with_threads_of_its_own() -> None:
    model = Denoiser(Tiny(), None, InferenceOptions(device="cpu", precision="fp32"))
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = model.denoise(picture)
    child = os.fork()
    if child == 0:
        same = np.array_equal(model.denoise(picture), expected)
        os._exit(0 if same else 1)
    end = time.monotonic() + 30
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("it waits for threads that it does not have")
        time.sleep(0.02)
    assert found == (child, 0)


def test_the_hash_tells_weights_apart() -> None:
    one, two = Tiny(), Tiny()
    for parameter in two.parameters():
        parameter.data += 1e-3
    hashes = [Denoiser(module, None, InferenceOptions(device="cpu")).weights_hash() for module in (one, one, two)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_networks_that_take_a_noise_level_get_it() -> None:
    model = Denoiser(Told(), None, InferenceOptions(device="cpu", precision="fp32"))
    array = np.full((6, 7), 100, np.uint8)
    assert (model.denoise(array, sigma=25) == 75).all()
    assert (model.denoise(array.astype(np.float32), white=255, sigma=25) == 75).all()
    with pytest.raises(UsageError, match="needs the noise level"):
        model.denoise(array)
    with pytest.raises(UsageError, match="give white"):
        model.denoise(array.astype(np.float32), sigma=25)


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": np.zeros((5, 5), np.uint8)},
        {"values": np.zeros((5, 5, 2), np.uint8)},
        {"values": np.zeros((0, 5, 3), np.uint8)},
        {"values": np.zeros((5, 5, 3), np.int16)},
        {"values": np.zeros((5, 5, 3), np.uint8), "above": 3, "below": 2},
        {"values": np.zeros((5, 5, 3), np.uint8), "scale": 0.0},
    ],
)
def test_impossible_pieces_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a piece is|leave nothing|scale"):
        Piece(**wrong)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_full_range_of_every_stored_type_arrives(dtype: str) -> None:
    values = np.array([[[0], [1], [32767], [32768], [65535]]]).astype(dtype)
    result = only(IDENTITY.stream([Piece(values, 0.5, 1.0)]))
    assert np.array_equal(result, values.astype(np.float32) * np.float32(0.5))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_agrees_with_the_cpu(precision: str) -> None:
    model = Denoiser(Tiny(), None, InferenceOptions(device="cuda", precision=precision, tile=96))
    allowed = {"fp32": 1e-4, "bf16": 0.1, "fp16": 0.02}[precision]
    pieces = [piece(h, w, c, seed=h) for h, w, c in ((28, 28, 1), (28, 28, 1), (200, 150, 3), (1, 1, 3)) * 3]
    for (_, found), (_, expected) in zip(model.stream(pieces), WHOLE.stream(pieces), strict=True):
        assert np.abs(found - expected).max() < allowed


@pytest.mark.gpu
def test_companions_on_cuda_change_no_bit(flagship: torch.nn.Module) -> None:
    model = Denoiser(flagship, None, InferenceOptions(device="cuda"))
    first = piece(50, 70, seed=1)
    alone = only(model.stream([first]))
    together = list(model.stream([*(piece(50, 70, seed=i) for i in range(2, 9)), first]))
    assert np.array_equal(alone, together[-1][1])


class Ranged(Identity):
    """Knows pictures of a known range only."""

    needs = Needs(channels=3, multiple_of=4, receptive_field=0, needs_range=True)


def test_networks_that_need_a_range_refuse_floats_without_one() -> None:
    model = Denoiser(Ranged(), None, InferenceOptions(device="cpu", precision="fp32"))
    floats = np.random.default_rng(0).random((6, 7), np.float32)
    with pytest.raises(UsageError, match="give white"):
        model.denoise(floats)
    np.testing.assert_allclose(model.denoise(floats, white=1), floats, atol=1e-6)
    integers = noise(6, 7)
    np.testing.assert_array_equal(model.denoise(integers), integers)


def test_a_device_that_cannot_compute_is_told_and_the_next_precision_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a GPU that this torch has no kernels for."""
    compute = probes._residual

    def broken(network: Any, patch: Any) -> Any:
        if network.precision in refused:
            raise RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")
        return compute(network, patch)

    monkeypatch.setattr(probes, "_residual", broken)
    monkeypatch.setattr(devices, "has_bf16", lambda device: True)
    refused = ["bf16"]
    assert Denoiser(Tiny()).precision == "fp32"
    refused = ["bf16", "fp32"]
    with pytest.raises(UnavailableError, match=r"cpu fails the self-check: bf16 cannot be computed \(CUDA error: no"):
        Denoiser(Tiny())


def test_a_device_without_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(device: torch.device) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(devices, "free_memory", full)
    with pytest.raises(UnavailableError, match=r"cpu cannot be used \(CUDA out of memory\); choose another --device"):
        Denoiser(Tiny())
