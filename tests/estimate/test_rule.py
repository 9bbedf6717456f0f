"""The traits of a picture, and the rule that weighs them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from denoiser.estimate import estimate, few
from denoiser.estimate.advice import OTHER, WORDS
from denoiser.estimate.rule import Rule, Term, rules
from denoiser.estimate.sample import LEAST, PIXELS, SHARE
from denoiser.estimate.traits import deviations
from denoiser.noise import NumpyRandom, parse

FLAT = np.full((256, 256, 3), 0.5, np.float32)


def traits(noise: str, clean: NDArray[np.float32] = FLAT) -> dict[str, float]:
    values = parse(noise).apply(clean[None], NumpyRandom(np.random.default_rng(3)))[0]
    picture = np.asarray(np.rint(values.clip(0, 1) * 255) / 255, np.float32)
    return dict(estimate([picture], clips=True, step=1 / 255).traits)


@pytest.mark.parametrize("sigma", [8, 20])
def test_traits_of_white_noise(sigma: int) -> None:
    found = traits(f"gaussian:{sigma}")
    assert found["level"] == pytest.approx(2 * np.log(sigma / 255), abs=0.05)
    assert found["fineness"] == pytest.approx(0, abs=0.05)
    assert found["rolloff"] == pytest.approx(1, abs=0.07)
    assert found["colourfulness"] == pytest.approx(np.log(3), abs=0.05)  # luma is a mean of three
    assert found["shared_middle"] == pytest.approx(0, abs=0.05)
    assert found["shared_fine"] == pytest.approx(0, abs=0.05)
    assert found["sparseness"] == pytest.approx(np.log(3), abs=0.05)  # the kurtosis of normal numbers is 3


def test_traits_of_other_noise() -> None:
    assert traits("correlated:sigma=10,length=0.7")["fineness"] < -1
    assert traits("gaussian:10+jpeg:80")["sparseness"] > 1.5
    gray = parse("gaussian:10").apply(FLAT[None, :, :, :1], NumpyRandom(np.random.default_rng(0)))[0]
    shared = np.repeat(gray, 3, axis=2) + np.random.default_rng(1).normal(0, 2 / 255, FLAT.shape)
    found = estimate([np.asarray(shared, np.float32)], clips=False).traits
    assert found["shared_fine"] > 0.9 and found["colourfulness"] < -1


def test_one_property_is_enough_to_be_no_white_noise() -> None:
    white = traits("gaussian:10")["otherness"]
    assert white < -0.5
    gray = parse("gaussian:10").apply(FLAT[None, :, :, :1], NumpyRandom(np.random.default_rng(0)))[0]
    shared = np.repeat(gray, 3, axis=2) + np.random.default_rng(1).normal(0, 1 / 255, FLAT.shape)
    for other in (
        traits("correlated:sigma=10,length=0.6"),
        dict(estimate([np.asarray(shared, np.float32)], clips=False).traits),
    ):
        assert other["otherness"] > white + 2


def test_texture_is_what_quiet_parts_do_not_have() -> None:
    half = FLAT.copy()
    half[:, 128:] += np.random.default_rng(2).normal(0, 0.1, (256, 128, 3)).astype(np.float32)
    assert traits("gaussian:2", half)["texture"] > traits("gaussian:2")["texture"] + 2


def test_a_term_counts_no_further_than_its_limits() -> None:
    term = Term(low=-1, high=2, centre=0.5, weight=2)
    assert [term.of(value) for value in (-9, -1, 0.5, 1, 2, 9)] == [-3, -3, 0, 1, 3, 3]
    with pytest.raises(ValueError, match="does not lie between"):
        Term(low=0, high=1, centre=2, weight=1)


def test_a_rule_says_what_each_trait_adds() -> None:
    rule = Rule(0.5, {"a": Term(0, 1, 0.5, 4), "b": Term(0, 1, 0.5, -2)})
    assert rule.parts({"a": 1, "b": 1, "unknown": 7}) == {"a": 2, "b": -1}


def test_the_fitted_rules_weigh_exactly_the_traits_there_are_and_each_has_words() -> None:
    colour, gray = traits("gaussian:10"), traits("gaussian:10", FLAT[:, :, :1])
    assert {name: rule.terms.keys() for name, rule in rules().items()} == {
        "colour": colour.keys(),
        "gray": gray.keys(),
    }
    assert colour.keys() | gray.keys() == WORDS.keys() | {"otherness"}
    assert deviations(colour).keys() == OTHER.keys()


def test_few_pixels_are_a_share_within_limits() -> None:
    assert few(100, 100) == LEAST
    assert few(2000, 2000) == 4_000_000 // SHARE
    assert few(10_000, 10_000) == PIXELS
