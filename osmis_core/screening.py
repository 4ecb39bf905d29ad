"""Screening: which generated masks show objects of shapes that the source's objects have.

The latent space is connected, layouts are not: on the way from one to another a generator passes
through two objects that are one, or one that is going. Drawing such a sample costs milliseconds,
refining it costs a second, so every sample has candidates. Plausible are those whose objects all
look like objects of the views that the training was shown, and are neither too much nor too
little of the picture, with no more specks beside them than views have (docs/adr/0010).

How far a shape may be from the nearest is asked of the views themselves, size by size: coins of a
few pixels differ more from one another than large ones do. What the frame cuts off is compared
with what it cuts off in views, and with whole objects of views that are cut off in the same way:
views alone show too few of them to tell half a disc from two discs that are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from osmis_core.augment.views import SUPERSAMPLING, LayoutViews, ViewOptions
from osmis_core.data.pair import U8, Pair
from osmis_core.data.size_plan import SizePlan
from osmis_core.metrics.masks import area_shares
from osmis_core.silhouettes import Silhouette, cut_silhouettes, silhouettes
from osmis_core.training.real_pairs import source_tensors

I64 = npt.NDArray[np.int64]

VIEWS = (60, 200)
OBJECTS = 1500
"""That a screen knows: views are drawn until there are so many, within the bounds above."""
FIRST_VIEW = 1_000_000
"""Views from here on are none that a training has seen."""
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
        shown = shown or [list(silhouettes(mask, class_count)) for mask in masks]
        specks_N = [_specks_px(*both) for both in zip(masks, shown, strict=True)]
        self._specks_px = float(np.quantile(specks_N, USUAL_SHARE))
        found = [(i, s) for i, objects in enumerate(shown) for s in objects]
        shown_count = len(found)
        found += [
            (i, s) for i, mask in enumerate(masks) for s in cut_silhouettes(mask, class_count, i)
        ]
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
            self._strangest(nearest[j] for j in np.flatnonzero(self._mask_M[:shown_count] == i))
            for i in range(len(masks))
        ]
        finite = [s for s in strangeness_N if np.isfinite(s)]
        self._limit = float(np.quantile(finite, PLAUSIBLE_SHARE))

    def strangeness(self, mask_HW: U8, *, enough: float = np.inf) -> float:
        """Of what is strangest in it; up to 1 it is as plausible as known masks are.

        That may be an object, the area of a class, or specks that are none.

        Infinite without any object.

        Args:
            mask_HW: class indices, of the known masks' shape.
            enough: beyond it, it doesn't matter how strange: objects are looked at, the largest
                first, until one is.

        Raises:
            ValueError: another shape.
        """
        if mask_HW.shape != self._shape:
            raise ValueError(f"the known masks are {self._shape}, this is {mask_HW.shape}")
        strangest = self._strangeness_of_areas(mask_HW)
        shown = []
        # what looks like two objects that nearly touch must not look like one that views have
        for shape in silhouettes(mask_HW, self.class_count, joined=True):
            if strangest > enough:
                return strangest
            shown.append(shape)
            strangest = max(strangest, self._strangest([self._nearest(shape)]))
        if not shown:
            return np.inf
        specks_px = _specks_px(mask_HW, shown)
        return max(strangest, _excess(specks_px + 0.5, self._specks_px + 0.5))

    def _strangeness_of_areas(self, mask_HW: U8) -> float:
        """How far the furthest class's area is out of range, as a multiple of what it may be.

        A class that is missing counts as half a pixel: which of two masks without it is stranger
        is then up to the rest.
        """
        share_K = np.maximum(area_shares(mask_HW, self.class_count), 0.5 / mask_HW.size)
        below_K = self._smallest_K / share_K
        above_K = share_K / np.maximum(self._largest_K, 1 / mask_HW.size)
        return _excess(max(below_K.max(), above_K.max()))

    def _strangest(self, nearest: Iterable[tuple[float, I64, I64]]) -> float:
        ratios = [
            (distance + MARGIN) / (float(np.median(self._usual_M[neighbours])) + MARGIN)
            for distance, neighbours, _ in nearest
        ]
        return max(ratios, default=np.inf) / self._limit

    def _nearest(self, shape: Silhouette, other_than: int = -1) -> tuple[float, I64, I64]:
        """Mean distance of the nearest known objects, which they are, and all it was compared with.

        An object that the frame cuts off is compared with such as are cut off at the same sides.
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


def _specks_px(mask_HW: U8, shown: list[Silhouette]) -> int:
    """Pixels of what is too small for an object: often all that is seen of a ghost."""
    return int(np.count_nonzero(mask_HW)) - sum(shape.area_px for shape in shown)


def _excess(area: float, largest: float = 1.0) -> float:
    """Of an area over the largest that is known, as a multiple of what it may be."""
    return float(area / largest) / AREA_TOLERANCE


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
        shown.append(list(silhouettes(masks[-1], pair.class_count)))
    if sum(map(bool, shown)) < 2 * NEIGHBOURS:
        return None
    return ShapeScreen(masks, pair.class_count, shown)
