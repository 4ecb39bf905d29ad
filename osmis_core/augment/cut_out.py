"""An object cut out of the source with the light and shadow around it, and put elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Flags = npt.NDArray[np.bool_]

CUT_AT_BORDER_PX = 1
HALO_PX = 3
HALO_SHARE = 0.1
"""Around objects: light and shadow that belong to them and not to the background. In pixels, or as
a share of the object's size where that is more. An object takes its halo along, fading out."""


@dataclass(frozen=True)
class CutOut:
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


def cut_out(image_CHW: Tensor, mask_KHW: Tensor, part_HW: Tensor) -> CutOut:
    """One object of a pair.

    Args:
        image_CHW: the source's image.
        mask_KHW: its one-hot mask, background first.
        part_HW: which pixels are the object's.
    """
    rows, columns = part_HW.any(1).nonzero()[:, 0], part_HW.any(0).nonzero()[:, 0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    height, width = part_HW.shape
    margin = CUT_AT_BORDER_PX
    is_cut = min(top, left) < margin or bottom > height - margin or right > width - margin
    halo = halo_px(part_HW)
    others_HW = (mask_KHW[1:].sum(0) > 0) & ~part_HW
    blend_HW = torch.where(part_HW, 1.0, _fade(part_HW, halo) * ~grow(others_HW, 1))
    box_share = (bottom - top) * (right - left) / (height * width)
    top, left = max(top - halo, 0), max(left - halo, 0)
    window = (slice(None), slice(top, bottom + halo), slice(left, right + halo))
    alpha_1HW, blend_1HW = part_HW[None].float()[window], blend_HW[None][window]
    return CutOut(
        image_CHW[window] * blend_1HW,
        mask_KHW[window] * alpha_1HW,
        alpha_1HW,
        blend_1HW,
        top,
        left,
        box_share,
        is_cut,
    )


def halo_px(part_HW: Tensor) -> int:
    """Width of an object's halo."""
    return max(HALO_PX, round(HALO_SHARE * math.sqrt(float(part_HW.sum()))))


def grow(part_HW: Tensor, radius_px: int) -> Tensor:
    """Dilated by a square, rows before columns."""
    side = 2 * radius_px + 1
    tall_11HW = F.max_pool2d(part_HW[None, None].float(), (side, 1), 1, (radius_px, 0))
    return F.max_pool2d(tall_11HW, (1, side), 1, (0, radius_px))[0, 0] > 0


def _fade(part_HW: Tensor, width_px: int) -> Tensor:
    """From 1 on the part to 0 at the end of its halo."""
    fade_HW, grown_HW = torch.zeros(part_HW.shape), part_HW
    for _ in range(1, width_px):
        grown_HW = grow(grown_HW, 1)
        fade_HW += grown_HW
    return fade_HW / (width_px - 1)


def pose(thing: CutOut, scale: float, angle: float, *, mirrored: bool) -> CutOut:
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
    return CutOut(
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


def overlap(
    box_hw: tuple[int, ...], frame_hw: tuple[int, ...], top: int, left: int
) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of the frame, and of a box at this place, where they meet."""
    (h, w), (height, width) = box_hw, frame_hw
    y0, y1, x0, x1 = max(top, 0), min(top + h, height), max(left, 0), min(left + w, width)
    if y0 >= y1 or x0 >= x1:
        return None
    return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def zone_of(thing: CutOut, gap_px: int) -> Flags:
    """The object and what lies within ``gap_px`` of it, in its box grown by so much on each side.

    Returns:
        (h + 2 · gap, w + 2 · gap).
    """
    zone: Flags = grow(F.pad(thing.alpha_1HW[0] > 0.5, [gap_px] * 4), gap_px).numpy()
    return zone


def is_free(zone_HW: Flags, taken_HW: Flags, top: int, left: int) -> bool:
    """Whether a zone, its corner here, is in the frame and meets nothing that is there already.

    In numpy: for a few hundred pixels torch takes ten times as long, and this is asked often.
    """
    meet = overlap(zone_HW.shape, taken_HW.shape, top, left)
    if meet is None:
        return False
    rows, columns, own_rows, own_columns = meet
    return not (zone_HW[own_rows, own_columns] & taken_HW[rows, columns]).any()


def composite(thing: CutOut, canvas: tuple[Tensor, Tensor, Tensor], top: int, left: int) -> None:
    """Puts an object on a canvas of image, mask and what is taken already, where it meets it."""
    image_CHW, mask_KHW, taken_HW = canvas
    meet = overlap(thing.alpha_1HW.shape[1:], taken_HW.shape, top, left)
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
