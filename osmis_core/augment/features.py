"""Feature augmentation: of real pairs' features, inside the discriminator.

Content vectors are mixed with vectors of the same class and lose channels; layouts are changed
by moving patches of the feature map, guided by the mask (method page, "Feature augmentation").
"""

from __future__ import annotations

import torch
from torch import Tensor

DROPPED_SHARE = (0.1, 0.3)
PATCH_SHARE = (0.2, 0.5)
TRIES = 5
OBJECT_FREE_BELOW = 0.5


class FeatureAugmentation:
    """Random changes to real features; every change acts with ``probability`` on every sample.

    Args:
        probability: of each change, 0.4 in the paper.
        rng: the only source of randomness.
        move_layout: whether layout features are changed too.
    """

    def __init__(
        self, probability: float, rng: torch.Generator, *, move_layout: bool = True
    ) -> None:
        self.probability = probability
        self.rng = rng
        self.move_layout = move_layout

    def content(self, vectors_BKC: Tensor) -> Tensor:
        """Mixes channels with another sample's vector of the same class, then drops channels."""
        batch, classes, channels = vectors_BKC.shape
        shape = (batch, classes, 1)
        partner_B = torch.randperm(batch, generator=self.rng)
        share = torch.rand(shape, generator=self.rng) * 0.5
        mixed = torch.rand((batch, classes, channels), generator=self.rng) < share
        mixed &= self._chosen(shape)
        out = torch.where(mixed.to(vectors_BKC.device), vectors_BKC[partner_B], vectors_BKC)
        low, high = DROPPED_SHARE
        share = low + torch.rand(shape, generator=self.rng) * (high - low)
        dropped = torch.rand((batch, classes, channels), generator=self.rng) < share
        dropped &= self._chosen(shape)
        return out.masked_fill(dropped.to(out.device), 0.0)

    def layout(self, features_BCHW: Tensor, mask_BKHW: Tensor) -> Tensor:
        """Copies, swaps, pastes, removes and duplicates parts of each sample's feature map."""
        if not self.move_layout:
            return features_BCHW
        out = features_BCHW.clone()
        object_BHW = (1 - mask_BKHW[:, 0]).detach().cpu()
        for b in range(out.shape[0]):
            if self._happens():
                self._copy_background(out[b], object_BHW[b])
            if self._happens():
                self._swap_background(out[b], object_BHW[b])
            if self._happens():
                other = self._integer(0, out.shape[0])
                self._paste_object(out[b], features_BCHW[other], object_BHW[other])
            if self._happens():
                self._remove_object(out[b], object_BHW[b])
            if self._happens():
                self._paste_object(out[b], features_BCHW[b], object_BHW[b])
        return out

    def _chosen(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self.rng) < self.probability

    def _happens(self) -> bool:
        return bool(self._chosen((1,)))

    def _integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, max(high, low + 1), (1,), generator=self.rng))

    def _rectangles(self, height: int, width: int) -> tuple[slice, slice, slice, slice]:
        """Two rectangles of one size, anywhere in the map."""
        low, high = PATCH_SHARE
        share_h, share_w = (low + torch.rand(2, generator=self.rng) * (high - low)).tolist()
        h, w = max(1, round(height * share_h)), max(1, round(width * share_w))
        y1, y2 = (self._integer(0, height - h + 1) for _ in range(2))
        x1, x2 = (self._integer(0, width - w + 1) for _ in range(2))
        return slice(y1, y1 + h), slice(x1, x1 + w), slice(y2, y2 + h), slice(x2, x2 + w)

    def _free_rectangles(self, object_HW: Tensor) -> tuple[slice, slice, slice, slice] | None:
        for _ in range(TRIES):
            y1, x1, y2, x2 = self._rectangles(*object_HW.shape)
            if max(object_HW[y1, x1].max(), object_HW[y2, x2].max()) < OBJECT_FREE_BELOW:
                return y1, x1, y2, x2
        return None

    def _copy_background(self, features_CHW: Tensor, object_HW: Tensor) -> None:
        free = self._free_rectangles(object_HW)
        if free is not None:
            y1, x1, y2, x2 = free
            features_CHW[:, y2, x2] = features_CHW[:, y1, x1].clone()

    def _swap_background(self, features_CHW: Tensor, object_HW: Tensor) -> None:
        free = self._free_rectangles(object_HW)
        if free is not None:
            y1, x1, y2, x2 = free
            first, second = features_CHW[:, y1, x1].clone(), features_CHW[:, y2, x2].clone()
            features_CHW[:, y1, x1], features_CHW[:, y2, x2] = second, first

    def _paste_object(self, target_CHW: Tensor, giver_CHW: Tensor, object_HW: Tensor) -> None:
        """Another place for a sample's objects, shifted cyclically."""
        height, width = object_HW.shape
        shift = (self._integer(0, height), self._integer(0, width))
        moved_HW = torch.roll(object_HW, shift, (0, 1)) >= OBJECT_FREE_BELOW
        moved_CHW = torch.roll(giver_CHW, shift, (1, 2))
        target_CHW.copy_(torch.where(moved_HW.to(target_CHW.device), moved_CHW, target_CHW))

    def _remove_object(self, features_CHW: Tensor, object_HW: Tensor) -> None:
        """Background features, shifted cyclically, over the objects."""
        height, width = object_HW.shape
        shift = (self._integer(0, height), self._integer(0, width))
        giver_is_free = torch.roll(object_HW, shift, (0, 1)) < OBJECT_FREE_BELOW
        hidden = (object_HW >= OBJECT_FREE_BELOW) & giver_is_free
        moved_CHW = torch.roll(features_CHW, shift, (1, 2))
        features_CHW.copy_(torch.where(hidden.to(features_CHW.device), moved_CHW, features_CHW))
