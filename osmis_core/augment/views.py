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

SUPERSAMPLING = 2
SMALLEST_OBJECT = 5e-4
CUT_AT_BORDER_PX = 1
TRIES = 12
HALO_PX = 3
"""Around objects: light and shadow that belong to them and not to the background."""
ROOMY_SHARE = 0.4
"""Objects whose box covers more of the frame than this are shown smaller than they are."""


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How far views go from the source.

    Attributes:
        rearranged: share of views whose objects are moved at all.
        moved: the largest probability, drawn anew for each such view, that an object is moved.
        removed: probability that it is taken away (one object always stays).
        doubled: probability that it appears once more.
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
    vertical_std: float = 0.15
    scale_std_log2: float = 0.3
    turn_std_degrees: float = 8.0
    visible: float = 0.7
    overlap: float = 0.02
    mirrored: float = 0.0
    zoom_log2: float = 0.3


@dataclass(frozen=True)
class _Object:
    """A component cut out of the source: premultiplied colour and classes, and its alpha."""

    colour_CHW: Tensor
    classes_KHW: Tensor
    alpha_1HW: Tensor
    top: int
    left: int
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
        self.objects = [
            _cut_out(image_CHW, mask_KHW, labels_HW == i)
            for i in range(1, count + 1)
            if areas[i] >= smallest
        ]
        margin = 2 * HALO_PX + 1
        hole_HW = F.max_pool2d(foreground_HW[None, None].float(), margin, 1, HALO_PX)[0, 0] > 0
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
        placements: list[tuple[bool, _Object]] = []
        for rank, i in enumerate(order):
            thing = self.objects[i]
            if rng.random() >= self.options.removed or rank == len(order) - 1:
                moved = rng.random() < move_probability and not thing.is_cut
                placements.append((moved, thing))
            if rng.random() < self.options.doubled and not thing.is_cut:
                placements.append((True, thing))
        # what stays is placed first, so that what moves can find room beside it
        for moved, thing in sorted(placements, key=lambda placement: placement[0]):
            self._place(thing, (image_CHW, mask_KHW, taken_HW), rng, moved=moved)
        if not mask_KHW[1:].any():
            return self.source
        return image_CHW, mask_KHW

    def _place(
        self,
        thing: _Object,
        canvas: tuple[Tensor, Tensor, Tensor],
        rng: np.random.Generator,
        *,
        moved: bool,
    ) -> None:
        """Puts an object on the canvas; a moved one only where it covers little of the others."""
        if not moved:
            _composite(thing, canvas, thing.top, thing.left)
            return
        posed = _pose(
            thing,
            2 ** float(rng.normal(self._room_log2(thing), self.options.scale_std_log2)),
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

    def _room_log2(self, thing: _Object) -> float:
        """Mean size change, log2: an object that fills the frame shrinks, so that it can move."""
        box_share = thing.alpha_1HW.numel() / (self.height * self.width)
        return min(0.0, 0.5 * math.log2(ROOMY_SHARE / box_share))

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
        hard = F.one_hot(shares.argmax(0), shares.shape[0]).permute(2, 0, 1).float()
        return image[0], hard * (shares.sum(0, keepdim=True) > 0.5)


def _cut_out(image_CHW: Tensor, mask_KHW: Tensor, part_HW: Tensor) -> _Object:
    rows, columns = part_HW.any(1).nonzero()[:, 0], part_HW.any(0).nonzero()[:, 0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    height, width = part_HW.shape
    window = (slice(None), slice(top, bottom), slice(left, right))
    alpha_1HW = part_HW[None].float()[window]
    margin = CUT_AT_BORDER_PX
    is_cut = min(top, left) < margin or bottom > height - margin or right > width - margin
    return _Object(
        image_CHW[window] * alpha_1HW,
        mask_KHW[window] * alpha_1HW,
        alpha_1HW,
        top,
        left,
        is_cut,
    )


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
    stacked = torch.cat((thing.colour_CHW, thing.classes_KHW, thing.alpha_1HW))[None]
    grid = F.affine_grid(sampling[None], [1, 1, out_h, out_w], align_corners=False)
    moved = F.grid_sample(stacked, grid, align_corners=False)[0]
    top = thing.top + (height - out_h) // 2
    left = thing.left + (width - out_w) // 2
    return _Object(moved[:3], moved[3:-1], moved[-1:], top, left, thing.is_cut)


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
    """Share of the object that would cover others already placed."""
    meet = _overlap(thing, taken_HW, top, left)
    if meet is None:
        return 1.0
    rows, columns, own_rows, own_columns = meet
    alpha_HW = thing.alpha_1HW[0, own_rows, own_columns]
    area = float(thing.alpha_1HW.sum().clamp_min(1.0))
    return float((alpha_HW * taken_HW[rows, columns]).sum()) / area


def _composite(thing: _Object, canvas: tuple[Tensor, Tensor, Tensor], top: int, left: int) -> None:
    image_CHW, mask_KHW, taken_HW = canvas
    meet = _overlap(thing, taken_HW, top, left)
    if meet is None:
        return
    rows, columns, own_rows, own_columns = meet
    alpha = thing.alpha_1HW[:, own_rows, own_columns]
    for target, layer in ((image_CHW, thing.colour_CHW), (mask_KHW, thing.classes_KHW)):
        target[:, rows, columns] = target[:, rows, columns] * (1 - alpha)
        target[:, rows, columns] += layer[:, own_rows, own_columns]
    taken_HW[rows, columns] = torch.maximum(taken_HW[rows, columns], alpha[0])
