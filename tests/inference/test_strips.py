"""Bands of a page that follow each other through a network that keeps its rows: the values of the whole page."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from denoiser.inference import Denoiser, InferenceOptions, Piece, strips
from denoiser.inference.network import Network
from denoiser.models.rows import Flow
from denoiser.models.unet import UNet, UNetConfig
from denoiser.tiling import Sheet, round_up


class Fault:
    """What happens when rows are pushed: an error, or True where what the network gives is to be NaN."""

    def __init__(self) -> None:
        self.happen: Callable[[], bool] = lambda: False

    def __deepcopy__(self, memo: object) -> Fault:
        return self


class Flowing(UNet):
    """A small U-Net with weights that do something, whose rows can be made to fail."""

    def __init__(self) -> None:
        super().__init__(UNetConfig((8, 12), (1, 1)))
        self.fault = Fault()
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)

    def flow(self) -> Flow:
        flow, push = super().flow(), Flow.push

        def checked(x: Tensor, white: Tensor, last: bool) -> Tensor | None:
            spoiled = self.fault.happen()
            found = push(flow, x, white, last)
            return found * torch.nan if found is not None and spoiled else found

        flow.push = checked  # type: ignore[method-assign]
        return flow


def make(module: nn.Module | None = None, **options: Any) -> Denoiser:
    given = {"device": "cpu", "precision": "fp32", **options}
    made = Denoiser(module or Flowing(), None, InferenceOptions(**given))
    made.keeps_rows(60, 1)  # measures what a network keeps, once
    return made


@cache
def shared() -> Denoiser:
    return make()


def noise(height: int, width: int, channels: int = 1, dtype: type = np.uint16) -> NDArray[Any]:
    top = 255 if dtype is np.uint8 else 65535
    return np.random.default_rng(0).integers(0, top, (height, width, channels)).astype(dtype)


def bands(page: NDArray[Any], rows: list[int], model: Denoiser, again: int = 0, name: Hashable = 0) -> list[Piece]:
    """A page cut into bands of so many rows, repeated, with their context."""
    found: list[Piece] = []
    height, start = len(page), 0
    sheet = Sheet(name, 0, height, 2 * again)
    while start < height:
        stop = min(start + model.row_multiple * rows[len(found) % len(rows)], height)
        context = round_up(model.context_rows + again, model.row_multiple)
        top, bottom = max(0, start - context), min(height, stop + context)
        above, below = start - top - min(again, start - top), bottom - stop - min(again, bottom - stop)
        scale = 1 / 255 if page.dtype == np.uint8 else 1 / 65535
        found.append(Piece(page[top:bottom], scale, 1.0, above, below, sheet=sheet, row=top))
        start = stop
    return found


def whole(piece: Piece, page: NDArray[Any]) -> NDArray[np.float32]:
    """The oracle: the page as one window; rows that this piece answers for."""
    ((_, values),) = make(tile="none").stream([Piece(page, piece.scale, 1.0)])
    return values[piece.row + piece.above : piece.row + len(piece.values) - piece.below]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each push into a network had, and that windows of pieces by themselves are none."""
    found: list[int] = []
    push, compute = Network.push, Network.compute

    def pushed(self: Network, flow: Flow, x: Tensor, white: float, last: bool) -> Tensor | None:
        found.append(len(x))
        return push(self, flow, x, white, last)

    def computed(self: Network, stored: Tensor, *rest: Any) -> Any:
        found.append(0)
        return compute(self, stored, *rest)

    monkeypatch.setattr(Network, "push", pushed)
    monkeypatch.setattr(Network, "compute", computed)
    return found


@settings(max_examples=30)
@given(
    st.integers(1, 260),
    st.integers(1, 160),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(0, 9),
    st.sampled_from([(1, np.uint16), (3, np.uint8), (1, np.float32)]),
)
def test_bands_give_what_the_page_gives(height: int, width: int, rows: list[int], again: int, kind: Any) -> None:
    page = noise(height, width, *kind)
    results = list(shared().stream(bands(page, rows, shared(), again)))
    assert sum(len(piece.values) - piece.above - piece.below for piece, _ in results) >= height
    for piece, values in results:
        assert np.abs(values - whole(piece, page)).max() <= 1e-5


def test_every_row_goes_through_the_network_once(counted: list[int]) -> None:
    page = noise(400, 90)
    model = make()
    counted.clear()
    results = list(model.stream(bands(page, [5], model)))
    assert len(results) == 20 and sum(counted) == 400 and 0 not in counted


def test_wide_pages_are_cut_into_strips_and_stay_exact(monkeypatch: pytest.MonkeyPatch, counted: list[int]) -> None:
    monkeypatch.setattr(strips, "FLOW_WIDTH", 100)
    page, model = noise(150, 730), make()
    counted.clear()
    results = list(model.stream(bands(page, [8], model)))
    assert sum(counted) == 14 * 152 and 0 not in counted  # strips of 100 with halos of 24; 150 rows are filled to 152
    for piece, values in results:
        assert np.abs(values - whole(piece, page)).max() <= 1e-5


def test_pages_of_a_stack_do_not_mix() -> None:
    pages = [noise(90, 60), 65535 - noise(90, 60)]
    model = make()
    given = [piece for name, page in enumerate(pages) for piece in bands(page, [6], model, name=name)]
    # The second page is left in the middle, as that of a file which cannot be read any further.
    given = given[: len(given) - 1] + bands(pages[0], [6], model, name=2)
    for piece, values in model.stream(given):
        assert piece.sheet is not None
        page = pages[0 if piece.sheet.page in (0, 2) else 1]
        assert np.abs(values - whole(piece, page)).max() <= 1e-5


def test_a_page_that_is_entered_in_the_middle_is_computed_with_its_context(counted: list[int]) -> None:
    page, model = noise(200, 60), make()
    counted.clear()
    results = list(model.stream(bands(page, [6], model)[3:]))
    assert set(counted) == {0}
    for piece, values in results:
        assert np.abs(values - whole(piece, page)).max() <= 1e-5


@pytest.mark.parametrize("options", [{"tile": 64}, {"halo": 8}, {"max_memory": 1 << 20}])
def test_tiles_and_halos_of_the_user_and_too_little_memory_leave_it(counted: list[int], options: Any) -> None:
    model, page = make(**options), noise(120, 90)
    assert not model.keeps_rows(90, 1)
    counted.clear()
    assert len(list(model.stream(bands(page, [6], model)))) == 5
    assert set(counted) == {0}


def test_room_is_for_all_parts_of_a_page() -> None:
    model = make(max_memory=80 << 20)
    assert model.keeps_rows(2000, 1) and not model.keeps_rows(2000, 200)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_a_strip_without_memory_goes_on_in_windows(error: Exception, counted: list[int]) -> None:
    pushes: list[int] = []

    def fault() -> bool:
        pushes.append(1)
        if len(pushes) == 3:
            raise error
        return False

    module, page = Flowing(), noise(200, 60)
    model = make(module)
    module.fault.happen = fault
    counted.clear()
    results = list(model.stream(bands(page, [6], model)))
    assert len(pushes) == 3 and counted.count(0) >= len(results) - 2  # smaller windows from then on
    module.fault.happen = lambda: False
    for piece, values in results:
        assert np.abs(values - whole(piece, page)).max() <= 1e-5


def test_values_that_half_precision_cannot_hold_are_computed_again(counted: list[int]) -> None:
    page, module = noise(200, 60), Flowing()
    model = make(module, precision="bf16")
    spoiled = iter([False, False, True])
    module.fault.happen = lambda: next(spoiled)
    counted.clear()
    results = list(model.stream(bands(page, [6], model)))
    assert counted.count(0) == len(results) - 2
    for number, (piece, values) in enumerate(results):
        assert np.abs(values - whole(piece, page)).max() <= (1e-5 if number == 2 else 0.05)


def test_a_fault_of_the_network_is_told() -> None:
    module = Flowing()
    model = make(module)

    def fault() -> bool:
        raise ValueError("broken weights")

    module.fault.happen = fault
    with pytest.raises(ValueError, match="broken weights"):
        list(model.stream(bands(noise(90, 60), [6], model)))


def test_what_is_kept_is_measured() -> None:
    model = make()
    flow = Flowing().flow()
    with torch.inference_mode():
        for _ in range(20):
            flow.push(torch.rand(1, 3, 16, 400), torch.ones(1, 1, 1, 1), False)
    assert flow.held() == pytest.approx(400 * model._column_bytes, rel=0.1)
