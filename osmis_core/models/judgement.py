"""What a discriminator says of a batch: logits of its three parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class ContentLogits:
    """One content layer's decisions.

    Attributes:
        logits_BKN: for each class's vector, K identities and "fake": shape (B, K, K + 1).
        present_BK: whether the class has any area in that image's mask, on this grid.
        resolvable_K: whether the class's area in the source reaches half a cell on this grid;
            classes below are left out of the loss at this scale, on real and generated pairs.
    """

    logits_BKN: Tensor
    present_BK: Tensor
    resolvable_K: Tensor

    def split(self, size: int) -> tuple[ContentLogits, ...]:
        """Of every ``size`` samples."""
        parts = zip(
            torch.split(self.logits_BKN, size), torch.split(self.present_BK, size), strict=True
        )
        return tuple(ContentLogits(*part, self.resolvable_K) for part in parts)


@dataclass(frozen=True)
class Judgement:
    """A discriminator's output: a list of layers for each part.

    Attributes:
        low_level: logits, (B, 1, h, w) each.
        layout: logits, (B, 1, h, w) each.
        content: one a layer: ``ContentLogits`` where vectors belong to classes, else real/fake
            logits of any shape.
        pairs: logits of a separate discriminator of image and mask together, (B, 1, h, w) each;
            empty where there is none.
    """

    low_level: list[Tensor]
    layout: list[Tensor]
    content: Sequence[ContentLogits | Tensor]
    pairs: list[Tensor] = field(default_factory=list)

    def split(self, size: int) -> tuple[Judgement, ...]:
        """Of every ``size`` samples of the batch, which have been judged in one pass."""
        low_level, layout, pairs = (
            [torch.split(layer, size) for layer in part]
            for part in (self.low_level, self.layout, self.pairs)
        )
        content = [_split(layer, size) for layer in self.content]
        return tuple(
            Judgement(
                low_level=[layer[i] for layer in low_level],
                layout=[layer[i] for layer in layout],
                content=[layer[i] for layer in content],
                pairs=[layer[i] for layer in pairs],
            )
            for i in range(len(low_level[0]))
        )


def _split(
    layer: Tensor | ContentLogits, size: int
) -> tuple[Tensor, ...] | tuple[ContentLogits, ...]:
    return layer.split(size) if isinstance(layer, ContentLogits) else torch.split(layer, size)
