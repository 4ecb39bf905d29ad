"""A rival: the source's objects, cut out and pasted elsewhere on its own filled-in background.

Objects are the connected components of the foreground, as in the layout views that ``projected``
trains on, at the source's full size. They are drawn with replacement, scaled, turned and mirrored
as the augmented reference is, and put anywhere, seldom on one another. What the frame cuts off
only moves along the frame or out of it: a straight edge inside a picture would give it away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import max_pool2d

from bench.quality.setup import U8
from osmis_core.augment.components import connected_components
from osmis_core.augment.cut_out import overlap
from osmis_core.augment.inpainting import inpaint
from osmis_core.data.pair import IGNORE, Pair
from osmis_core.refinement import RefinementOptions, Refiner
from osmis_core.refinement.features import resize

SMALLEST_SHARE = 5e-4
"""Components below this share of the image are specks and taken for background."""
HOLE_MARGIN_PX = 4
"""Shadows and rims around objects, filled in with them."""
FILLED_SHORT_PX = 96
"""Short side at which the background is filled in."""
BOX_MARGIN_PX = 3
"""Kept around a cut-out, so that resampling mixes in what surrounds it and not black."""
TRIES = 12
OVERLAP = 0.02
"""Share of an object that may lie on others; where that fails ``TRIES`` times it is left out."""
HIDDEN = 0.25
"""Share of an object's box that may lie outside the frame."""
TURN_DEGREES = 20.0

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Object:
    """A component in its box, anywhere in the frame.

    Attributes:
        image_HWC: uint8, what surrounds it included.
        mask_HW: classes, 0 where it isn't.
        alpha_HW: 1 on the object, soft at its rim where it was resampled.
        top: row of the box.
        left: column of the box.
        cuts: whether it lies on the frame's top, bottom, left and right edge.
    """

    image_HWC: U8
    mask_HW: U8
    alpha_HW: F32
    top: int
    left: int
    cuts: tuple[bool, bool, bool, bool]


def copy_paste_samples(pair: Pair, seed: int, count: int) -> Iterator[tuple[U8, U8]]:
    """Rearrangements of the source's objects; sample i is a function of (seed, i) alone.

    Args:
        pair: the source.
        seed: of all draws.
        count: how many.

    Yields:
        uint8 image (H, W, 3) and classes (H, W), at the source's size.

    Raises:
        ValueError: the foreground is empty, or specks.
    """
    objects, foreground_HW = _cut_out(pair)
    if not objects:
        raise ValueError("There is no object to paste.")
    background_HWC = _background(pair, foreground_HW, seed)
    empty_HW = np.where(foreground_HW, 0, pair.mask_HW).astype(np.uint8)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        image_HWC, mask_HW = background_HWC.copy(), empty_HW.copy()
        taken_HW = np.zeros(mask_HW.shape, dtype=bool)
        for index in rng.choice(len(objects), _how_many(len(objects), rng)):
            _paste(_posed(objects[index], rng), (image_HWC, mask_HW, taken_HW), rng)
        yield image_HWC, mask_HW


def _how_many(objects: int, rng: np.random.Generator) -> int:
    """Between half and one and a half times as many as there are; a single one or two of it."""
    return max(1, round(objects * rng.uniform(0.5, 1.5)))


def _cut_out(pair: Pair) -> tuple[list[_Object], npt.NDArray[np.bool_]]:
    """The objects, and where there is any foreground at all."""
    mask_HW = pair.mask_HW
    foreground_HW = (mask_HW > 0) & (mask_HW != IGNORE)
    labels_HW, count = connected_components(foreground_HW)
    objects = []
    for label in range(1, count + 1):
        part_HW = labels_HW == label
        if part_HW.sum() < SMALLEST_SHARE * part_HW.size:
            continue
        rows, columns = part_HW.any(1).nonzero()[0], part_HW.any(0).nonzero()[0]
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        cuts = (top == 0, bottom == pair.height, left == 0, right == pair.width)
        top, left = max(top - BOX_MARGIN_PX, 0), max(left - BOX_MARGIN_PX, 0)
        box = slice(top, bottom + BOX_MARGIN_PX), slice(left, right + BOX_MARGIN_PX)
        objects.append(
            _Object(
                pair.image_HWC[box],
                np.where(part_HW, mask_HW, 0)[box].astype(np.uint8),
                part_HW[box].astype(np.float32),
                int(top),
                int(left),
                cuts,
            )
        )
    return objects, foreground_HW


def _background(pair: Pair, foreground_HW: npt.NDArray[np.bool_], seed: int) -> U8:
    """The source without its objects: filled in small, brought to its size by refinement.

    Filling in at full size takes minutes, and enlarging what was filled in blurs it.
    """
    native = (pair.height, pair.width)
    ratio = min(1.0, FILLED_SHORT_PX / min(native))
    small = (round(pair.height * ratio), round(pair.width * ratio))
    side = 2 * HOLE_MARGIN_PX + 1
    hole_11HW = torch.from_numpy(foreground_HW)[None, None].float()
    hole_HW = max_pool2d(hole_11HW, side, 1, HOLE_MARGIN_PX)[0, 0].numpy() > 0
    small_hole_HW = resize(hole_HW[..., None].astype(np.float32), *small)[..., 0] > 0
    small_HWC = resize(pair.image_HWC.astype(np.float32) / 127.5 - 1, *small)
    filled_CHW = inpaint(
        torch.from_numpy(small_HWC).permute(2, 0, 1),
        torch.from_numpy(small_hole_HW),
        torch.Generator().manual_seed(seed),
    )
    no_object_HWK = np.zeros((*small, pair.class_count), dtype=np.float32)
    no_object_HWK[..., 0] = 1
    source = (pair.image_HWC, pair.mask_HW, pair.class_count)
    refiner = Refiner(*source, small, native, RefinementOptions(threads=1))
    filled = refiner.refine(filled_CHW.permute(1, 2, 0).numpy(), no_object_HWK, seed=seed)
    background_HWC: U8 = np.where(hole_HW[..., None], filled.image_HWC, pair.image_HWC)
    return background_HWC


def _posed(thing: _Object, rng: np.random.Generator) -> _Object:
    """Mirrored, scaled (σ 0.2, log₂) and turned (±20°); one on the frame stays as it is."""
    scale = 2 ** float(np.clip(rng.normal(0, 0.2), -0.4, 0.4))
    angle, mirrored = float(rng.uniform(-TURN_DEGREES, TURN_DEGREES)), bool(rng.random() < 0.5)
    if any(thing.cuts):
        return thing
    height, width = thing.mask_HW.shape
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    soft, hard = Image.Resampling.BICUBIC, Image.Resampling.NEAREST

    def moved(array: npt.NDArray[np.uint8], way: Image.Resampling) -> U8:
        turned = Image.fromarray(array[:, ::-1] if mirrored else array).resize(size, way)
        return np.asarray(turned.rotate(angle, way, expand=True))

    mask_HW = moved(thing.mask_HW, hard)
    alpha_HW = (moved((thing.alpha_HW * 255).astype(np.uint8), soft) / 255).astype(np.float32)
    top = thing.top + (height - mask_HW.shape[0]) // 2
    left = thing.left + (width - mask_HW.shape[1]) // 2
    return _Object(moved(thing.image_HWC, soft), mask_HW, alpha_HW, top, left, thing.cuts)


def _paste(
    thing: _Object, canvas: tuple[U8, U8, npt.NDArray[np.bool_]], rng: np.random.Generator
) -> None:
    """Puts an object where there is room; its classes go exactly where its pixels dominate."""
    image_HWC, mask_HW, taken_HW = canvas
    is_own_HW = (thing.mask_HW > 0) & (thing.alpha_HW >= 0.5)
    area = max(1, int(is_own_HW.sum()))
    for _ in range(TRIES):
        top, left = _somewhere(thing, mask_HW.shape, rng)
        meet = overlap(thing.mask_HW.shape, mask_HW.shape, top, left)
        if meet is None:
            continue
        inside, own = meet[:2], meet[2:]
        if (taken_HW[inside] & is_own_HW[own]).sum() > OVERLAP * area:
            continue
        # colours fade over the rim outside, and on the object they are its own alone
        blend_HW1 = np.where(is_own_HW, 1, thing.alpha_HW)[own][..., None]
        mixed = blend_HW1 * thing.image_HWC[own] + (1 - blend_HW1) * image_HWC[inside]
        image_HWC[inside] = np.rint(mixed).astype(np.uint8)
        mask_HW[inside][is_own_HW[own]] = thing.mask_HW[own][is_own_HW[own]]
        taken_HW[inside] |= is_own_HW[own]
        return


def _somewhere(thing: _Object, frame: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of the box; what lies on an edge of the frame stays on it or goes out."""
    place = []
    ends = ((thing.top, thing.cuts[0], thing.cuts[1]), (thing.left, thing.cuts[2], thing.cuts[3]))
    for axis, (start, cuts_low, cuts_high) in enumerate(ends):
        length = thing.mask_HW.shape[axis]
        hidden = round(HIDDEN * length)
        low, high = -hidden, frame[axis] - length + hidden
        low, high = (start, high) if cuts_high else (low, high)
        low, high = (low, min(start, high)) if cuts_low else (low, high)
        place.append(int(rng.integers(min(low, high), max(low, high) + 1)))
    return place[0], place[1]
