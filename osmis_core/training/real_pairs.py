"""What the discriminator is shown as real: the source, or views of it, on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.augment.differentiable import (
    AugmentationDraw,
    AugmentationOptions,
    augment_images,
    augment_mask,
    draw,
)
from osmis_core.augment.views import SUPERSAMPLING, LayoutViews, ViewOptions
from osmis_core.data.pair import Pair
from osmis_core.data.size_plan import SizePlan, resize_pair
from osmis_core.layout_overlap import layout_overlap
from osmis_core.masks import hard_mask
from osmis_core.training.seeds import stream

POOL_SIZE = 160
COMPARED_VIEWS = 64
FIRST_COMPARED_VIEW = 3_000_000
"""Views from here on tell what layouts of views have in common."""
REAL_STREAM = 3
FRESH_EVERY_STEPS = 5


@dataclass(frozen=True)
class ChosenPairs:
    """A real batch, as far as it is decided on the host.

    Attributes:
        mask_BKHW: the masks; on the CPU until it is handed over.
        drawn: how the source's image is augmented, for ``SourcePairs``.
        features: what the frozen network saw, for ``ViewPairs``.
    """

    mask_BKHW: Tensor
    drawn: AugmentationDraw | None = None
    features: list[Tensor] = field(default_factory=list)


class RealPairs(Protocol):
    """A source of real batches: what ``perceive`` makes of images, and the masks."""

    def choose(self, step: int) -> ChosenPairs:
        """The batch for one step; a function of the seed and the step."""

    def show(self, chosen: ChosenPairs) -> list[Tensor]:
        """What ``perceive`` makes of its images; the same work for every batch."""

    def layout_overlap(self) -> float:
        """Mean over pairs of real pairs of their masks' foreground IoU, in [0, 1]."""


Perceive = Callable[[list[Tensor]], list[Tensor]]


def source_tensors(pair: Pair, size: SizePlan, supersampling: int = 1) -> tuple[Tensor, Tensor]:
    """The pair in the train frame: image (3, H, W) in [−1, 1], one-hot mask (K, H, W).

    Ignored pixels are all-zero in the mask. What surrounds the content is its reflection.
    """
    height, width = size.content_h * supersampling, size.content_w * supersampling
    image_HWC, shares_HWK = resize_pair(pair, height, width)
    image = torch.from_numpy(image_HWC).permute(2, 0, 1)
    shares = torch.from_numpy(shares_HWK).permute(2, 0, 1)
    hard = hard_mask(shares)
    top, left = size.top * supersampling, size.left * supersampling
    rows = np.pad(
        np.arange(height), (top, size.train_h * supersampling - height - top), mode="reflect"
    )
    columns = np.pad(
        np.arange(width), (left, size.train_w * supersampling - width - left), mode="reflect"
    )
    window = (slice(None), torch.from_numpy(rows)[:, None], torch.from_numpy(columns)[None])
    return image[window].contiguous(), hard[window].contiguous()


def image_pyramid(image_BCHW: Tensor, levels: int) -> list[Tensor]:
    """The image at 1/2^(levels−1) … 1, coarsest first, averaged over areas."""
    return [
        F.avg_pool2d(image_BCHW, 2**level) if level else image_BCHW
        for level in reversed(range(levels))
    ]


class SourcePairs:
    """The source itself, augmented anew at every step (``osmis``)."""

    def __init__(
        self,
        source: tuple[Tensor, Tensor],
        batch_size: int,
        levels: int,
        augmentation: AugmentationOptions,
        seed: int,
        device: torch.device,
        *,
        same_shapes: bool = False,
    ) -> None:
        self.image_BCHW = source[0].to(device).expand(batch_size, -1, -1, -1)
        self.mask_BKHW = source[1].expand(batch_size, -1, -1, -1)
        self.levels = levels
        self.augmentation = augmentation
        self.seed = seed
        self.same_shapes = same_shapes

    def choose(self, step: int) -> ChosenPairs:
        """How the source is augmented."""
        rng = stream(self.seed, REAL_STREAM, step)
        sizes = _sizes(self.image_BCHW)
        drawn = draw(self.augmentation, *sizes, rng, same_shapes=self.same_shapes)
        mask_BKHW = augment_mask(self.mask_BKHW, drawn)
        return ChosenPairs(mask_BKHW.contiguous(), drawn=drawn)

    def show(self, chosen: ChosenPairs) -> list[Tensor]:
        """The augmented source at every scale."""
        assert chosen.drawn is not None
        image_BCHW = augment_images([self.image_BCHW], chosen.drawn)[0]
        return image_pyramid(image_BCHW, self.levels)

    def layout_overlap(self) -> float:
        """As if it were one layout, though augmentation moves it: nothing needs to be apart."""
        return 1.0


class ViewPairs:
    """Views of the source, kept as what the frozen network saw (``projected``).

    The frozen features of a view never change, so a pool of views is kept with theirs. At step t
    it holds the last ``POOL_SIZE`` of the views 0 … (initial + t / 5 · B): a function of the step,
    so that a resumed training sees the same batches. Views pass the network in groups of B that
    are a function of their index: the last bits of a convolution can depend on the batch.
    """

    def __init__(
        self,
        pair: Pair,
        size: SizePlan,
        *,
        batch_size: int,
        perceive: Perceive,
        seed: int,
        options: ViewOptions | None = None,
    ) -> None:
        image_CHW, mask_KHW = source_tensors(pair, size, SUPERSAMPLING)
        self.views = LayoutViews(image_CHW, mask_KHW, options or ViewOptions(), seed)
        self.batch_size = batch_size
        self.perceive = perceive
        self.seed = seed
        self.pool: dict[int, tuple[list[Tensor], Tensor]] = {}

    def choose(self, step: int) -> ChosenPairs:
        """Features and masks of views drawn from the pool without repetition."""
        newest = POOL_SIZE // 4 + (step // FRESH_EVERY_STEPS) * self.batch_size
        oldest = max(0, newest - POOL_SIZE)
        self._fill(range(oldest, newest))
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, 11, step])))
        chosen = [
            self._view(oldest + int(i))
            for i in rng.choice(newest - oldest, self.batch_size, replace=False)
        ]
        maps_of_scales = zip(*(maps for maps, _ in chosen), strict=True)
        features = [torch.stack(maps).permute(0, 3, 1, 2) for maps in maps_of_scales]
        return ChosenPairs(torch.stack([mask for _, mask in chosen]), features=features)

    def show(self, chosen: ChosenPairs) -> list[Tensor]:
        """The features."""
        return chosen.features

    def layout_overlap(self) -> float:
        """Of views that are not trained on; a function of the seed."""
        wanted = range(FIRST_COMPARED_VIEW, FIRST_COMPARED_VIEW + COMPARED_VIEWS)
        return float(layout_overlap(torch.stack([self.views.draw(i)[1] for i in wanted])))

    def _view(self, index: int) -> tuple[list[Tensor], Tensor]:
        features_BHWC, mask_BKHW = self.pool[index // self.batch_size]
        row = index % self.batch_size
        return [f[row] for f in features_BHWC], mask_BKHW[row]

    @torch.no_grad()
    def _fill(self, wanted: range) -> None:
        groups = range(wanted.start // self.batch_size, (wanted.stop - 1) // self.batch_size + 1)
        for gone in self.pool.keys() - set(groups):
            del self.pool[gone]
        for group in groups:
            if group in self.pool:
                continue
            first = group * self.batch_size
            drawn = [self.views.draw(i) for i in range(first, first + self.batch_size)]
            features = self.perceive([torch.stack([image for image, _ in drawn])])
            mask_BKHW = torch.stack([mask for _, mask in drawn])
            # channels last, so that stacking rows leaves them so
            self.pool[group] = ([f.permute(0, 2, 3, 1).contiguous() for f in features], mask_BKHW)


def _sizes(image_BCHW: Tensor) -> tuple[int, int, int]:
    batch, _, height, width = image_BCHW.shape
    return batch, height, width
