"""What a pair is: one image and its segmentation mask, read and checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IGNORE = 255
"""Mask value of pixels that carry no label: out of attention, areas and losses; never generated."""

WITHOUT_MASK = ("everything",)
"""The one class of an image that came without a mask."""

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something the user should know that did not stop the job."""

    code: str
    detail: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One image and its mask, as everything after the reader sees them.

    Attributes:
        image_HWC: uint8 sRGB, shape (H, W, 3), also for grey sources.
        mask_HW: uint8 class indices in [0, K), or ``IGNORE``; shape (H, W). All 0 without a mask.
        class_names: K names by index; index 0 is the background. ``WITHOUT_MASK`` without a mask.
        is_grey: the source had one channel, so deliverables have one too.
        encoding: how the mask was read: ``index``, ``binary`` or ``rgb``; ``none`` without a mask.
        encoding_declared: the user said so; otherwise it was detected.
        notices: what was noticed while reading.
        has_mask: whether there is one; without it the pair is an image of one class, and what is
            made from it are images.
    """

    image_HWC: U8
    mask_HW: U8
    class_names: tuple[str, ...]
    is_grey: bool
    encoding: str
    encoding_declared: bool
    notices: tuple[Notice, ...] = ()
    has_mask: bool = True

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.image_HWC.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.image_HWC.shape[1])

    @property
    def class_count(self) -> int:
        """K, background included."""
        return len(self.class_names)

    def area_fractions(self) -> tuple[float, ...]:
        """Share of the labelled pixels that each class covers, shape (K,), sums to 1."""
        counts = np.bincount(self.mask_HW.ravel(), minlength=256)[: self.class_count]
        return tuple(float(c) for c in counts / max(1, int(counts.sum())))
