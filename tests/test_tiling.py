"""Windows cover every pixel once, agree in shape, and lie on the stride."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import tiling
from denoiser.tiling import Window, choose_tile, plan_windows, reflect, round_up, smallest_tile, work_ratio

sides = st.integers(1, 300)
relaxed = settings(deadline=None, max_examples=60)
multiples = st.sampled_from([1, 2, 8, 16])
halos = st.integers(0, 40)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, tuple[int, int], int, int]:
    multiple, halo = draw(multiples), draw(halos)
    least = smallest_tile(halo, multiple)
    tile = draw(st.integers(least, least + 150)), draw(st.integers(least, least + 150))
    return draw(sides), draw(sides), tile, halo, multiple


@relaxed
@given(cuts())
def test_every_pixel_is_kept_exactly_once(cut: tuple[int, int, tuple[int, int], int, int]) -> None:
    height, width, tile, halo, multiple = cut
    seen = np.zeros((height, width), int)
    for window in plan_windows(height, width, tile, halo, multiple):
        seen[window.kept] += 1
    assert (seen == 1).all()


@relaxed
@given(cuts())
def test_windows_share_one_shape_on_the_stride(cut: tuple[int, int, tuple[int, int], int, int]) -> None:
    height, width, tile, halo, multiple = cut
    windows = plan_windows(height, width, tile, halo, multiple)
    assert len({(w.height, w.width) for w in windows}) == 1
    for window in windows:
        assert all(v % multiple == 0 for v in (window.top, window.left, window.height, window.width))
        assert window.height <= max(tile[0], multiple) and window.width <= max(tile[1], multiple)
        assert window.top >= 0 and window.top + window.height <= round_up(height, multiple)
        assert window.left >= 0 and window.left + window.width <= round_up(width, multiple)


@relaxed
@given(cuts())
def test_kept_pixels_are_a_halo_away_from_every_false_border(cut: tuple[int, int, tuple[int, int], int, int]) -> None:
    height, width, tile, halo, multiple = cut
    for w in plan_windows(height, width, tile, halo, multiple):
        assert w.top == 0 or w.keep_top - w.top >= halo
        assert w.left == 0 or w.keep_left - w.left >= halo
        assert w.top + w.height == round_up(height, multiple) or w.top + w.height - w.keep_bottom >= halo
        assert w.left + w.width == round_up(width, multiple) or w.left + w.width - w.keep_right >= halo


@relaxed
@given(cuts(), st.integers(0, 60), st.integers(0, 60))
def test_context_rows_are_read_but_not_kept(
    cut: tuple[int, int, tuple[int, int], int, int], above: int, below: int
) -> None:
    height, width, tile, halo, multiple = cut
    height += above + below
    seen = np.zeros((height, width), int)
    for window in plan_windows(height, width, tile, halo, multiple, above, below):
        seen[window.kept] += 1
    assert (seen[above : height - below] == 1).all()
    assert seen.sum() == (height - above - below) * width


def test_slices_agree() -> None:
    for window in plan_windows(100, 90, 64, 8, 8):
        page = np.arange(104 * 96).reshape(104, 96)
        read = page[window.top : window.top + window.height, window.left : window.left + window.width]
        assert np.array_equal(read[window.kept_inside], page[window.kept])


def test_whole_page_is_one_window() -> None:
    assert plan_windows(1, 1, None, 64, 8) == [Window(0, 0, 8, 8, 0, 0, 1, 1)]
    assert len(plan_windows(3, 5000, None, 64, 16)) == 1


def test_same_number_of_windows_means_smaller_windows() -> None:
    # 1100 px in two windows: 2 x 616 do what 2 x 1024 would.
    assert {w.width for w in plan_windows(8, 1100, (8, 1024), 64, 8)} == {616}


@pytest.mark.parametrize(
    "arguments",
    [(0, 5, 8, 0, 8), (5, 5, 8, -1, 8), (50, 50, 16, 8, 8), (50, 50, 7, 0, 8), (8, 8, None, 0, 8, 4, 4)],
)
def test_impossible_cuts_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"cannot cut|keeps nothing"):
        plan_windows(*arguments)


@relaxed
@given(st.integers(1, 3000), st.integers(1, 3000), halos, multiples, st.integers(20_000, 10**6))
def test_chosen_tile_fits_and_can_be_planned(
    height: int, width: int, halo: int, multiple: int, max_pixels: int
) -> None:
    tile = choose_tile(height, width, halo, multiple, max_pixels)
    least = smallest_tile(halo, multiple)
    smallest = min(least, round_up(height, multiple)) * min(least, round_up(width, multiple))
    assert tile[0] * tile[1] <= max(max_pixels, smallest)
    windows = plan_windows(height, width, tile, halo, multiple)
    assert {(w.height, w.width) for w in windows} == {tile}
    computed = sum(w.pixels for w in windows)
    assert computed <= work_ratio(height, width, tile, halo, multiple) * height * width + 0.5


@relaxed
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 1000))
def test_chosen_tile_is_not_wider_than_it_may_be(height: int, width: int, more: int) -> None:
    halo, multiple = 24, 8
    widest = smallest_tile(halo, multiple) + more
    tile = choose_tile(height, width, halo, multiple, 10**6, widest)
    assert tile[1] <= widest and tile[0] * tile[1] <= 10**6
    if round_up(width, multiple) <= widest:
        assert tile == choose_tile(height, width, halo, multiple, 10**6)


@relaxed
@given(st.integers(200, 3000), st.integers(200, 3000), halos, st.sampled_from([8, 16]))
def test_chosen_tile_is_no_worse_than_a_square(height: int, width: int, halo: int, multiple: int) -> None:
    side = 512
    chosen = choose_tile(height, width, halo, multiple, side * side)
    square = min(side, round_up(height, multiple)), min(side, round_up(width, multiple))
    # Rounding a size up to the stride may cost a few per cent.
    rounding = (1 + multiple / 128) ** 2
    ours, theirs = (work_ratio(height, width, tile, halo, multiple) for tile in (chosen, square))
    assert ours <= theirs * rounding


@relaxed
@given(st.integers(1, 12), st.integers(0, 40))
def test_reflection_is_numpys(length: int, padding: int) -> None:
    row = np.arange(length)
    expected = np.pad(row, (0, padding), mode="reflect" if length > 1 else "edge")
    assert np.array_equal(row[reflect(0, length + padding, length)], expected)


def test_geometry_does_not_know_torch() -> None:
    assert "torch" not in vars(tiling)
