"""How much of an image is the source itself, whoever made the image.

A pixel is *verbatim* when it lies in a 3×3 patch that the source has too, all 27 values equal, at
any place; the source is also looked at mirrored and turned by right angles, which copy without
changing a value. Neighbouring patches share six of nine pixels, so a verbatim region maps
coherently: this finds in finished images what ``refinement.verbatim_share`` counts in the refiner's
field of matches (33 % there, 36 % here on refined coins; patches of 5×5 would find 19 %, for the
refiner averages where pieces meet).

Patches of nearly one colour (range below 8 levels in every channel) are in many pictures and prove
nothing: they are left out, and so are pixels that lie in no other patch.

The source gives 1, and so does any shifted, cropped or mirrored copy; noise gives 0, a copy that
was blurred, recoloured, resized or compressed with loss about 0 (at most 2 % on the example pairs,
where grey values coincide). What resembles the source without being copied is seen by the LPIPS to
the source instead.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import U8

U64 = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

PATCH_PX = 3
PLAIN_BELOW_LEVELS = 8
_SEED = 20230103


class VerbatimMatcher:
    """Finds the pixels of any image that are copied from one source.

    Args:
        *sources_HWC: uint8 RGB, both sides at least 3 px: the source, and where wanted the same at
            other sizes (a set delivered at another size copies from that).

    Raises:
        ValueError: no source, or one smaller than a patch.
    """

    def __init__(self, *sources_HWC: U8) -> None:
        if not sources_HWC:
            raise ValueError("There is no source.")
        views = [
            np.ascontiguousarray(np.rot90(turned, quarter))
            for source_HWC in sources_HWC
            for turned in (source_HWC, source_HWC[:, ::-1])
            for quarter in range(4)
        ]
        # sorted, repeats and all: np.unique takes twenty times as long
        self._known = np.sort(
            np.concatenate([_patch_hashes(view)[_is_textured(view)] for view in views])
        )

    def pixels(self, image_HWC: U8) -> tuple[Flags, Flags]:
        """Which pixels are verbatim, and which lie in a textured patch at all; each (H, W).

        Raises:
            ValueError: the image is smaller than a patch.
        """
        textured = _is_textured(image_HWC)
        hashes = _patch_hashes(image_HWC)
        found = np.zeros_like(textured)
        if self._known.size:
            places = np.searchsorted(self._known, hashes).clip(max=self._known.size - 1)
            found = textured & (self._known[places] == hashes)
        return _covered(found), _covered(textured)

    def share(self, image_HWC: U8) -> float | None:
        """Verbatim pixels ÷ pixels in textured patches, in [0, 1]; None without texture.

        Args:
            image_HWC: uint8 RGB of any size from 3×3.
        """
        verbatim_HW, judged_HW = self.pixels(image_HWC)
        judged = int(judged_HW.sum())
        return int(verbatim_HW.sum()) / judged if judged else None


def verbatim_source_share(image_HWC: U8, source_HWC: U8) -> float | None:
    """Share of an image that is copied from the source, see ``VerbatimMatcher.share``.

    For many images of one source keep a ``VerbatimMatcher``.
    """
    return VerbatimMatcher(source_HWC).share(image_HWC)


def _patch_hashes(image_HWC: U8) -> U64:
    """A 64-bit hash of every 3×3 patch, (H - 2, W - 2); equal patches have equal hashes.

    Multilinear over mixed colours, modulo 2⁶⁴: two different patches collide with a probability of
    about 2⁻⁶⁰, and some 10⁵ patches are compared with some 10⁶.
    """
    if min(image_HWC.shape[:2]) < PATCH_PX:
        raise ValueError(f"An image needs {PATCH_PX} px a side, not {image_HWC.shape[:2]}.")
    red, green, blue = (image_HWC[..., channel].astype(np.uint64) for channel in range(3))
    hashes = _mixed((red << np.uint64(16)) | (green << np.uint64(8)) | blue)
    weights = np.random.default_rng(_SEED).integers(0, 2**63, (2, PATCH_PX), dtype=np.uint64)
    for axis, odd in zip((0, 1), weights * np.uint64(2) + np.uint64(1), strict=True):
        hashes = _mixed(
            np.add.reduce([part * w for part, w in zip(_slid(hashes, axis), odd, strict=True)])
        )
    return hashes


def _mixed(values: U64) -> U64:
    """Every bit of the result depends on every bit of the value (splitmix64's finaliser)."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: U64 = mixed ^ (mixed >> np.uint64(31))
    return result


def _slid(values: npt.NDArray[Scalar], axis: int) -> list[npt.NDArray[Scalar]]:
    """Three views, each a row (axis 0) or a column further."""
    length = values.shape[axis] - PATCH_PX + 1
    lined = np.moveaxis(values, axis, 0)
    return [np.moveaxis(lined[i : i + length], 0, axis) for i in range(PATCH_PX)]


def _is_textured(image_HWC: U8) -> Flags:
    """Whether a patch spans at least 8 levels in some channel, (H - 2, W - 2)."""
    textured = np.zeros(tuple(side - PATCH_PX + 1 for side in image_HWC.shape[:2]), dtype=bool)
    for channel in range(3):
        low = high = np.ascontiguousarray(image_HWC[..., channel])
        for axis in (0, 1):
            low = np.minimum.reduce(_slid(low, axis))
            high = np.maximum.reduce(_slid(high, axis))
        textured |= high - low >= PLAIN_BELOW_LEVELS
    return textured


def _covered(patches: Flags) -> Flags:
    """The pixels that lie in a marked patch, (H, W) from (H - 2, W - 2)."""
    height, width = patches.shape
    tall = np.zeros((height + PATCH_PX - 1, width), dtype=bool)
    for offset in range(PATCH_PX):
        tall[offset : offset + height] |= patches
    covered = np.zeros((height + PATCH_PX - 1, width + PATCH_PX - 1), dtype=bool)
    for offset in range(PATCH_PX):
        covered[:, offset : offset + width] |= tall
    return covered
