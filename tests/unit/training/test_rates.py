from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from osmis_core.data.pair import Pair
from osmis_core.training.config import TrainingConfig
from osmis_core.training.rates import learning_rates
from osmis_core.training.step import Optimisation

MakeConfig = Callable[..., TrainingConfig]


def test_the_discriminator_warms_up_and_both_fall_at_the_end(make_config: MakeConfig) -> None:
    config = make_config("projected", 2000)
    assert (config.discriminator_warm_up, config.rate_decay_share) == (400, 0.3)
    expected = {0: (1, 0.25), 200: (1, 0.625), 400: (1, 1), 1400: (1, 1), 1700: (0.5, 0.5)}
    for step, rates in expected.items():
        assert learning_rates(config, step, 1.0) == pytest.approx(rates), step
    assert learning_rates(config, 1999, 1.0) == (0.05, 0.05)
    assert learning_rates(config, 1700, 0.1) == pytest.approx((0.05, 0.05))


def test_until_there_is_a_plan_nothing_falls(make_config: MakeConfig) -> None:
    config = replace(make_config("projected", 2000), steps=None)
    assert learning_rates(config, 10**6, 1.0) == (1.0, 1.0)


def test_the_published_method_keeps_its_rate(make_config: MakeConfig) -> None:
    config = make_config("osmis", 100)
    assert {learning_rates(config, step, 2e-4) for step in range(100)} == {(2e-4, 2e-4)}


def test_a_step_is_taken_at_its_rates(scene: Pair, make_config: MakeConfig) -> None:
    config = make_config("projected", 4, discriminator_warm_up=2)
    optimisation = Optimisation(scene, config, torch.device("cpu"))
    networks = optimisation.networks
    networks.learning_rate = 1e-3
    for step in (0, 3):
        optimisation.run(step)
        adams = (networks.adam_generator, networks.adam_discriminator)
        taken = tuple(group["lr"] for adam in adams for group in adam.param_groups)
        assert taken == learning_rates(config, step, 1e-3)
