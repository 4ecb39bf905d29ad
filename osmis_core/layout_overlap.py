"""Our step beyond the method's diversity: layouts shall not repeat more than those of views do.

The method's term spreads features, and leaves it open whether objects move. This one looks at what
masks of a batch have in common. Its weight is a feedback's: none while layouts are as varied as the
views' are, so that it does not break up objects that need not move; more, the longer they are not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MEAN_RATE = 0.02
"""Of the running mean: it follows some 50 steps. One batch of five exceeds any mean every other
time."""
GAIN = 40.0
"""Full weight at 1 / 40 above the limit."""
LEAST_LIMIT = 0.2
"""Foreground IoU below which nothing is amiss, however little views have in common."""


def layout_overlap(mask_BKHW: Tensor) -> Tensor:
    """Mean over pairs of samples of the foreground IoU of soft masks; a scalar in [0, 1].

    What two masks share is Σ p q over pixels and classes but the background, what they cover
    together is their foregrounds less the product of these. Of one-hot masks that is
    ``metrics.masks.foreground_iou``, but 0 where neither has a foreground. What a mask is unsure
    of counts in part: masks that are undecided everywhere overlap by 1 / (K + 1).

    Args:
        mask_BKHW: class probabilities, background first, all 0 where ignored; B ≥ 2.
    """
    p_BKN = mask_BKHW.float().flatten(2)
    foreground_BN = p_BKN[:, 1:].sum(1)
    things_BM = p_BKN[:, 1:].flatten(1)
    area_B = foreground_BN.sum(1)
    covered_BB = area_B[:, None] + area_B[None] - foreground_BN @ foreground_BN.T
    iou_BB = things_BM @ things_BM.T / covered_BB.clamp_min(1.0)
    pairs = len(p_BKN) * (len(p_BKN) - 1) / 2
    return iou_BB.triu(1).sum() / pairs


class OverlapPenalty(nn.Module):
    """Layout overlap, weighed by how far its running mean is above a limit.

    The mean is part of a training's state.

    Args:
        views_overlap: mean layout overlap of the views that are shown as real, in [0, 1].
    """

    mean: Tensor

    def __init__(self, views_overlap: float) -> None:
        super().__init__()
        self.limit = max(views_overlap, LEAST_LIMIT)
        self.register_buffer("mean", torch.tensor(self.limit))

    def forward(self, mask_BKHW: Tensor) -> Tensor:
        """Overlap of a batch's layouts times a weight in [0, 1]; a scalar. Moves the mean on.

        Args:
            mask_BKHW: class probabilities of generated samples, B ≥ 2.
        """
        overlap = layout_overlap(mask_BKHW)
        self.mean.lerp_(overlap.detach(), MEAN_RATE)
        weight = (GAIN * (self.mean - self.limit)).clamp(0, 1)
        return weight * overlap
