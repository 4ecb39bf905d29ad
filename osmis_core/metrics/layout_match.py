"""Is a sample's layout new, or the source's under one of the training augmentations?

The source's mask is searched over flips and affine maps within the augmentations' ranges for the
best foreground IoU with the sample's mask. A set that only moves, flips and scales the source can't
call itself novel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import IGNORE
from osmis_core.metrics.masks import U8

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

NOVEL_BELOW_IOU = 0.8
COARSE_LONGEST_PX = 64
FINE_LONGEST_PX = 128

MAX_SHIFT = 0.25
"""Integer translation of at most 12.5 % and one σ of the fractional one (0.125), of the side."""
MAX_LOG2_SCALE = 0.4
MAX_LOG2_ANISOTROPY = 0.2
MAX_ROTATION_RAD = float(np.deg2rad(20))

LIMITS = np.array([MAX_SHIFT, MAX_SHIFT, MAX_LOG2_SCALE, MAX_LOG2_ANISOTROPY, MAX_ROTATION_RAD])
"""Bounds of (shift down, shift right, log₂ scale, log₂ anisotropy, rotation)."""
GRID_STEPS = (7, 7, 5, 3, 5)
COARSE_STARTS = 24
FINE_STARTS = 3
LIBRARY_PARTS = 64
SEARCH_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Match:
    """The nearest that the source's mask comes to a sample's.

    Attributes:
        iou: best foreground IoU found.
        flip_x: mirrored left to right.
        flip_y: mirrored top to bottom.
        parameters: shift down, shift right (of the side), log₂ scale, log₂ anisotropy, rotation
            (radians).
    """

    iou: float
    flip_x: bool
    flip_y: bool
    parameters: tuple[float, ...]

    @property
    def is_novel(self) -> bool:
        """No map within the ranges explains the sample."""
        return self.iou < NOVEL_BELOW_IOU


class LayoutMatcher:
    """Finds the map of the source's mask that comes nearest to a sample's mask.

    A coarse grid of all flips, shifts, scales and rotations is rendered once per source and small;
    the best starts are then refined by a pattern search with halving steps, on points of the masks
    at their own resolution: shrinking a bicycle's frame would cost a perfect match a third.

    Args:
        source_HW: the source's class indices, 255 = ignored (counts as background).
    """

    def __init__(self, source_HW: U8) -> None:
        labelled_HW = np.where(source_HW == IGNORE, 0, source_HW).astype(np.uint8)
        self._coarse = _frame(labelled_HW.shape, COARSE_LONGEST_PX)
        self._fine = _frame(labelled_HW.shape, FINE_LONGEST_PX)
        self._flips = [
            (flip_x, flip_y, np.ascontiguousarray(_flipped(labelled_HW, flip_x, flip_y)))
            for flip_x, flip_y in product((False, True), repeat=2)
        ]
        axes = [np.linspace(-b, b, n) for b, n in zip(LIMITS, GRID_STEPS, strict=True)]
        self._grid_GD = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
        # pixels first: a sample's few foreground pixels then select whole rows
        self._library = [
            np.concatenate(
                [
                    # a few hundred maps at a time stay in the processor's cache
                    warp(flipped, part_GD, self._coarse).T
                    for part_GD in np.array_split(self._grid_GD, LIBRARY_PARTS)
                ],
                axis=1,
            )
            for *_, flipped in self._flips
        ]

    def match(self, mask_HW: U8) -> Match:
        """The best match of one sample's mask, any size with the source's aspect ratio."""
        untouched = np.zeros((1, len(LIMITS)))
        coarse_P = warp(mask_HW, untouched, self._coarse)[0]
        fine_P = warp(mask_HW, untouched, self._fine)[0]
        starts = []
        for number, library_PG in enumerate(self._library):
            iou_G = _iou_with_all(library_PG, coarse_P)
            places = np.argsort(-iou_G, kind="stable")[:COARSE_STARTS]
            starts += [(float(iou_G[place]), number, int(place)) for place in places]
        starts.sort(reverse=True)
        step_D = LIMITS / (np.array(GRID_STEPS) - 1)
        near = [
            self._search(coarse_P, self._coarse, number, self._grid_GD[place], step_D)
            for _, number, place in starts[:COARSE_STARTS]
        ]
        near.sort(key=lambda found: -found[0])
        best = max(
            (
                self._search(fine_P, self._fine, number, start_D, step_D / 4)
                for _, number, start_D in near[:FINE_STARTS]
            ),
            key=lambda found: found[0],
        )
        iou, number, parameters_D = best
        flip_x, flip_y, _ = self._flips[number]
        return Match(
            iou=iou,
            flip_x=flip_x,
            flip_y=flip_y,
            parameters=tuple(float(p) for p in parameters_D),
        )

    def _search(
        self, sample_P: U8, frame: tuple[int, int], number: int, start_D: F64, step_D: F64
    ) -> tuple[float, int, F64]:
        """Pattern search from one start; returns IoU, flip number and parameters."""
        source_HW = self._flips[number][2]
        best_D, iou = start_D, -1.0
        for _ in range(SEARCH_ROUNDS):
            improved = True
            while improved:
                moves = np.vstack([np.diag(step_D), -np.diag(step_D), np.zeros_like(step_D)])
                trials = np.clip(best_D + moves, -LIMITS, LIMITS)
                iou_T = _iou_with_all(warp(source_HW, trials, frame).T, sample_P)
                top = int(np.argmax(iou_T))
                improved = bool(iou_T[top] > iou)
                if improved:
                    best_D, iou = trials[top], float(iou_T[top])
            step_D = step_D / 2
        return iou, number, best_D


def novelty(mask_HW: U8, source_HW: U8) -> float:
    """Best foreground IoU of the source's mask with a sample's; below 0.8 the layout is new.

    For many samples of one source keep a ``LayoutMatcher``.
    """
    return LayoutMatcher(source_HW).match(mask_HW).iou


def novel_share(masks: Sequence[U8], source_HW: U8) -> float:
    """Share of the samples whose layout no augmentation of the source explains.

    Raises:
        ValueError: no masks.
    """
    if not masks:
        raise ValueError("Novelty needs at least one mask.")
    matcher = LayoutMatcher(source_HW)
    return float(np.mean([matcher.match(mask).is_novel for mask in masks]))


def warp(source_HW: U8, parameters_TD: F64, frame: tuple[int, int]) -> U8:
    """Maps a mask by many affine transforms about its centre, reflected at the border.

    Args:
        source_HW: class indices.
        parameters_TD: rows of (shift down, shift right, log₂ scale, log₂ anisotropy, rotation).
        frame: rows and columns of the points to read, spread evenly over the picture.

    Returns:
        (T, rows · columns) class indices, nearest neighbour.
    """
    height, width = source_HW.shape
    wide = parameters_TD.astype(np.float32).T
    down, right, log_scale, log_aniso, angle = (p[:, None] for p in wide)
    y, x = np.mgrid[0 : frame[0], 0 : frame[1]].reshape(2, 1, -1).astype(np.float32) + 0.5
    y = y * np.float32(height / frame[0]) - height / 2 - down * height
    x = x * np.float32(width / frame[1]) - width / 2 - right * width
    cos, sin = np.cos(angle), np.sin(angle)
    # the inverse map: undo the shift, the rotation, then the scales
    source_x = (cos * x + sin * y) / np.exp2(log_scale + log_aniso / 2) + width / 2
    source_y = (cos * y - sin * x) / np.exp2(log_scale - log_aniso / 2) + height / 2
    places = _reflected(source_y, height) * width + _reflected(source_x, width)
    warped: U8 = np.take(source_HW.ravel(), places)
    return warped


def _frame(shape: tuple[int, ...], longest_px: int) -> tuple[int, int]:
    ratio = min(1.0, longest_px / max(shape))
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))


def _reflected(position: F32, size: int) -> I32:
    """Pixel index of a continuous coordinate, mirrored about the frame's edges."""
    period = np.float32(2 * size)
    shifted = position + np.float32(size)
    # float32 modulo by hand: np.mod calls fmod one number at a time
    folded = np.abs(shifted - period * np.floor(shifted / period) - np.float32(size))
    index: I32 = np.minimum(folded.astype(np.int32), size - 1)
    return index


def _flipped(mask_HW: U8, flip_x: bool, flip_y: bool) -> U8:
    return mask_HW[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _iou_with_all(candidates_PT: U8, sample_P: U8) -> F64:
    """Foreground IoU of one mask with each column of ``candidates_PT``."""
    foreground_P = sample_P > 0
    inside_FT = candidates_PT[foreground_P]
    agree_T = (inside_FT == sample_P[foreground_P][:, None]).sum(0)
    area_T = (candidates_PT > 0).sum(0)
    union_T = area_T + foreground_P.sum() - (inside_FT > 0).sum(0)
    return np.where(union_T > 0, agree_T / np.maximum(union_T, 1), 1.0).astype(np.float64)
