"""Screening: which generated masks show objects of shapes that the source's objects have.

The latent space is connected, layouts are not: on the way from one to another a generator passes
through two objects that are one, or one that is going. Drawing such a sample costs milliseconds,
refining it costs a second, so every sample has candidates. Plausible are those whose objects all
look like objects of the views that the training was shown, and are neither too much nor too
little of the picture (docs/adr/0010).

How far a shape may be from the nearest is asked of the views themselves, size by size: coins of a
few pixels differ more from one another than large ones do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osmis_core.augment.components import I32, connected_components
from osmis_core.augment.views import SMALLEST_OBJECT, SUPERSAMPLING, LayoutViews, ViewOptions
from osmis_core.data.pair import U8, Pair
from osmis_core.data.size_plan import SizePlan
from osmis_core.metrics.masks import area_shares
from osmis_core.training.real_pairs import source_tensors

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

VIEWS = (60, 200)
OBJECTS = 1500
"""That a screen knows: views are drawn until there are so many, within the bounds above."""
FIRST_VIEW = 1_000_000
"""Views from here on are none that a training has seen."""
CELLS = 16
REACH = 1.6
"""From a silhouette's centre to its grid's edges, in square roots of the object's area."""
SUPERSAMPLED = 3
LIKE_SIZED = 300
"""Objects nearest in size that one is compared with."""
NEIGHBOURS = 3
SIZE_WEIGHT = 0.1
SIZE_TOLERANCE_LOG2 = 0.2
"""Beyond it every doubling of the area counts as a tenth of the shape."""
USUAL_SHARE = 0.98
"""Of the views' objects that are as near to others as an object may be far."""
MARGIN = 0.01
"""Added to distances: next to none is no more than twice as strange as none."""
PLAUSIBLE_SHARE = 0.95
"""Of the views that pass."""
AREA_SHARE = 0.96
AREA_TOLERANCE = 1.25
"""How far beyond the range of so many views' areas of a class a mask may go."""


@dataclass(frozen=True, eq=False)
class Silhouette:
    """An object of a mask, brought to unit size.

    Attributes:
        sides: which of the frame's sides it touches, in bits: top 1, left 2, bottom 4, right 8.
        area_px: its pixels.
        cells_C: share of each cell that each foreground class covers, (K − 1) · 16 · 16, around
            the object's centre.
    """

    sides: int
    area_px: int
    cells_C: F32


def silhouettes(mask_HW: U8, class_count: int) -> list[Silhouette]:
    """The objects of a mask: connected components of what is not background, specks left out.

    Args:
        mask_HW: class indices below ``class_count``.
        class_count: K, background included.
    """
    labels_HW, count = connected_components(mask_HW > 0)
    # the pixels of each, found in one pass
    order = np.argsort(labels_HW.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(labels_HW.ravel(), minlength=count + 1))
    found = []
    for label in range(1, count + 1):
        pixels = order[ends[label - 1] : ends[label]]
        if len(pixels) >= SMALLEST_OBJECT * mask_HW.size:
            y, x = np.divmod(pixels, mask_HW.shape[1])
            found.append(_silhouette(mask_HW, labels_HW, label, y, x, class_count))
    return found


def _silhouette(
    mask_HW: U8, labels_HW: I32, label: int, y: I64, x: I64, class_count: int
) -> Silhouette:
    """That of the component with this label, whose pixels are in rows y and columns x."""
    height, width = mask_HW.shape
    touches = (y.min() == 0, x.min() == 0, y.max() == height - 1, x.max() == width - 1)
    points = CELLS * SUPERSAMPLED
    offsets = (2 * np.arange(points) + 1 - points) / points * REACH * np.sqrt(len(y))
    rows, columns = (np.round(axis.mean() + offsets).astype(np.int64) for axis in (y, x))
    window = np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))
    is_inside = np.logical_and.outer(_within(rows, height), _within(columns, width))
    seen_PP = np.where((labels_HW[window] == label) & is_inside, mask_HW[window], 0)
    planes = seen_PP == np.arange(1, class_count)[:, None, None]
    blocks = planes.reshape(-1, CELLS, SUPERSAMPLED, CELLS, SUPERSAMPLED)
    return Silhouette(
        sides=sum(1 << bit for bit, touched in enumerate(touches) if touched),
        area_px=len(y),
        cells_C=blocks.mean((2, 4), dtype=np.float32).ravel(),
    )


def _within(places: I64, size: int) -> npt.NDArray[np.bool_]:
    return (places >= 0) & (places < size)


class ShapeScreen:
    """Tells how unlike the objects of known masks those of another are.

    Args:
        masks: class indices of plausible masks, all of one shape; at least two have objects.
        class_count: K, background included.
        shown: the objects of each mask, where they are known already.
    """

    def __init__(
        self,
        masks: Sequence[U8],
        class_count: int,
        shown: Sequence[list[Silhouette]] | None = None,
    ) -> None:
        self.class_count = class_count
        self._shape = masks[0].shape
        shares_NK = np.stack([area_shares(mask, class_count) for mask in masks])
        outside = (1 - AREA_SHARE) / 2
        self._smallest_K, self._largest_K = np.quantile(shares_NK, [outside, 1 - outside], axis=0)
        shown = shown or [silhouettes(mask, class_count) for mask in masks]
        found = [(i, s) for i, objects in enumerate(shown) for s in objects]
        self._mask_M = np.array([i for i, _ in found])
        known = [s for _, s in found]
        self._sides_M = np.array([s.sides for s in known])
        self._size_M = np.log2([s.area_px for s in known])
        self._cells_MC = np.stack([s.cells_C for s in known])
        self._filled_M = self._cells_MC.sum(1)
        # each against the other masks' objects
        nearest = [self._nearest(s, other_than=i) for i, s in found]
        distance_M = np.array([distance for distance, _, _ in nearest])
        self._usual_M = np.array(
            [np.quantile(distance_M[compared], USUAL_SHARE) for _, _, compared in nearest]
        )
        self._limit = 1.0
        strangeness_N = [
            self._strangest(nearest[j] for j in np.flatnonzero(self._mask_M == i))
            for i in range(len(masks))
        ]
        finite = [s for s in strangeness_N if np.isfinite(s)]
        self._limit = float(np.quantile(finite, PLAUSIBLE_SHARE))

    def strangeness(self, mask_HW: U8) -> float:
        """Of its strangest object or class area; up to 1 it is as plausible as known masks are.

        Infinite without any object.

        Args:
            mask_HW: class indices, of the known masks' shape.

        Raises:
            ValueError: another shape.
        """
        if mask_HW.shape != self._shape:
            raise ValueError(f"the known masks are {self._shape}, this is {mask_HW.shape}")
        shown = silhouettes(mask_HW, self.class_count)
        of_shapes = self._strangest(self._nearest(s) for s in shown)
        return max(of_shapes, self._strangeness_of_areas(mask_HW))

    def _strangeness_of_areas(self, mask_HW: U8) -> float:
        """How far the furthest class's area is out of range, as a multiple of what it may be.

        A class that is missing counts as half a pixel: which of two masks without it is stranger
        is then up to the rest.
        """
        share_K = np.maximum(area_shares(mask_HW, self.class_count), 0.5 / mask_HW.size)
        below_K = self._smallest_K / share_K
        above_K = share_K / np.maximum(self._largest_K, 1 / mask_HW.size)
        return float(max(below_K.max(), above_K.max())) / AREA_TOLERANCE

    def _strangest(self, nearest: Iterable[tuple[float, I64, I64]]) -> float:
        ratios = [
            (distance + MARGIN) / (float(np.median(self._usual_M[neighbours])) + MARGIN)
            for distance, neighbours, _ in nearest
        ]
        return max(ratios, default=np.inf) / self._limit

    def _nearest(self, shape: Silhouette, other_than: int = -1) -> tuple[float, I64, I64]:
        """Mean distance of the nearest known objects, which they are, and all it was compared with.

        An object that the frame cuts off is compared with such as are cut off alike.
        """
        is_other_M = self._mask_M != other_than
        is_alike_M = is_other_M & (self._sides_M == shape.sides)
        if is_alike_M.sum() < 2 * NEIGHBOURS:
            is_alike_M = is_other_M & ((self._sides_M > 0) == (shape.sides > 0))
        if is_alike_M.sum() < 2 * NEIGHBOURS:
            is_alike_M = is_other_M
        compared = np.flatnonzero(is_alike_M)
        growth = np.abs(self._size_M[compared] - np.log2(shape.area_px))
        if len(compared) > LIKE_SIZED:
            like_sized = np.argpartition(growth, LIKE_SIZED)[:LIKE_SIZED]
            compared, growth = compared[like_sized], growth[like_sized]
        unlike = np.abs(self._cells_MC[compared] - shape.cells_C).sum(1)
        distance = unlike / (self._filled_M[compared] + shape.cells_C.sum())
        distance += SIZE_WEIGHT * np.maximum(0, growth - SIZE_TOLERANCE_LOG2)
        order = np.argsort(distance, kind="stable")[:NEIGHBOURS]
        return float(distance[order].mean()), compared[order], compared


def screen_of(pair: Pair, size: SizePlan, seed: int) -> ShapeScreen | None:
    """A screen that knows views like those that a training with this seed is shown.

    None where they have hardly an object to compare with: all are too small for the training's
    size.

    Args:
        pair: the source, with objects.
        size: of the training.
        seed: of the training.
    """
    views = LayoutViews(*source_tensors(pair, size, SUPERSAMPLING), ViewOptions(), seed)
    rows = slice(size.top, size.top + size.content_h)
    columns = slice(size.left, size.left + size.content_w)
    masks: list[U8] = []
    shown: list[list[Silhouette]] = []
    while len(masks) < VIEWS[0] or (sum(map(len, shown)) < OBJECTS and len(masks) < VIEWS[1]):
        _, mask_KHW = views.draw(FIRST_VIEW + len(masks))
        masks.append(mask_KHW[:, rows, columns].argmax(0).numpy().astype(np.uint8))
        shown.append(silhouettes(masks[-1], pair.class_count))
    if sum(map(bool, shown)) < 2 * NEIGHBOURS:
        return None
    return ShapeScreen(masks, pair.class_count, shown)
