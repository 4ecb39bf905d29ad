"""Feature augmentation: of real pairs' features, inside the discriminator.

Content vectors are mixed with vectors of the same class and lose channels; layouts are changed
by moving parts of the feature map, guided by the mask (method page, "Feature augmentation").
Every change is drawn anew for every sample of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from osmis_core.augment.layout_moves import (
    Scene,
    copy_background,
    duplicate_object,
    paste_object,
    remove_object,
    swap_background,
)

MIXED_SHARE = (0.1, 0.5)
DROPPED_SHARE = (0.1, 0.3)

T = TypeVar("T")


class Take(Protocol):
    """Has something drawn on the CPU and hands it over on the device (``HostInputs.take``)."""

    def __call__(self, make: Callable[[torch.Generator], T]) -> T:
        """What ``make`` draws from the generator it is given."""


class FeatureAugmentation:
    """Random changes to real features; every change acts with ``probability`` on every sample.

    Args:
        probability: of each change, 0.4 in the paper.
        take: the only source of randomness.
        move_layout: whether layout features are changed too.
        first: the samples of a batch before this one are generated, and left as they are.
        real_masks: the real pairs' masks on a grid of the height and width given, on the CPU; None:
            they are read off what ``layout`` is shown, which waits for a GPU, and can't be done
            again for a replayed step.
    """

    def __init__(
        self,
        probability: float,
        take: Take,
        *,
        move_layout: bool = True,
        first: int = 0,
        real_masks: Callable[[int, int], Tensor] | None = None,
    ) -> None:
        self.probability = probability
        self.take = take
        self.move_layout = move_layout
        self.first = first
        self.real_masks = real_masks

    def content(self, vectors_BKC: Tensor, present_BK: Tensor) -> Tensor:
        """Mixes a share of the channels with another sample's vector of the class, then drops some.

        Args:
            vectors_BKC: a content vector a class.
            present_BK: which classes each sample shows. A vector is mixed only with one of a
                sample that shows the class too, since an absent class has no content to give.
        """
        if self.probability == 0:
            return vectors_BKC
        generated_BKC, vectors_BKC = vectors_BKC[: self.first], vectors_BKC[self.first :]
        batch, classes, channels = vectors_BKC.shape
        score_BBK, (mixed_BKC, dropped_BKC) = self.take(
            lambda rng: (
                torch.rand((batch, batch, classes), generator=rng),
                self._channels((batch, classes, channels), (MIXED_SHARE, DROPPED_SHARE), rng),
            )
        )
        partner_BK, has_partner_BK = _partners(present_BK[self.first :], score_BBK)
        partner_BKC = partner_BK[:, :, None].expand_as(vectors_BKC)
        mixed_BKC = mixed_BKC & has_partner_BK[:, :, None]
        out_BKC = torch.where(mixed_BKC, vectors_BKC.gather(0, partner_BKC), vectors_BKC)
        out_BKC = out_BKC.masked_fill(dropped_BKC, 0.0)
        return torch.cat((generated_BKC, out_BKC)) if self.first else out_BKC

    def layout(self, features_BCHW: Tensor, mask_BKHW: Tensor) -> tuple[Tensor, Tensor]:
        """Copies, swaps, pastes, removes and duplicates parts of each sample's feature map.

        Args:
            features_BCHW: features of real images.
            mask_BKHW: the class shares of their cells, background first.

        Returns:
            The features and, moved with them, the mask.
        """
        if not self.move_layout or self.probability == 0:
            return features_BCHW, mask_BKHW
        read_mask = mask_BKHW[self.first :].detach() if self.real_masks is None else None
        height, width = mask_BKHW.shape[2:]

        def draw_cells(rng: torch.Generator) -> Tensor:
            shown = self.real_masks(height, width) if self.real_masks else read_mask
            assert shown is not None
            return self._cells(shown.float().cpu().numpy(), rng)

        cells_BHW = self.take(draw_cells)
        return self._gather(features_BCHW, cells_BHW), self._gather(mask_BKHW, cells_BHW)

    def _cells(self, masks_BKHW: np.ndarray, rng: torch.Generator) -> Tensor:
        """Which cell of the flattened batch stands in each cell after the moves, (B, H, W)."""
        untouched = [Scene.from_mask(mask_KHW, b) for b, mask_KHW in enumerate(masks_BKHW)]
        seed = int(torch.randint(0, 2**62, (1,), generator=rng))
        numpy_rng = np.random.Generator(np.random.PCG64(seed))
        moved = [self._move(scene.copy(), untouched, numpy_rng) for scene in untouched]
        return torch.from_numpy(np.stack([scene.source_HW for scene in moved]))

    def _move(self, scene: Scene, untouched: list[Scene], rng: np.random.Generator) -> Scene:
        if rng.random() < self.probability:
            copy_background(scene, rng)
        if rng.random() < self.probability:
            swap_background(scene, rng)
        if rng.random() < self.probability:
            paste_object(scene, untouched, rng)
        if rng.random() < self.probability:
            remove_object(scene, rng)
        if rng.random() < self.probability:
            duplicate_object(scene, rng)
        return scene

    def _channels(
        self,
        shape_BKC: tuple[int, int, int],
        shares: tuple[tuple[float, float], ...],
        rng: torch.Generator,
    ) -> Tensor:
        """For each change, a random share of the channels of the vectors that it acts on.

        Returns:
            Booleans of shape (changes, B, K, C).
        """
        shape_XBK1 = (len(shares), *shape_BKC[:2], 1)
        low_XBK1, high_XBK1 = torch.tensor(shares).T[..., None, None, None]
        share_XBK1 = torch.lerp(low_XBK1, high_XBK1, torch.rand(shape_XBK1, generator=rng))
        count_XBK1 = (share_XBK1 * shape_BKC[2]).round().long()
        drawn_XBKC = torch.rand((len(shares), *shape_BKC), generator=rng)
        acts_XBK1 = torch.rand(shape_XBK1, generator=rng) < self.probability
        limit_XBK1 = drawn_XBKC.sort(-1).values.gather(-1, count_XBK1)
        return (drawn_XBKC < limit_XBK1) & acts_XBK1

    def _gather(self, x_BCHW: Tensor, cells_BHW: Tensor) -> Tensor:
        """What stands in the given cells of the flattened batch; generated samples as they are."""
        rows_BHWC = x_BCHW.permute(0, 2, 3, 1)
        moved_BHWC = rows_BHWC[self.first :].flatten(0, 2)[cells_BHW]
        if self.first:
            moved_BHWC = torch.cat((rows_BHWC[: self.first], moved_BHWC))
        return moved_BHWC.permute(0, 3, 1, 2)


def _partners(present_BK: Tensor, score_BBK: Tensor) -> tuple[Tensor, Tensor]:
    """For each vector the best scored other sample that shows its class, and if there is one."""
    itself_BB1 = torch.eye(len(present_BK), dtype=torch.bool, device=present_BK.device)[:, :, None]
    usable_BBK = present_BK[:, None] & present_BK[None] & ~itself_BB1
    best_BK, partner_BK = score_BBK.masked_fill(~usable_BBK, -1.0).max(1)
    return partner_BK, best_BK >= 0
