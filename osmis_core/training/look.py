"""A look at a training's samples: how near to the real pairs they are, and how varied.

Both figures are taken on what the discriminator's frozen network sees, and relative to the views
that it is shown as real: no view is like the others either.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.augment.views import LayoutViews
from osmis_core.models.generator import Generator, draw_latents
from osmis_core.training.collapse import LATENT_SEED
from osmis_core.training.config import TrainingConfig
from osmis_core.training.real_pairs import Perceive

SAMPLES = 24
VIEWS = 48
FIRST_VIEW = 2_000_000
"""Views from here on are none that a training or a screen has seen."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What samples were like.

    Attributes:
        step: after which.
        distance: of a sample's mean and standard deviation of every channel over all places from
            the views' (the diagonal part of SIFID's Fréchet distance), as a multiple of a view's:
            up to 1 as near as views.
        diversity: mean squared distance of two samples' unit vectors of features, place by place
            (LPIPS without its weights), as a multiple of two views'.
    """

    step: int
    distance: float
    diversity: float

    @property
    def merit(self) -> float:
        """What counts: a tenth of one is worth a tenth of the other, and no more than views'."""
        return min(self.diversity, 1.0) / max(self.distance, 1.0)


class Onlooker:
    """Looks at samples of the averaged generator.

    Args:
        perceive: the discriminator's, features of images, finest first.
        views: of the source.
        config: of the training.
        device: of the networks.
    """

    def __init__(
        self, perceive: Perceive, views: LayoutViews, config: TrainingConfig, device: torch.device
    ) -> None:
        self._perceive_images = perceive
        self._config = config
        self._device = device
        images = [views.draw(FIRST_VIEW + i)[0] for i in range(VIEWS)]
        seen = self._perceive(torch.split(torch.stack(images).to(device), config.batch_size))
        self._typical = [tuple(part.mean(0) for part in _statistics(f)) for f in seen]
        self._view_distance = [
            float(_distance(f, typical)) for f, typical in zip(seen, self._typical, strict=True)
        ]
        self._view_spread = [_spread(f) for f in seen]

    @torch.no_grad()
    def look(self, average: Generator, step: int) -> Look:
        """Samples of this generator."""
        batch = self._config.batch_size
        latents = draw_latents(self._config.generator, LATENT_SEED, range(SAMPLES))
        made = [average(z.to(self._device)).images_BCHW[-1] for z in torch.split(latents, batch)]
        seen = self._perceive(made)
        distances = [_distance(f, t) for f, t in zip(seen, self._typical, strict=True)]
        return Look(
            step=step,
            distance=_relative(distances, self._view_distance),
            diversity=_relative([_spread(f) for f in seen], self._view_spread),
        )

    @torch.no_grad()
    def _perceive(self, batches: tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
        """All but the finest features, which refinement replaces."""
        seen = [self._perceive_images([images])[1:] for images in batches]
        return [torch.cat(maps).float() for maps in zip(*seen, strict=True)]


def _statistics(features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    return features_BCHW.mean((2, 3)), features_BCHW.std((2, 3))


def _distance(features_BCHW: Tensor, typical: tuple[Tensor, ...]) -> float:
    parts = zip(_statistics(features_BCHW), typical, strict=True)
    return float(sum((own_BC - t_C).square().sum(1).mean() for own_BC, t_C in parts))


def _spread(features_BCHW: Tensor) -> float:
    """Mean over all pairs and places; of unit vectors Σ|u − v|² over pairs is n Σ|u − ū|²."""
    unit_BCHW = F.normalize(features_BCHW, dim=1)
    count = unit_BCHW.shape[0]
    around_mean = (unit_BCHW - unit_BCHW.mean(0)).square().sum((0, 1)).mean()
    return float(2 * around_mean / (count - 1))


def _relative(values: list[float], references: list[float]) -> float:
    ratios = [v / max(r, 1e-12) for v, r in zip(values, references, strict=True)]
    return sum(ratios) / len(ratios)
