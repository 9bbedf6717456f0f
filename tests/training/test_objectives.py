"""What networks are taught, against independent definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from denoiser.noise import parse_mixture
from denoiser.training import objectives as ob
from denoiser.training.data import TorchRandom
from denoiser.training.folder import Picture
from denoiser.training.store import PictureStore
from denoiser.training.validate import Synthetic as Validation
from tests.training.helpers import noisy, waves

COUNT, SIZE = 4, 32


def _store(values: Any, white: float = 1.0) -> PictureStore:
    picture = Picture("picture", np.ascontiguousarray(values, dtype=np.float32), 1.0, 0.0, white)
    return PictureStore([picture], torch.device("cpu"))


def _draw(objective: ob.Objective, seed: int = 0) -> ob.Batch:
    random = TorchRandom(torch.Generator().manual_seed(seed))
    return objective.draw(COUNT, SIZE, np.random.default_rng(seed), random)


class _Zero(nn.Module):
    """Believes that there is no noise."""

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def objective(self, noisy: Tensor, white: Tensor, clean: Tensor) -> Tensor | None:
        return None


IDENTITY: Any = _Zero()


def test_pairs_show_the_same_places() -> None:
    clean = waves(0)
    objective = ob.Pairs(_store(clean + 0.125, white=0.0), _store(clean))
    batch = _draw(objective)
    assert torch.allclose(batch.noisy - batch.target, torch.tensor(0.125), atol=1e-6)
    assert (batch.white == 0).all()
    assert float(objective.loss(IDENTITY, batch)) == pytest.approx(0.125, abs=1e-4)


def test_noise_on_signed_numbers_does_not_clip_at_black() -> None:
    signed = Picture("ct", waves(0) - np.float32(0.5), 1.0, 1 / 65535, 0.0)
    store = PictureStore([signed], torch.device("cpu"))
    batch = _draw(ob.Synthetic(store, parse_mixture(["gaussian:25"]), 0.0, 1.0))
    assert float((batch.noisy - batch.target).std() * 255) == pytest.approx(25, rel=0.1)
    assert float((batch.noisy < -0.1).float().mean()) > 0.1
    protocols = {protocol: group[0] for protocol, _, group in Validation([signed], ["gaussian:25"]).examples()}
    assert all(example.noisy.min() < -0.1 and example.white == 0 for example in protocols.values())


def test_mask_drops_whole_pixels_and_scales_the_others() -> None:
    batch = _draw(ob.Mask(_store(waves(0))))
    shares = []
    for seen, target in zip(batch.noisy, batch.target, strict=True):
        dropped = (seen == 0).all(dim=0)
        scale = seen[:, ~dropped] / target[:, ~dropped]
        assert torch.allclose(scale, scale.mean(), rtol=1e-3)
        shares.append(1 - 1 / float(scale.mean()))
        assert float(dropped.float().mean()) == pytest.approx(shares[-1], abs=0.08)
    assert 0 <= min(shares) < max(shares) <= 2 * ob.DROPPED  # each crop has a share of its own


def test_blind_spots_hold_a_neighbour_and_alone_count() -> None:
    rows, columns = np.mgrid[:64, :72]
    objective = ob.BlindSpot(_store(np.stack([rows, columns, rows * 0], -1) / 128))
    batch = _draw(objective)
    where = batch.where[:, 0] > 0
    assert where.float().mean() == pytest.approx(ob.BLIND, abs=0.015)
    moved = ((batch.noisy - batch.target) * 128).round().permute(0, 2, 3, 1)
    assert (moved[~where] == 0).all()
    # Flips and rotations may exchange rows and columns; the distance stays, and it is never nothing.
    distance = moved[where][:, :2].abs()
    assert distance.max() == ob.REACH
    assert (distance.sum(dim=1) > 0).all()
    error = (batch.noisy - batch.target).square().permute(0, 2, 3, 1)
    expected = np.mean([float(error[i][where[i]].mean() + 1e-6) ** 0.5 for i in range(COUNT)])
    assert float(objective.loss(IDENTITY, batch)) == pytest.approx(expected, rel=1e-4)


def test_neighbours_thin_a_picture_into_pixels_that_touch() -> None:
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    picture = torch.stack([rows, columns]).float()[None]
    cells = torch.randint(0, 8, (1, SIZE // 2, SIZE // 2), generator=torch.Generator().manual_seed(0))
    one, other = ob._thinned(picture, cells)
    assert one.shape == other.shape == (1, 2, SIZE // 2, SIZE // 2)
    cell = torch.stack([rows[::2, ::2], columns[::2, ::2]])[None] // 2
    assert torch.equal(one.long() // 2, cell) and torch.equal(other.long() // 2, cell)
    assert ((one - other).abs().sum(dim=1) == 1).all(), "pixels of a pair share an edge"
    drawn = {
        (*a, *b) for a, b in zip((one % 2)[0].flatten(1).T.tolist(), (other % 2)[0].flatten(1).T.tolist(), strict=True)
    }
    assert len(drawn) == 8


def test_neighbours_loss_of_a_network_that_does_nothing() -> None:
    # Then f(g1) - g2 is g1 - g2, and the second term vanishes.
    objective = ob.Neighbours(_store(noisy(waves(0))))
    batch = _draw(objective)
    one, other = ob._thinned(batch.noisy, batch.cells)
    expected = ((one - other).square().mean(dim=(1, 2, 3)) / 2 + 1e-6).sqrt().mean()
    assert float(objective.loss(IDENTITY, batch)) == pytest.approx(float(expected), rel=1e-4)


def test_gray_pictures_get_gray_noise_without_being_asked() -> None:
    objective = ob.Synthetic(_store(waves(0)[..., :1]), parse_mixture(["gaussian:25"]), 0.0, 0.0)
    batch = _draw(objective)
    assert torch.equal(batch.noisy[:, 0], batch.noisy[:, 2])
    assert (batch.noisy - batch.target).std() == pytest.approx(25 / 255, rel=0.05)


def test_batches_can_be_shared() -> None:
    for objective in (ob.BlindSpot(_store(waves(0))), ob.Neighbours(_store(waves(0)))):
        batch = _draw(objective)
        part = batch.part(slice(1, 3))
        assert len(part.noisy) == len(part.cells) == 2
        assert torch.equal(part.where, batch.where[1:3])


def test_only_the_right_part_of_the_loss_is_counted() -> None:
    error = torch.zeros(2, 3, 4, 4)
    error[0, :, 0, 0] = 2.0
    where = torch.zeros(2, 1, 4, 4)
    where[:, :, 0] = 1.0
    # One pixel in four of the first crop: sqrt(4 / 4) = 1; the second is right.
    assert float(ob.root_mean_square(error, where)) == pytest.approx(0.5, abs=1e-3)
    assert float(ob.root_mean_square(error)) == pytest.approx(0.25, abs=1e-3)
