"""Memory of results that serves again, and windows that are read and written row by row."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from denoiser.inference import Denoiser, InferenceOptions, Piece
from denoiser.inference.batching import Buffers, Item, Job, all_finite
from denoiser.tiling import Window, plan_windows
from tests.inference.networks import Tiny


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> Buffers:
    monkeypatch.setattr(Buffers, "LEAST", 0)
    return Buffers()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_serves_again_when_its_last_view_is_gone(buffers: Buffers) -> None:
    first = buffers.empty((10, 20, 3))
    place = address(first)
    part = first[2:4, ::2]
    del first
    assert address(buffers.empty((10, 20, 3))) != place  # a part of it is still in use
    del part
    gc.collect()
    assert place in {address(again) for again in [buffers.empty((10, 20, 3)) for _ in range(2)]}


def test_memory_of_another_size_is_given_back(buffers: Buffers) -> None:
    large, small = buffers.empty((100, 20, 3)), buffers.empty((9, 20, 3))
    del large, small
    assert len(buffers._idle) == 2
    fit = buffers.empty((10, 20, 3))
    assert fit.shape == (10, 20, 3)
    assert not buffers._idle  # the one was too large, the other too small
    near = buffers.empty((80, 20, 3))
    place = address(near)
    del near
    assert address(buffers.empty((70, 20, 3))) == place


def test_small_arrays_are_left_to_the_allocator() -> None:
    buffers = Buffers()
    assert buffers.empty((100, 100, 3)).base is None
    assert buffers.empty((1 << 12, 1 << 11, 1)).base is not None


def test_results_that_are_kept_are_not_written_over(buffers: Buffers) -> None:
    model = Denoiser(Tiny(), None, InferenceOptions(device="cpu", precision="fp32"))
    random = np.random.default_rng(0)
    pieces = [Piece(random.integers(0, 256, (40, 50, 3), np.uint8), 1 / 255, 1.0) for _ in range(12)]
    alone = [next(model.stream([piece]))[1].copy() for piece in pieces]
    kept = []
    for number, (_, values) in enumerate(model.stream(pieces)):
        if number % 3:  # the others serve again
            kept.append((number, values))
    for number, values in kept:
        assert np.array_equal(values, alone[number])


@pytest.mark.parametrize("height", [16, 37])
def test_rows_of_a_window_are_those_of_the_whole_window(height: int, buffers: Buffers) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (height, 90, 3), np.uint16)
    piece = Piece(values, 1 / 65535, 1.0, above=3, below=2)
    job = Job(piece, buffers)
    for window in plan_windows(height, 90, (40, 64), 8, 8, 3, 2):
        item = Item(job, window)
        whole = np.empty((window.height, window.width, 3), np.uint16)
        item.read(whole)
        rows = [item.scaled(start, min(start + 7, window.height)) for start in range(0, window.height, 7)]
        assert np.array_equal(np.concatenate(rows), whole.astype(np.float32) * np.float32(piece.scale))
        for start, row in zip(range(0, window.height, 7), rows, strict=True):
            assert item.subtract(start, row * np.float32(0.25))
    expected = values[3 : height - 2].astype(np.float32) * np.float32(piece.scale)
    assert np.allclose(job.result, expected * 0.75, atol=1e-6)


def test_values_that_are_not_finite_are_told(buffers: Buffers) -> None:
    piece = Piece(np.ones((8, 8, 1), np.float32))
    item = Item(Job(piece, buffers), Window(0, 0, 8, 8, 0, 0, 8, 4))
    noise = np.zeros((8, 8, 1), np.float32)
    noise[3, 6] = np.nan  # beyond what is kept
    assert item.subtract(0, noise)
    noise[3, 3] = np.inf
    assert not item.subtract(0, noise)
    assert all_finite(np.full((4, 4), 3e38, np.float32))  # whose sum is not


def test_the_row_beyond_what_is_kept_is_not_written(buffers: Buffers) -> None:
    piece = Piece(np.ones((8, 8, 1), np.float32))
    job = Job(piece, buffers)
    item = Item(job, Window(0, 0, 8, 8, 0, 0, 4, 8))
    job.result[...] = 7
    assert item.subtract(4, np.zeros((4, 8, 1), np.float32))
    assert (job.result == 7).all()
