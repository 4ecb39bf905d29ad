"""The size plan: at which size a pair is learned, and with how many blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from osmis_core.data.pair import IGNORE, Pair
from osmis_core.errors import PairError

F32 = npt.NDArray[np.float32]

MIN_SIDE_PX = 32
MAX_SIDE_PX = 1024
MAX_ASPECT = 4.0
ASPECT_TOLERANCE = 0.02
GRID_SIDES = range(2, 11)
BEST_GRID_SIDES = range(3, 8)
_FINEST_CELL_PX = 8

# Longest side up to (px) -> generator, discriminator, low-level blocks (OSMIS, section 4); the
# bounds lie between the sizes of the paper's table, the first row continues it downwards.
BLOCK_TABLE: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (44, (4, 5, 2)),
    (96, (5, 6, 2)),
    (160, (6, 7, 3)),
    (362, (7, 7, 3)),
    (896, (8, 7, 4)),
    (MAX_SIDE_PX, (9, 8, 4)),
)

# What a frame costs, in units of relative area or size: padding is wasted computation, a grid or a
# depth away from what is known to work risks quality. Fewer than 3 grid cells leave no layout.
_COST_PADDING = 1.0
_COST_SCALE = 1.0
_COST_ASPECT = 0.5
_COST_PER_BLOCK = 0.05
_COST_PER_CELL_BELOW = 0.10
_COST_PER_CELL_ABOVE = 0.03


@dataclass(frozen=True, kw_only=True)
class SizePlan:
    """Sizes in pixels, and block counts.

    Attributes:
        content_h: height that the source is resized to.
        content_w: width that the source is resized to.
        train_h: height of the train frame, ``grid_h * 2 ** (generator_blocks - 1)``.
        train_w: width of the train frame.
        top: row of the frame where the content begins; what surrounds it is its reflection.
        left: column of the frame where the content begins.
        grid_h: height of the latent grid.
        grid_w: width of the latent grid.
        generator_blocks: all but the first double the resolution.
        discriminator_blocks: every one halves the resolution; never below one pixel.
        low_level_blocks: how many of them belong to the low-level part.
    """

    content_h: int
    content_w: int
    train_h: int
    train_w: int
    top: int
    left: int
    grid_h: int
    grid_w: int
    generator_blocks: int
    discriminator_blocks: int
    low_level_blocks: int

    @property
    def is_padded(self) -> bool:
        """Whether the frame is larger than the content."""
        return (self.content_h, self.content_w) != (self.train_h, self.train_w)

    def pad(self, content_HWC: F32) -> F32:
        """Places content in the train frame, continued by reflection.

        Args:
            content_HWC: shape (content_h, content_w, C).

        Returns:
            Shape (train_h, train_w, C).
        """
        bottom = self.train_h - self.content_h - self.top
        right = self.train_w - self.content_w - self.left
        return np.pad(content_HWC, ((self.top, bottom), (self.left, right), (0, 0)), "reflect")

    def crop(self, frame_HWC: F32) -> F32:
        """Cuts the content out of a (train_h, train_w, C) frame: the inverse of ``pad``."""
        rows = slice(self.top, self.top + self.content_h)
        return frame_HWC[rows, self.left : self.left + self.content_w]

    def to_dict(self) -> dict[str, int]:
        """The plan as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SizePlan:
        """The inverse of ``to_dict``."""
        return cls(**values)


def blocks_for(longest_px: int) -> tuple[int, int, int]:
    """Generator, discriminator and low-level blocks for a frame's longest side in pixels."""
    for bound_px, blocks in BLOCK_TABLE:
        if longest_px <= bound_px:
            return blocks
    return BLOCK_TABLE[-1][1]


def plan_size(
    height: int, width: int, *, longest_px: int | None = None, shorter_px: int | None = None
) -> SizePlan:
    """Chooses content size, train frame and block counts for a source of any size.

    The source is never enlarged on purpose and its content keeps at least 32 pixels on the shorter
    side, even where ``longest_px`` asks for less (32 pixels at an aspect of 4:1 would leave 8).

    Args:
        height: source height in pixels.
        width: source width in pixels.
        longest_px: upper bound for the frame's longest side; 1024 where not given.
        shorter_px: wanted shorter side of the content.

    Returns:
        The plan; content and source differ in aspect by at most 2 %.

    Raises:
        PairError: ``too_small`` (shorter side under 32) or ``bad_aspect`` (beyond 4:1).
    """
    check_dimensions(height, width)
    shorter, longest = min(height, width), max(height, width)
    bound_px = max(MIN_SIDE_PX, min(longest_px or MAX_SIDE_PX, MAX_SIDE_PX))
    scale = min(1.0, bound_px / longest)
    if shorter_px is not None:
        scale = min(scale, shorter_px / shorter)
    scale = max(scale, MIN_SIDE_PX / shorter)
    # Where the shorter side's minimum overrides the bound, the frame needs room for whole cells.
    needed_px = round(longest * scale, 6)
    largest_frame_px = bound_px
    if needed_px > bound_px:
        largest_frame_px = _FINEST_CELL_PX * math.ceil(needed_px / _FINEST_CELL_PX)
    candidates = list(_candidates(height, width, scale, largest_frame_px))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def check_dimensions(height: int, width: int) -> None:
    """Refuses sizes that no plan covers.

    Raises:
        PairError: ``too_small`` or ``bad_aspect``.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise PairError(
            f"the image is {width}×{height} pixels; the shorter side must have at least "
            f"{MIN_SIDE_PX}",
            hint="Send the original rather than a thumbnail.",
            code="too_small",
        )
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise PairError(
            f"the image is {width}×{height} pixels, an aspect of "
            f"{max(height, width) / min(height, width):.1f}:1; up to {MAX_ASPECT:.0f}:1 works",
            hint="Crop the image and its mask to the part that matters, at most four times as long"
            " as it is wide.",
            code="bad_aspect",
        )


def _candidates(
    height: int, width: int, scale: float, largest_frame_px: int
) -> Iterator[tuple[tuple[float, int, int], SizePlan]]:
    """All frames within the bound, each with its cost; area and depth break ties."""
    for blocks in range(BLOCK_TABLE[0][1][0], BLOCK_TABLE[-1][1][0] + 1):
        step_px = 2 ** (blocks - 1)
        sides = [side for side in GRID_SIDES if MIN_SIDE_PX <= side * step_px <= largest_frame_px]
        for grid_h in sides:
            for grid_w in sides:
                frame_h, frame_w = grid_h * step_px, grid_w * step_px
                content_h, content_w = _fit(height, width, frame_h, frame_w)
                if min(content_h, content_w) < MIN_SIDE_PX // 2:
                    continue
                plan = _plan(content_h, content_w, grid_h, grid_w, blocks)
                cost = _cost(plan, height, width, scale)
                yield (round(cost, 9), frame_h * frame_w, blocks), plan


def _fit(height: int, width: int, frame_h: int, frame_w: int) -> tuple[int, int]:
    """The largest content inside a frame that keeps the aspect; the frame itself where it does."""
    if _aspect_error(frame_h, frame_w, height, width) <= ASPECT_TOLERANCE:
        return frame_h, frame_w
    if height > width:
        content_w, content_h = _fit(width, height, frame_w, frame_h)
        return content_h, content_w
    # The shorter side is rounded first: rounding the longer one then costs least in aspect.
    content_h = min(frame_h, int(frame_w * height / width))
    content_w = round(content_h * width / height)
    if content_w > frame_w:
        content_h -= 1
        content_w = round(content_h * width / height)
    return content_h, content_w


def _aspect_error(content_h: int, content_w: int, height: int, width: int) -> float:
    """Relative change of aspect, the same for a pair and its transpose."""
    ratio = (content_w * height) / (content_h * width)
    return max(ratio, 1.0 / ratio) - 1.0


def _cost(plan: SizePlan, height: int, width: int, scale: float) -> float:
    padding = 1.0 - (plan.content_h * plan.content_w) / (plan.train_h * plan.train_w)
    content_scale = math.sqrt(plan.content_h * plan.content_w / (height * width))
    blocks = blocks_for(max(plan.train_h, plan.train_w))[0]
    grid = (plan.grid_h, plan.grid_w)
    below = sum(max(0, BEST_GRID_SIDES.start - side) for side in grid)
    above = sum(max(0, side - BEST_GRID_SIDES.stop + 1) for side in grid)
    return (
        _COST_PADDING * padding
        + _COST_SCALE * abs(math.log(content_scale / scale))
        + _COST_ASPECT * _aspect_error(plan.content_h, plan.content_w, height, width)
        + _COST_PER_BLOCK * abs(plan.generator_blocks - blocks)
        + _COST_PER_CELL_BELOW * below
        + _COST_PER_CELL_ABOVE * above
    )


def _plan(content_h: int, content_w: int, grid_h: int, grid_w: int, blocks: int) -> SizePlan:
    step_px = 2 ** (blocks - 1)
    train_h, train_w = grid_h * step_px, grid_w * step_px
    _, discriminator_blocks, low_level_blocks = blocks_for(max(train_h, train_w))
    # Every block halves the map: the shorter side must survive all of them.
    discriminator_blocks = min(discriminator_blocks, int(math.log2(min(train_h, train_w))))
    return SizePlan(
        content_h=content_h,
        content_w=content_w,
        train_h=train_h,
        train_w=train_w,
        top=(train_h - content_h) // 2,
        left=(train_w - content_w) // 2,
        grid_h=grid_h,
        grid_w=grid_w,
        generator_blocks=blocks,
        discriminator_blocks=discriminator_blocks,
        low_level_blocks=min(low_level_blocks, discriminator_blocks - 1),
    )


def resize_pair(pair: Pair, height: int, width: int) -> tuple[F32, F32]:
    """Resizes image and mask for training.

    The mask becomes area fractions, so that objects thinner than a cell keep their share instead
    of vanishing between sampling points.

    Args:
        pair: the pair at its source size.
        height: target height in pixels.
        width: target width in pixels.

    Returns:
        image_HWC: float32 in [-1, 1], Lanczos.
        mask_HWK: float32, sums to 1 over K where most of the cell is labelled, else all-zero.
    """
    image = Image.fromarray(pair.image_HWC).resize((width, height), Image.Resampling.LANCZOS)
    image_HWC = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    rows_HN, columns_WN = _overlaps(height, pair.height), _overlaps(width, pair.width)
    shares_HWK = np.stack(
        [
            rows_HN @ (pair.mask_HW == index).astype(np.float32) @ columns_WN.T
            for index in range(pair.class_count)
        ],
        axis=-1,
    )
    ignored_HW = rows_HN @ (pair.mask_HW == IGNORE).astype(np.float32) @ columns_WN.T
    labelled_HW1 = 1.0 - ignored_HW[..., None]
    mask_HWK = np.where(labelled_HW1 >= 0.5, shares_HWK / np.maximum(labelled_HW1, 1e-6), 0.0)
    return image_HWC, mask_HWK.astype(np.float32)


def _overlaps(cells: int, pixels: int) -> F32:
    """Share of each cell that each pixel covers along one axis, shape (cells, pixels).

    Exact for any ratio; image libraries' box filters round their supports to whole pixels.
    """
    edges = np.arange(cells + 1) * (pixels / cells)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixel = np.arange(pixels)[None]
    covered = np.minimum(ends, pixel + 1) - np.maximum(starts, pixel)
    shares: F32 = (np.clip(covered, 0.0, None) * (cells / pixels)).astype(np.float32)
    return shares
