"""Many coarse samples in, native-size pairs out: the refiner for GPUs.

Tested on a CPU against the compiled loops; timed on a GPU by ``make bench-gpu``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from osmis_core.data.pair import IGNORE
from osmis_core.refinement import cleaning
from osmis_core.refinement.batched_search import (
    carry_field,
    complete_matches,
    continue_to_borders,
    improve_field,
    unpack,
)
from osmis_core.refinement.batched_vote import (
    enlarge,
    reflected,
    verbatim_shares,
    vote_features,
    vote_pair,
)
from osmis_core.refinement.features import F32, PATCH
from osmis_core.refinement.options import RefinementOptions
from osmis_core.refinement.refiner import (
    SEARCH_RADII_PX,
    U8,
    CoarseSample,
    Refined,
    Refiner,
    search_seed,
)

VALUES_AT_ONCE = 2**24
"""64 MiB of float32. About ten arrays of that size live at a time, beside the source's own."""

_DEFAULT_OPTIONS = RefinementOptions()


def refiner_on(
    device: torch.device,
    pair_image_HWC: U8,
    mask_HW: U8,
    class_count: int,
    coarse_hw: tuple[int, int],
    output_hw: tuple[int, int],
    options: RefinementOptions = _DEFAULT_OPTIONS,
) -> Refiner:
    """The refiner that suits a device: compiled loops on a CPU, batches on anything else.

    Args:
        device: where to refine.
        pair_image_HWC: this and the rest as for :class:`Refiner`.
        mask_HW: the source's classes.
        class_count: K.
        coarse_hw: size of the samples that will come in.
        output_hw: size to deliver.
        options: see :class:`RefinementOptions`.

    Raises:
        ValueError: as for :class:`Refiner`.
    """
    source = (pair_image_HWC, mask_HW, class_count, coarse_hw, output_hw, options)
    return Refiner(*source) if device.type == "cpu" else BatchedRefiner(*source, device=device)


class BatchedRefiner(Refiner):
    """Refines samples of one pair a batch at a time, by tensor code on any device.

    The contract is :class:`Refiner`'s, but for the bytes: the first matches are the same, near ties
    aside, then the order of propagation differs, so that patches end about as close (within 1%)
    without being the same ones. A sample depends on its seed alone and not on the samples it
    shares a batch with. Specks are looked for on the CPU.
    """

    def __init__(
        self,
        pair_image_HWC: U8,
        mask_HW: U8,
        class_count: int,
        coarse_hw: tuple[int, int],
        output_hw: tuple[int, int],
        options: RefinementOptions = _DEFAULT_OPTIONS,
        *,
        device: torch.device,
        values_at_once: int = VALUES_AT_ONCE,
    ) -> None:
        """Builds the source's pyramid and copies it to the device.

        Args:
            pair_image_HWC: this and the next as for :class:`Refiner`.
            mask_HW: the source's classes.
            class_count: K.
            coarse_hw: size of the samples that will come in.
            output_hw: size to deliver.
            options: see :class:`RefinementOptions`; ``threads`` means nothing here.
            device: where to refine.
            values_at_once: about how many values an array on the device may have, whatever the
                number of samples; a single sample's features may need more.

        Raises:
            ValueError: as for :class:`Refiner`.
        """
        super().__init__(pair_image_HWC, mask_HW, class_count, coarse_hw, output_hw, options)
        self.device = device
        self._values_at_once = values_at_once
        source = self._source
        self._channels = 3 + source.corners_KD.shape[1]
        self._levels = [
            (self._on_device(level.sharp), self._on_device(level.blurred))
            for level in source.levels
        ]
        self._image_HWC = torch.from_numpy(source.image_HWC).to(device)
        self._labels_HW = torch.from_numpy(source.labels_HW).to(device)
        self._filled_HW = torch.from_numpy(source.filled_HW).to(device)
        most_px = max(level.hw[0] * level.hw[1] for level in source.levels)
        self.samples_at_once = max(1, values_at_once // (most_px * self._channels))

    def refine(self, image_HWC: F32, mask_HWK: F32, *, seed: int) -> Refined:
        """Brings one sample to the output size; see :meth:`Refiner.refine`."""
        return self._refine_batch([(image_HWC, mask_HWK, seed)])[0]

    def refine_each(self, samples: Iterable[CoarseSample]) -> Iterator[Refined]:
        """Refines ``samples_at_once`` at a time; see :meth:`Refiner.refine_each`."""
        remaining = iter(samples)
        while batch := list(islice(remaining, self.samples_at_once)):
            yield from self._refine_batch(batch)

    @torch.no_grad()
    def _refine_batch(self, samples: list[CoarseSample]) -> list[Refined]:
        queries = [self._on_device(self._query(image, mask)) for image, mask, _ in samples]
        field_BHW2 = self._match_coarse_batch(torch.stack(queries))
        seeds = [seed for _, _, seed in samples]
        for index in range(1, len(self._levels)):
            field_BHW2 = self._match_level_batch(index, field_BHW2, seeds)
        image_BHWC, labels_BHW = vote_pair(
            field_BHW2, self._image_HWC, self._labels_HW, self._final_weights, self._class_count
        )
        nearest_label_BHW = self._filled_HW[field_BHW2[..., 0], field_BHW2[..., 1]]
        labels_BHW = torch.where(labels_BHW == IGNORE, nearest_label_BHW, labels_BHW)
        return [
            Refined(
                image_HWC=image_HWC,
                mask_HW=cleaning.without_specks(labels_HW, self._source.fine_speck_px_K),
                verbatim_share=share,
            )
            for image_HWC, labels_HW, share in zip(
                image_BHWC.cpu().numpy(),
                labels_BHW.cpu().numpy(),
                verbatim_shares(field_BHW2),
                strict=True,
            )
        ]

    def _match_coarse_batch(self, query_BHWC: Tensor) -> Tensor:
        source_HWC = self._levels[0][0]
        alpha = self.options.completeness * PATCH**2
        field_BHW2 = complete_matches(query_BHWC, source_HWC, alpha, self._values_at_once)
        for _ in range(1, self.options.coarse_iterations):
            field_BHW2 = continue_to_borders(field_BHW2)
            query_BHWC = reflected(vote_features(field_BHW2, source_HWC, self._vote_weights))
            field_BHW2 = complete_matches(query_BHWC, source_HWC, alpha, self._values_at_once)
        return continue_to_borders(field_BHW2)

    def _match_level_batch(self, index: int, field_BHW2: Tensor, seeds: list[int]) -> Tensor:
        hw = self._source.levels[index].hw
        sharp_HWC, blurred_HWC = self._levels[index]
        voted_BHWC = vote_features(field_BHW2, self._levels[index - 1][0], self._vote_weights)
        query_BHWC = reflected(enlarge(voted_BHWC, hw))
        field_BHW2 = carry_field(field_BHW2, hw)
        for iteration in range(self.options.level_iterations):
            if iteration:
                voted_BHWC = vote_features(field_BHW2, sharp_HWC, self._vote_weights)
                query_BHWC = reflected(voted_BHWC)
            field_BHW2, _ = improve_field(
                query_BHWC,
                sharp_HWC if iteration else blurred_HWC,
                field_BHW2,
                radii_px=SEARCH_RADII_PX,
                coherence=self.options.coherence,
                seeds=[search_seed(seed, index, iteration) for seed in seeds],
                values_at_once=self._values_at_once,
            )
            field_BHW2 = continue_to_borders(field_BHW2)
        return field_BHW2

    def _on_device(self, packed: F32) -> Tensor:
        return unpack(packed, self._channels).to(self.device)
