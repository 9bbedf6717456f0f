"""Which models state how uncertain their estimate is."""

from __future__ import annotations

from denoiser import models, weights
from denoiser.errors import UsageError
from denoiser.models.needs import Needs


def check_model(name_or_path: str) -> None:
    """Refuse a weights file whose network states no uncertainty, from its card alone.

    Raises
    ------
    UsageError
        As :func:`check`.
    UnavailableError
        If there is no such model, or its card cannot be read.
    """
    card = weights.read_card(weights.resolve(name_or_path))
    check(_needs(card), name_or_path)


def check(needs: Needs, name: str) -> None:
    """Refuse a network that states no uncertainty.

    Raises
    ------
    UsageError
        It names the models and architectures that do.
    """
    if needs.states_uncertainty:
        return
    able = [
        bundled for bundled, path in weights.bundled().items() if _needs(weights.read_card(path)).states_uncertainty
    ]
    architectures = [name for name in models.ARCHITECTURES if models.build(name).needs.states_uncertainty]
    use = f"use {' or '.join(able)}, or train a model" if able else "no bundled one does: train a model"
    raise UsageError(
        f"model {name} does not state how uncertain its estimate is; {use} with --arch {' or '.join(architectures)}"
    )


def _needs(card: weights.Card) -> Needs:
    return models.build(card.architecture, card.config).needs
