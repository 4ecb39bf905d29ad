"""One function a metric: a set and its source in, a JSON-able value out.

Images and masks of another size than the source's are brought to the source's size for every
metric that compares positions (Lanczos, masks by nearest neighbour); the share of verbatim source
is measured on the images as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import numpy as np
from PIL import Image

from osmis_core.data.pair import U8, Pair
from osmis_core.data.size_plan import ASPECT_TOLERANCE
from osmis_core.evaluation.pair_set import PairSet
from osmis_core.metrics.features import ScoringNetwork, resize_image
from osmis_core.metrics.image_distance import image_distance
from osmis_core.metrics.layout_match import NOVEL_BELOW_IOU, LayoutMatcher
from osmis_core.metrics.lpips import (
    InputRange,
    LpipsDistance,
    chosen_pairs,
    lpips_to_source,
    mean_pairwise_lpips,
)
from osmis_core.metrics.masks import class_areas, class_faults, layout_diversity, shrink_mask
from osmis_core.metrics.unet import UnetOptions, unet_miou
from osmis_core.metrics.verbatim import VerbatimMatcher
from osmis_core.refinement.features import resize

OnDone = Callable[[int, int], None]

LPIPS_PAIRS = 200
LAYOUT_LONGEST_PX = 96
UNET_PAIRS = 500


class Aligned(Sequence[U8]):
    """Images, or masks, at the source's size; decoded whenever they are asked for."""

    def __init__(self, count: int, read: Callable[[int], U8], size: tuple[int, int]) -> None:
        self._count, self._read, self._size = count, read, size

    def __len__(self) -> int:
        return self._count

    def first(self, count: int) -> Aligned:
        """The first so many."""
        return Aligned(min(count, self._count), self._read, self._size)

    @overload
    def __getitem__(self, index: int) -> U8: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[U8]: ...
    def __getitem__(self, index: int | slice) -> U8 | Sequence[U8]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        array = self._read(index)
        if array.shape[:2] == self._size:
            return array
        height, width = self._size
        if array.ndim == 3:
            return resize_image(array, height, width)
        resized = Image.fromarray(array).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(resized, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured.

    Attributes:
        pair: the source.
        pairs: the set, checked.
        images: its images at the source's size.
        masks: its masks at the source's size.
    """

    pair: Pair
    pairs: PairSet
    images: Aligned
    masks: Aligned

    @classmethod
    def of(cls, pair: Pair, pairs: PairSet) -> Subject:
        """A source and a checked set."""
        size = (pair.height, pair.width)
        return cls(
            pair,
            pairs,
            Aligned(len(pairs), pairs.image, size),
            Aligned(len(pairs), pairs.mask, size),
        )


def told(values: Sequence[U8], on_done: OnDone) -> Iterator[U8]:
    """Yields values and tells how many are done."""
    for index, value in enumerate(values):
        yield value
        on_done(index + 1, len(values))


def distances(subject: Subject, network: ScoringNetwork, on_done: OnDone) -> dict[str, Any]:
    """Mean single-image Fréchet distance by layer; SIFID where the network is InceptionV3.

    On other networks one more "layer" compares the features within classes.
    """
    published = network.distance_name == "SIFID"
    found = image_distance(
        told(subject.images, on_done),
        subject.pair.image_HWC,
        network,
        masks=None if published else iter(subject.masks),
        source_mask_HW=None if published else subject.pair.mask_HW,
    )
    return asdict(found)


def diversity(subject: Subject, input_range: InputRange) -> dict[str, Any] | None:
    """Mean LPIPS between samples; None for a single one."""
    if len(subject.images) < 2:
        return None
    metric = LpipsDistance(input_range=input_range)
    mean = mean_pairwise_lpips(subject.images, LPIPS_PAIRS, metric=metric)
    compared = len(chosen_pairs(len(subject.images), LPIPS_PAIRS, 0))
    return {"name": metric.name, "mean": mean, "pairs_compared": compared}


def to_source(subject: Subject, on_done: OnDone) -> dict[str, Any]:
    """Mean and smallest LPIPS between samples and source."""
    metric = LpipsDistance()
    images = told(subject.images, on_done)
    found = lpips_to_source(images, subject.pair.image_HWC, metric=metric)
    return {"name": metric.name, "mean": float(np.mean(found)), "nearest": min(found)}


def layouts(subject: Subject, on_done: OnDone) -> dict[str, Any]:
    """How many layouts are new, and how alike they are to the source's and to each other."""
    matcher = LayoutMatcher(subject.pair.mask_HW)
    matches = [matcher.match(mask) for mask in told(subject.masks, on_done)]
    several = len(subject.masks) > 1
    return {
        "novel_share": float(np.mean([match.is_novel for match in matches])),
        "novel_below_iou": NOVEL_BELOW_IOU,
        "source_iou": float(np.mean([match.iou for match in matches])),
        "layout_iou": _layout_iou(subject.masks) if several else None,
    }


def _layout_iou(masks: Sequence[U8]) -> float:
    return layout_diversity([shrink_mask(mask, LAYOUT_LONGEST_PX) for mask in masks])


def classes(subject: Subject) -> dict[str, Any]:
    """Areas by class, and the share of samples in which a class vanished or spread."""
    pair, count = subject.pair, len(subject.masks)
    faults = [class_faults(mask, pair.mask_HW, pair.class_count) for mask in subject.masks]
    areas = class_areas(iter(subject.masks), pair.mask_HW, pair.class_count)
    return {
        "fault_share": sum(map(bool, faults)) / count,
        "by_class": [
            {
                "name": pair.class_names[area.index],
                **asdict(area),
                "vanished_share": sum(area.index in f.vanished for f in faults) / count,
                "swallowed_share": sum(area.index in f.swallowed for f in faults) / count,
            }
            for area in areas
        ],
    }


def verbatim(subject: Subject, on_done: OnDone) -> dict[str, Any] | None:
    """Share of verbatim source; None where no image has texture."""
    finder = _VerbatimFinder(subject.pair.image_HWC)
    shares = []
    for index in range(len(subject.pairs)):
        share = finder.share(subject.pairs.image(index))
        if share is not None:
            shares.append(share)
        on_done(index + 1, len(subject.pairs))
    if not shares:
        return None
    return {"mean": float(np.mean(shares)), "min": min(shares), "max": max(shares)}


class _VerbatimFinder:
    """Compares with the source as it is, and at the sample's size where the aspect is the same.

    A set that is delivered at another size than the source's copies from the resized source, by
    OnePair's resampling or by Lanczos; other resamplings are not recognised.
    """

    def __init__(self, source_HWC: U8) -> None:
        self._source_HWC = source_HWC
        self._size: tuple[int, int] | None = None
        self._matcher = VerbatimMatcher(source_HWC)
        self._native = self._matcher

    def share(self, image_HWC: U8) -> float | None:
        height, width = image_HWC.shape[:2]
        if (height, width) != self._size:
            self._size = (height, width)
            self._matcher = self._matcher_for(height, width)
        return self._matcher.share(image_HWC)

    def _matcher_for(self, height: int, width: int) -> VerbatimMatcher:
        source = self._source_HWC
        native_h, native_w = source.shape[:2]
        is_native = (height, width) == (native_h, native_w)
        if is_native or not same_aspect((height, width), (native_h, native_w)):
            return self._native
        ours = np.rint(resize(source.astype(np.float32), height, width)).astype(np.uint8)
        return VerbatimMatcher(source, ours, resize_image(source, height, width))


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two heights and widths have the same aspect ratio, up to 2 %."""
    ratio = size[1] * other[0] / (size[0] * other[1])
    return max(ratio, 1 / ratio) <= 1 + ASPECT_TOLERANCE


def usefulness(subject: Subject, repeats: int, on_done: OnDone) -> dict[str, Any] | None:
    """Mean IoU of U-Nets trained on the set; None where there is one class."""
    count = min(len(subject.pairs), UNET_PAIRS)
    images, masks = subject.images.first(count), subject.masks.first(count)
    pair, values = subject.pair, []
    for seed in range(repeats):
        options = UnetOptions(seed=seed)
        value = unet_miou(images, masks, pair.image_HWC, pair.mask_HW, pair.class_count, options)
        if value is None:
            return None
        values.append(value)
        on_done(seed + 1, repeats)
    return {
        "mean": float(np.mean(values)),
        "repeats": values,
        "pairs": count,
        "steps": UnetOptions().steps,
    }
