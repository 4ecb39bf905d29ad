from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from osmis_core.data.pair import Pair
from osmis_core.training.config import TrainingConfig
from osmis_core.training.look import SAMPLES, Look, Onlooker
from osmis_core.training.real_pairs import ViewPairs
from osmis_core.training.step import Optimisation

MakeConfig = Callable[..., TrainingConfig]


@dataclass
class _Shown:
    """A generator that gives these pictures, whatever is drawn."""

    images: list[Tensor]

    def __call__(self, latents: Tensor) -> _Shown:
        given, self.images = self.images[: len(latents)], self.images[len(latents) :]
        return _Shown([torch.stack(given)])

    @property
    def images_BCHW(self) -> list[Tensor]:  # noqa: N802
        return self.images


@pytest.fixture
def optimisation(scene: Pair, make_config: MakeConfig) -> Optimisation:
    return Optimisation(scene, make_config("projected", 20), torch.device("cpu"))


@pytest.fixture
def onlooker(optimisation: Optimisation) -> Onlooker:
    found = optimisation.onlooker()
    assert found is not None
    return found


@pytest.fixture
def views(optimisation: Optimisation) -> list[Tensor]:
    """Others than those that the onlooker knows."""
    assert isinstance(optimisation.real_pairs, ViewPairs)
    return [optimisation.real_pairs.views.draw(i)[0] for i in range(SAMPLES)]


def _look(onlooker: Onlooker, images: list[Tensor]) -> Look:
    return onlooker.look(_Shown(images), 5)  # type: ignore[arg-type]


def test_views_are_as_near_and_as_varied_as_views(onlooker: Onlooker, views: list[Tensor]) -> None:
    look = _look(onlooker, views)
    assert look.step == 5
    assert 0.4 < look.distance < 2
    assert look.diversity == pytest.approx(1, abs=0.25)


def test_noise_is_far_away_and_one_picture_is_not_varied(
    onlooker: Onlooker, views: list[Tensor]
) -> None:
    noisy = [image + 0.5 * torch.randn(image.shape) for image in views]
    assert _look(onlooker, noisy).distance > 3
    same = _look(onlooker, views[:1] * SAMPLES)
    assert same.diversity == pytest.approx(0, abs=1e-6)
    assert same.merit < 1e-6


def test_a_look_changes_nothing_and_repeats_itself(
    onlooker: Onlooker, optimisation: Optimisation
) -> None:
    average = optimisation.networks.average
    before = {name: value.clone() for name, value in average.state_dict().items()}
    assert onlooker.look(average, 1) == onlooker.look(average, 1)
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


def test_the_published_method_has_no_views_to_compare_with(
    scene: Pair, make_config: MakeConfig
) -> None:
    made = Optimisation(scene, make_config("osmis", 20), torch.device("cpu"))
    assert made.onlooker() is None
