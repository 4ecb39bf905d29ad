"""Views of the one source pair in which its objects stand elsewhere.

A single layout teaches a generator a single layout. Here the objects of the source (connected
components of its foreground) are moved, scaled, turned, doubled or taken away on the source's
own background, filled in where they stood; then the whole is mirrored and cropped. The
discriminator of ``projected`` sees such views as real, so varied layouts are what it asks for.
View i is a function of (seed, i) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.augment.components import connected_components
from osmis_core.augment.cut_out import (
    HALO_PX,
    CutOut,
    composite,
    cut_out,
    grow,
    halo_px,
    is_free,
    pose,
    zone_of,
)
from osmis_core.augment.inpainting import inpaint
from osmis_core.masks import hard_mask

SUPERSAMPLING = 2
SMALLEST_OBJECT = 5e-4
FRAGMENT_PX = 8
"""What is smaller than an object and no further than this from one belongs to it, at
``SUPERSAMPLING`` times the training size: the spokes of a wheel."""
GAP_PX = 2
"""Between a moved object and others, at training size: what touches in views is learned as one."""
TRIES = 40
ROOMY_SHARE = 0.45
"""Objects whose box covers more of the frame than this are shown smaller than they are."""


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How far views go from the source.

    Attributes:
        rearranged: share of views whose objects are moved at all.
        moved: the largest probability, drawn anew for each such view, that an object is moved.
        removed: probability that it is taken away (one object always stays).
        doubled: probability that it appears once more.
        doubled_large: the same for one that fills the frame: moved alone it stays an affine map
            of the source, two of them are a new layout.
        vertical_std: of vertical moves, in image heights; horizontal ones go anywhere.
        scale_std_log2: of an object's size, log2.
        turn_std_degrees: of an object's rotation.
        visible: share of an object's box that must stay inside the frame.
        mirrored: probability that an object, or the whole view, is mirrored.
        zoom_log2: the largest crop, log2 of its magnification.
    """

    rearranged: float = 0.9
    moved: float = 0.9
    removed: float = 0.12
    doubled: float = 0.15
    doubled_large: float = 0.3
    vertical_std: float = 0.15
    scale_std_log2: float = 0.3
    turn_std_degrees: float = 8.0
    visible: float = 0.85
    mirrored: float = 0.0
    zoom_log2: float = 0.3


class LayoutViews:
    """Draws views of one pair.

    Args:
        image_CHW: the source in [−1, 1] at ``SUPERSAMPLING`` times the training size.
        mask_KHW: its one-hot mask (all-zero where ignored), background first.
        options: how far views go.
        seed: with a view's index, its only source of randomness.
    """

    def __init__(
        self, image_CHW: Tensor, mask_KHW: Tensor, options: ViewOptions, seed: int
    ) -> None:
        self.options = options
        self.seed = seed
        self.height, self.width = image_CHW.shape[1:]
        foreground_HW = mask_KHW[1:].sum(0) > 0
        labels, count = connected_components(foreground_HW.numpy())
        parts = _objects(torch.from_numpy(labels), count)
        self.objects = [cut_out(image_CHW, mask_KHW, part_HW) for part_HW in parts]
        hole_HW = grow(foreground_HW, HALO_PX)
        for part_HW in parts:
            hole_HW |= grow(part_HW, halo_px(part_HW))
        rng = torch.Generator().manual_seed(seed)
        self.background_CHW = inpaint(image_CHW, hole_HW, rng)
        self.background_KHW = mask_KHW.clone()
        self.background_KHW[1:] = 0
        self.background_KHW[0] = torch.where(foreground_HW, 1.0, mask_KHW[0])
        self.source = (image_CHW, mask_KHW)

    def draw(self, index: int) -> tuple[Tensor, Tensor]:
        """View ``index`` at training size.

        Returns:
            The image (3, H, W) in [−1, 1] and the one-hot mask (K, H, W).
        """
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, 7, index])))
        if self.objects and rng.random() < self.options.rearranged:
            image_CHW, mask_KHW = self._rearrange(rng)
        else:
            image_CHW, mask_KHW = self.source
        return self._frame(image_CHW, mask_KHW, rng)

    def _rearrange(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        image_CHW, mask_KHW = self.background_CHW.clone(), self.background_KHW.clone()
        taken_HW = torch.zeros(self.height, self.width)
        order = rng.permutation(len(self.objects))
        move_probability = self.options.moved * max(rng.random(), 1 / len(self.objects))
        placements: list[tuple[bool, int, CutOut]] = []
        for rank, i in enumerate(order):
            thing = self.objects[i]
            is_large = _room_log2(thing, copies=1) < 0
            doubled = self.options.doubled_large if is_large else self.options.doubled
            copies = 1 + int(rng.random() < doubled and not thing.is_cut)
            if rng.random() >= self.options.removed or rank == len(order) - 1:
                moved = rng.random() < move_probability and not thing.is_cut
                moved |= copies > 1 and _room_log2(thing, copies) < 0
                placements.append((moved, copies, thing))
            if copies > 1:
                placements.append((True, copies, thing))
        # what stays is placed first, so that what moves can find room beside it
        for moved, copies, thing in sorted(placements, key=lambda placement: placement[0]):
            size_log2 = _room_log2(thing, copies) if moved else None
            self._place(thing, (image_CHW, mask_KHW, taken_HW), rng, size_log2)
        if not mask_KHW[1:].any():
            return self.source
        return image_CHW, mask_KHW

    def _place(
        self,
        thing: CutOut,
        canvas: tuple[Tensor, Tensor, Tensor],
        rng: np.random.Generator,
        size_log2: float | None,
    ) -> None:
        """Puts an object on the canvas, in its place or, of about this size, where there is room.

        One that finds none is left out.
        """
        if size_log2 is None:
            composite(thing, canvas, thing.top, thing.left)
            return
        posed = pose(
            thing,
            2 ** float(rng.normal(size_log2, self.options.scale_std_log2)),
            math.radians(float(rng.normal(0, self.options.turn_std_degrees))),
            mirrored=rng.random() < self.options.mirrored,
        )
        height, width = posed.alpha_1HW.shape[1:]
        gap = GAP_PX * SUPERSAMPLING
        zone_HW = zone_of(posed, gap)
        taken_HW = (canvas[2] > 0.5).numpy()
        hidden_h = height * (1 - self.options.visible)
        hidden_w = width * (1 - self.options.visible)
        for _ in range(TRIES):
            top = thing.top + rng.normal(0, self.options.vertical_std) * self.height
            top = min(max(top, -hidden_h), self.height - height + hidden_h)
            left = rng.uniform(-hidden_w, max(self.width - width + hidden_w, -hidden_w + 1))
            if is_free(zone_HW, taken_HW, round(top) - gap, round(left) - gap):
                composite(posed, canvas, round(top), round(left))
                return

    def _frame(
        self, image_CHW: Tensor, mask_KHW: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mirrors, crops and brings to training size; nothing outside the frame is invented."""
        if rng.random() < self.options.mirrored:
            image_CHW, mask_KHW = image_CHW.flip(2), mask_KHW.flip(2)
        share = 2 ** -rng.uniform(0, self.options.zoom_log2)
        height, width = round(self.height * share), round(self.width * share)
        top = int(rng.integers(0, self.height - height + 1))
        left = int(rng.integers(0, self.width - width + 1))
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        size = (self.height // SUPERSAMPLING, self.width // SUPERSAMPLING)
        image = F.interpolate(image_CHW[window][None], size=size, mode="bilinear", antialias=True)
        shares = F.interpolate(mask_KHW[window][None], size=size, mode="area")[0]
        return image[0], hard_mask(shares)


def _objects(labels_HW: Tensor, count: int) -> list[Tensor]:
    """Which pixels are each object's: the larger components, with the fragments around them."""
    areas = torch.bincount(labels_HW.flatten(), minlength=count + 1)
    is_fragment = areas < SMALLEST_OBJECT * labels_HW.numel()
    is_fragment[0] = False
    fragments_HW = torch.where(is_fragment[labels_HW], labels_HW, 0)
    parts = []
    for i in range(1, count + 1):
        if is_fragment[i]:
            continue
        part_HW = labels_HW == i
        near = torch.unique(fragments_HW[grow(part_HW, FRAGMENT_PX)])
        near_HW = torch.isin(fragments_HW, near[near > 0])
        fragments_HW = torch.where(near_HW, 0, fragments_HW)
        parts.append(part_HW | near_HW)
    return parts


def _room_log2(thing: CutOut, copies: int) -> float:
    """Mean size change, log2: what fills the frame shrinks, so that it can move, or be two."""
    return min(0.0, 0.5 * math.log2(ROOMY_SHARE / (copies * thing.box_share)))
