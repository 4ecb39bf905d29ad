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
from osmis_core.augment.inpainting import inpaint
from osmis_core.models.straight_through import argmax_one_hot

SUPERSAMPLING = 2
SMALLEST_OBJECT = 5e-4
CUT_AT_BORDER_PX = 1
TRIES = 12
HALO_PX = 3
HALO_SHARE = 0.1
"""Around objects: light and shadow that belong to them and not to the background. In pixels, or as
a share of the object's size where that is more. An object takes its halo along, fading out."""
KEPT_APART = 0.5
"""Moved objects stand this far apart, in fractions of their fading halo: what touches fuses."""
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
        overlap: share of an object that may cover others, beyond which the move is redrawn.
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
    overlap: float = 0.02
    mirrored: float = 0.0
    zoom_log2: float = 0.3


@dataclass(frozen=True)
class _Object:
    """A component cut out of the source with its halo.

    Attributes:
        colour_CHW: premultiplied by ``blend_1HW``.
        classes_KHW: premultiplied by ``alpha_1HW``.
        alpha_1HW: 1 on the object.
        blend_1HW: 1 on the object, fading to 0 over its halo.
        top: row of the box in the frame.
        left: column of the box in the frame.
        box_share: the object's own box over the frame's area.
        is_cut: the frame cuts the object off.
    """

    colour_CHW: Tensor
    classes_KHW: Tensor
    alpha_1HW: Tensor
    blend_1HW: Tensor
    top: int
    left: int
    box_share: float
    is_cut: bool


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
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        smallest = SMALLEST_OBJECT * labels.size
        labels_HW = torch.from_numpy(labels)
        parts = [labels_HW == i for i in range(1, count + 1) if areas[i] >= smallest]
        self.objects = [_cut_out(image_CHW, mask_KHW, part_HW) for part_HW in parts]
        hole_HW = _grow(foreground_HW, HALO_PX)
        for part_HW in parts:
            hole_HW |= _grow(part_HW, _halo_px(part_HW))
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
        placements: list[tuple[bool, int, _Object]] = []
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
        thing: _Object,
        canvas: tuple[Tensor, Tensor, Tensor],
        rng: np.random.Generator,
        size_log2: float | None,
    ) -> None:
        """Puts an object on the canvas, in its place or, of about this size, where there is room.

        One that would cover more than a little of the others everywhere is left out.
        """
        if size_log2 is None:
            _composite(thing, canvas, thing.top, thing.left)
            return
        posed = _pose(
            thing,
            2 ** float(rng.normal(size_log2, self.options.scale_std_log2)),
            math.radians(float(rng.normal(0, self.options.turn_std_degrees))),
            mirrored=rng.random() < self.options.mirrored,
        )
        height, width = posed.alpha_1HW.shape[1:]
        hidden_h = height * (1 - self.options.visible)
        hidden_w = width * (1 - self.options.visible)
        for _ in range(TRIES):
            top = thing.top + rng.normal(0, self.options.vertical_std) * self.height
            top = float(np.clip(top, -hidden_h, self.height - height + hidden_h))
            left = rng.uniform(-hidden_w, max(self.width - width + hidden_w, -hidden_w + 1))
            if _covered(posed, canvas[2], round(top), round(left)) <= self.options.overlap:
                _composite(posed, canvas, round(top), round(left))
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


def hard_mask(shares_KHW: Tensor) -> Tensor:
    """One-hot of each pixel's largest class; all-zero where most of the pixel is ignored."""
    hard_KHW = argmax_one_hot(shares_KHW[None])[0]
    return hard_KHW * (shares_KHW.sum(0, keepdim=True) > 0.5)


def _room_log2(thing: _Object, copies: int) -> float:
    """Mean size change, log2: what fills the frame shrinks, so that it can move, or be two."""
    return min(0.0, 0.5 * math.log2(ROOMY_SHARE / (copies * thing.box_share)))


def _cut_out(image_CHW: Tensor, mask_KHW: Tensor, part_HW: Tensor) -> _Object:
    rows, columns = part_HW.any(1).nonzero()[:, 0], part_HW.any(0).nonzero()[:, 0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    height, width = part_HW.shape
    margin = CUT_AT_BORDER_PX
    is_cut = min(top, left) < margin or bottom > height - margin or right > width - margin
    halo_px = _halo_px(part_HW)
    others_HW = (mask_KHW[1:].sum(0) > 0) & ~part_HW
    blend_HW = torch.where(part_HW, 1.0, _fade(part_HW, halo_px) * ~_grow(others_HW, 1))
    box_share = (bottom - top) * (right - left) / (height * width)
    top, left = max(top - halo_px, 0), max(left - halo_px, 0)
    window = (slice(None), slice(top, bottom + halo_px), slice(left, right + halo_px))
    alpha_1HW, blend_1HW = part_HW[None].float()[window], blend_HW[None][window]
    return _Object(
        image_CHW[window] * blend_1HW,
        mask_KHW[window] * alpha_1HW,
        alpha_1HW,
        blend_1HW,
        top,
        left,
        box_share,
        is_cut,
    )


def _halo_px(part_HW: Tensor) -> int:
    """Width of an object's halo."""
    return max(HALO_PX, round(HALO_SHARE * math.sqrt(float(part_HW.sum()))))


def _grow(part_HW: Tensor, radius_px: int) -> Tensor:
    """Dilated by a square, rows before columns."""
    side = 2 * radius_px + 1
    tall_11HW = F.max_pool2d(part_HW[None, None].float(), (side, 1), 1, (radius_px, 0))
    return F.max_pool2d(tall_11HW, (1, side), 1, (0, radius_px))[0, 0] > 0


def _fade(part_HW: Tensor, halo_px: int) -> Tensor:
    """From 1 on the part to 0 at the end of its halo."""
    fade_HW, grown_HW = torch.zeros(part_HW.shape), part_HW
    for _ in range(1, halo_px):
        grown_HW = _grow(grown_HW, 1)
        fade_HW += grown_HW
    return fade_HW / (halo_px - 1)


def _pose(thing: _Object, scale: float, angle: float, *, mirrored: bool) -> _Object:
    """The object scaled, turned and mirrored, in a box that holds it; its centre stays."""
    height, width = thing.alpha_1HW.shape[1:]
    cos, sin = math.cos(angle), math.sin(angle)
    out_h = max(2, math.ceil(scale * (height * abs(cos) + width * abs(sin))))
    out_w = max(2, math.ceil(scale * (width * abs(cos) + height * abs(sin))))
    sign = -1.0 if mirrored else 1.0
    sampling = torch.tensor(
        [
            [sign * cos * out_w / (scale * width), sign * sin * out_h / (scale * width), 0.0],
            [-sin * out_w / (scale * height), cos * out_h / (scale * height), 0.0],
        ]
    )
    planes = (thing.colour_CHW, thing.classes_KHW, thing.alpha_1HW, thing.blend_1HW)
    stacked = torch.cat(planes)[None]
    grid_HW2 = affine_grid(sampling, out_h, out_w)
    moved = F.grid_sample(stacked, grid_HW2[None], align_corners=False)[0]
    top = thing.top + (height - out_h) // 2
    left = thing.left + (width - out_w) // 2
    return _Object(
        moved[:3],
        moved[3:-2],
        moved[-2:-1],
        moved[-1:],
        top,
        left,
        thing.box_share,
        thing.is_cut,
    )


def affine_grid(sampling_23: Tensor, height: int, width: int) -> Tensor:
    """``F.affine_grid`` of centres: as sums of a row and a column, ten times as fast."""
    x_W1 = ((2 * torch.arange(width) + 1) / width - 1)[:, None]
    y_H11 = ((2 * torch.arange(height) + 1) / height - 1)[:, None, None]
    return x_W1 * sampling_23[:, 0] + (y_H11 * sampling_23[:, 1] + sampling_23[:, 2])


def _overlap(
    thing: _Object, canvas_HW: Tensor, top: int, left: int
) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of the canvas, and of the object, where they meet."""
    h, w = thing.alpha_1HW.shape[1:]
    height, width = canvas_HW.shape
    y0, y1, x0, x1 = max(top, 0), min(top + h, height), max(left, 0), min(left + w, width)
    if y0 >= y1 or x0 >= x1:
        return None
    return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def _covered(thing: _Object, taken_HW: Tensor, top: int, left: int) -> float:
    """Share of the object, the inner half of its halo included, that would cover others."""
    meet = _overlap(thing, taken_HW, top, left)
    if meet is None:
        return 1.0
    rows, columns, own_rows, own_columns = meet
    alpha_HW = (thing.blend_1HW[0, own_rows, own_columns] > KEPT_APART).float()
    area = float(thing.alpha_1HW.sum().clamp_min(1.0))
    return float((alpha_HW * taken_HW[rows, columns]).sum()) / area


def _composite(thing: _Object, canvas: tuple[Tensor, Tensor, Tensor], top: int, left: int) -> None:
    image_CHW, mask_KHW, taken_HW = canvas
    meet = _overlap(thing, taken_HW, top, left)
    if meet is None:
        return
    rows, columns, own_rows, own_columns = meet
    alpha = thing.alpha_1HW[:, own_rows, own_columns]
    # the halo falls on the background only, not on what is there already
    free = 1 - taken_HW[rows, columns]
    whole = thing.blend_1HW[:, own_rows, own_columns]
    blend = torch.maximum(alpha, whole * free)
    colour = thing.colour_CHW[:, own_rows, own_columns]
    image_CHW[:, rows, columns] *= 1 - blend
    image_CHW[:, rows, columns] += colour / whole.clamp_min(1e-3) * blend
    mask_KHW[:, rows, columns] *= 1 - alpha
    mask_KHW[:, rows, columns] += thing.classes_KHW[:, own_rows, own_columns]
    taken_HW[rows, columns] = torch.maximum(taken_HW[rows, columns], alpha[0])
