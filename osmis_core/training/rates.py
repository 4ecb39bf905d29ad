"""Learning rates over a training: the discriminator's rises at first, both fall at the end."""

from __future__ import annotations

from osmis_core.training.config import TrainingConfig

WARM_UP_FROM = 0.25
DECAY_TO = 0.05


def learning_rates(config: TrainingConfig, step: int, rate: float) -> tuple[float, float]:
    """The generator's and the discriminator's for one step.

    Args:
        config: ``discriminator_warm_up`` and ``rate_decay_share`` say how.
        step: the step, from 0.
        rate: the generator's at its height.
    """
    rate *= _decay(config, step)
    return rate, rate * _warm_up(config, step)


def _warm_up(config: TrainingConfig, step: int) -> float:
    """From a quarter to 1, linearly.

    Frozen features tell generated pictures from real ones from the first step on, and a
    discriminator that is sure of all of them teaches nothing.
    """
    if step >= config.discriminator_warm_up:
        return 1.0
    return WARM_UP_FROM + (1 - WARM_UP_FROM) * step / config.discriminator_warm_up


def _decay(config: TrainingConfig, step: int) -> float:
    """1, then linearly to a twentieth at the last planned step; 1 until there is a plan."""
    if config.steps is None or not config.rate_decay_share:
        return 1.0
    left_share = (config.steps - step) / config.steps
    return max(DECAY_TO, min(1.0, left_share / config.rate_decay_share))
