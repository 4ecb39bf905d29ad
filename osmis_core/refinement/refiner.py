"""Coarse sample in, native-size pair out: the pyramid from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import IGNORE
from osmis_core.parallel import RowBands
from osmis_core.refinement import cleaning
from osmis_core.refinement.exact import complete_matches
from osmis_core.refinement.features import F32, PATCH, pack
from osmis_core.refinement.field import (
    carry_field,
    continue_to_borders,
    enlarge,
    improve_field,
)
from osmis_core.refinement.options import RefinementOptions
from osmis_core.refinement.source import build_pyramid, check_source, level_sizes
from osmis_core.refinement.vote import gaussian_patch, verbatim_share, vote_features, vote_pair

I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]

CoarseSample = tuple[F32, F32, int]
"""``image_HWC``, ``mask_HWK`` and seed, as :meth:`Refiner.refine` takes them."""

SEARCH_RADII_PX = (3, 1)
"""Random tries a pass: the carried field is right up to a pixel or two."""

_DEFAULT_OPTIONS = RefinementOptions()


def search_seed(seed: int, level: int, iteration: int) -> int:
    """The seed of one round of random search, from the sample's."""
    return (seed * 64 + level) * 64 + iteration


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """A sample at the output size.

    Attributes:
        image_HWC: uint8, shape (H, W, 3).
        mask_HW: uint8 classes in [0, K), never 255; shape (H, W).
        verbatim_share: share of pixels copied together with their neighbours, in [0, 1].
    """

    image_HWC: U8
    mask_HW: U8
    verbatim_share: float


class Refiner:
    """Refines samples of one pair; holds the source at every size, so build it once.

    Safe to use from several threads at once; the same arguments and seed give the same bytes
    whatever ``options.threads``.
    """

    def __init__(
        self,
        pair_image_HWC: U8,
        mask_HW: U8,
        class_count: int,
        coarse_hw: tuple[int, int],
        output_hw: tuple[int, int],
        options: RefinementOptions = _DEFAULT_OPTIONS,
    ) -> None:
        """Builds the source's pyramid.

        Args:
            pair_image_HWC: the source's image, uint8, shape (H, W, 3).
            mask_HW: its classes in [0, K), 255 where unlabelled; shape (H, W).
            class_count: K, 1 to 254.
            coarse_hw: height and width of the samples that will come in.
            output_hw: height and width to deliver.
            options: see :class:`RefinementOptions`.

        Raises:
            ValueError: shapes disagree, a size is below 5 pixels, a label is not below K or
                nothing is labelled.
        """
        check_source(pair_image_HWC, mask_HW, class_count)
        if min(*coarse_hw, *output_hw) < PATCH:
            raise ValueError(f"sizes must be at least {PATCH} pixels: {coarse_hw}, {output_hw}")
        self.options = options
        self.coarse_hw = coarse_hw
        self.output_hw = output_hw
        self._class_count = class_count
        # numba.get_num_threads() would start numba's own pool, which resets torch's thread count
        all_threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        self._threads = options.threads or all_threads
        self._vote_weights = gaussian_patch(options.vote_sigma_px)
        self._final_weights = gaussian_patch(options.final_vote_sigma_px)
        sizes = level_sizes(coarse_hw, output_hw, options.scale_step)
        self._source = build_pyramid(pair_image_HWC, mask_HW, class_count, sizes, options)

    def refine(self, image_HWC: F32, mask_HWK: F32, *, seed: int) -> Refined:
        """Brings one sample to the output size.

        Args:
            image_HWC: [-1, 1], shape (*coarse_hw, 3).
            mask_HWK: class shares or one-hot, shape (*coarse_hw, K).
            seed: of the random search.

        Returns:
            The refined pair.

        Raises:
            ValueError: a shape is wrong or a value is not finite.
        """
        query = self._query(image_HWC, mask_HWK)
        source = self._source
        with RowBands(self._threads) as bands:
            field_HW2 = self._match_coarse(bands, query)
            for index in range(1, len(source.levels)):
                field_HW2 = self._match_level(bands, index, field_HW2, seed)
            refined_HWC, labels_HW = vote_pair(
                bands,
                field_HW2,
                source.image_HWC,
                source.labels_HW,
                self._final_weights,
                self._class_count,
            )
        nearest_label_HW = source.filled_HW[field_HW2[..., 0], field_HW2[..., 1]]
        labels_HW = np.where(labels_HW == IGNORE, nearest_label_HW, labels_HW)
        return Refined(
            image_HWC=refined_HWC,
            mask_HW=cleaning.without_specks(labels_HW, source.fine_speck_px_K),
            verbatim_share=verbatim_share(field_HW2),
        )

    def refine_each(self, samples: Iterable[CoarseSample]) -> Iterator[Refined]:
        """Refines one sample after the other, each as :meth:`refine` does.

        Args:
            samples: drawn from as they are needed, so that any number takes the same memory.

        Yields:
            The refined pairs, in the samples' order.

        Raises:
            ValueError: as for :meth:`refine`.
        """
        for image_HWC, mask_HWK, seed in samples:
            yield self.refine(image_HWC, mask_HWK, seed=seed)

    def _match_coarse(self, bands: RowBands, query: F32) -> I32:
        """The field at the coarse size; where that is the output size too, the final one."""
        source = self._source.levels[0].sharp
        alpha = self.options.completeness * PATCH**2
        field_HW2 = complete_matches(bands, query, source, alpha)
        for _ in range(1, self.options.coarse_iterations):
            field_HW2 = continue_to_borders(field_HW2)
            query = vote_features(bands, field_HW2, source, self._vote_weights)
            field_HW2 = complete_matches(bands, query, source, alpha)
        return continue_to_borders(field_HW2)

    def _match_level(self, bands: RowBands, index: int, field_HW2: I32, seed: int) -> I32:
        before, level = self._source.levels[index - 1 : index + 1]
        voted = vote_features(bands, field_HW2, before.sharp, self._vote_weights)
        query = enlarge(bands, voted, level.hw)
        field_HW2 = carry_field(field_HW2, before.hw, level.hw)
        for iteration in range(self.options.level_iterations):
            if iteration:
                query = vote_features(bands, field_HW2, level.sharp, self._vote_weights)
            field_HW2, _ = improve_field(
                bands,
                query,
                level.sharp if iteration else level.blurred,
                field_HW2,
                radii_px=SEARCH_RADII_PX,
                coherence=self.options.coherence,
                seed=search_seed(seed, index, iteration),
            )
            field_HW2 = continue_to_borders(field_HW2)
        return field_HW2

    def _query(self, image_HWC: F32, mask_HWK: F32) -> F32:
        """A sample's features at the coarse size, once it is found to be sound."""
        self._check_sample(image_HWC, mask_HWK)
        unit_image_HWC = np.clip(image_HWC, -1, 1).astype(np.float32)
        return pack(unit_image_HWC, self._cleaned(mask_HWK), self._source.corners_KD)

    def _cleaned(self, mask_HWK: F32) -> F32:
        """The sample's mask with its specks one-hot in the class around them."""
        labels_HW = mask_HWK.argmax(axis=-1).astype(np.uint8)
        specks_HW = cleaning.find_specks(labels_HW, self._source.coarse_speck_px_K)
        filled_HW = cleaning.fill_from_nearest(labels_HW, specks_HW)
        cleaned_HWK = mask_HWK.astype(np.float32)
        cleaned_HWK[specks_HW] = np.eye(self._class_count, dtype=np.float32)[filled_HW[specks_HW]]
        return cleaned_HWK

    def _check_sample(self, image_HWC: F32, mask_HWK: F32) -> None:
        shapes = (("image", image_HWC, 3), ("mask", mask_HWK, self._class_count))
        for name, array, channels in shapes:
            if array.shape != (*self.coarse_hw, channels):
                expected = (*self.coarse_hw, channels)
                raise ValueError(f"{name} of shape {array.shape}, expected {expected}")
            # the compiled loops rely on this: a NaN would match nowhere
            if not np.isfinite(array).all():
                raise ValueError(f"the sample's {name} has values that are not finite")
