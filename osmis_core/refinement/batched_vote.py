"""From matches to pixels for many samples at once: ``vote`` as tensor code for any device.

Instead of asking each pixel for the patches that overlap it, each of the 25 places in a patch is
laid over the whole picture once. No place is written twice in a step, so the order of the sums is
fixed. Layouts are those of ``batched_search``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.data.pair import IGNORE
from osmis_core.refinement.features import F32, LANES, PATCH, RADIUS


def reflected(pixels_BHWC: Tensor) -> Tensor:
    """The same with two reflected pixels on every side, shape (B, H + 4, W + 4, C)."""
    rows, columns = (_reflected_indices(n, pixels_BHWC.device) for n in pixels_BHWC.shape[1:3])
    return pixels_BHWC[:, rows][:, :, columns]


def vote_features(field_BHW2: Tensor, source_HWC: Tensor, weights: F32) -> Tensor:
    """Features of the samples as the weighted mean of overlapping source patches.

    Args:
        field_BHW2: the matches.
        source_HWC: features that the matches point into.
        weights: from :func:`osmis_core.refinement.vote.gaussian_patch`.

    Returns:
        Features of H × W pixels, without the reflected borders: shape (B, H, W, C).
    """
    total_BHWC = _weighted_sum(field_BHW2, source_HWC, weights)
    return total_BHWC / _weight_sums(field_BHW2, weights)[..., None]


def enlarge(pixels_BHWC: Tensor, to_hw: tuple[int, int]) -> Tensor:
    """Pixels enlarged by linear interpolation, shape (B, *to_hw, C)."""
    pixels_BCHW = pixels_BHWC.permute(0, 3, 1, 2)
    return F.interpolate(pixels_BCHW, to_hw, mode="bilinear").permute(0, 2, 3, 1)


def vote_pair(
    field_BHW2: Tensor, image_HWC: Tensor, labels_HW: Tensor, weights: F32, class_count: int
) -> tuple[Tensor, Tensor]:
    """The refined pairs: mean colour, and the class with most weight among labelled votes.

    Args:
        field_BHW2: the matches.
        image_HWC: the source's image at the output size, uint8, shape (Hs, Ws, 3).
        labels_HW: its classes, 255 where unlabelled, uint8, shape (Hs, Ws).
        weights: from :func:`osmis_core.refinement.vote.gaussian_patch`.
        class_count: K.

    Returns:
        Images, uint8, shape (B, H, W, 3), and classes, uint8, shape (B, H, W); 255 where no vote
        had a label.
    """
    colours_HWC = reflected(image_HWC[None])[0].float()
    image_BHWC = vote_features(field_BHW2, colours_HWC, weights)
    padded_labels_HW1 = reflected(labels_HW[None, ..., None])[0]
    winner_BHW = torch.full(field_BHW2.shape[:3], IGNORE, device=field_BHW2.device)
    most_BHW = torch.zeros(field_BHW2.shape[:3], device=field_BHW2.device)
    # a few classes at a time: ballots of all 254 would need more memory than anything else
    for first in range(0, class_count, LANES):
        classes = torch.arange(
            first, min(first + LANES, class_count), device=padded_labels_HW1.device
        )
        ballots_HWK = (padded_labels_HW1 == classes).float()
        largest = _weighted_sum(field_BHW2, ballots_HWK, weights).max(-1)
        wins_BHW = largest.values > most_BHW
        winner_BHW = torch.where(wins_BHW, largest.indices + first, winner_BHW)
        most_BHW = torch.where(wins_BHW, largest.values, most_BHW)
    return (image_BHWC + 0.5).to(torch.uint8), winner_BHW.to(torch.uint8)


def verbatim_shares(field_BHW2: Tensor) -> list[float]:
    """Each sample's share of pixels copied together with all their neighbours.

    Returns:
        Shares in [0, 1], as :func:`osmis_core.refinement.vote.verbatim_share` counts them.
    """
    height, width = field_BHW2.shape[1:3]
    rows = torch.arange(height, device=field_BHW2.device)
    columns = torch.arange(width, device=field_BHW2.device)
    offsets = field_BHW2 - torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)
    coherent_BHW = torch.ones_like(offsets[..., 0], dtype=torch.bool)
    same_down = (offsets[:, 1:] == offsets[:, :-1]).all(-1)
    same_right = (offsets[:, :, 1:] == offsets[:, :, :-1]).all(-1)
    coherent_BHW[:, 1:] &= same_down
    coherent_BHW[:, :-1] &= same_down
    coherent_BHW[:, :, 1:] &= same_right
    coherent_BHW[:, :, :-1] &= same_right
    counts: list[int] = coherent_BHW.sum((1, 2)).tolist()
    return [count / (height * width) for count in counts]


def _weighted_sum(field_BHW2: Tensor, padded_HWC: Tensor, weights: F32) -> Tensor:
    """Sum of weight × value that the overlapping patches lay on each pixel, (B, H, W, C)."""
    batch, height, width = field_BHW2.shape[:3]
    row = padded_HWC.shape[1]
    values_NC = padded_HWC.flatten(0, 1)
    first_BHW = field_BHW2[..., 0] * row + field_BHW2[..., 1]
    shape = (batch, height + 2 * RADIUS, width + 2 * RADIUS, padded_HWC.shape[2])
    total_BHWC = torch.zeros(shape, device=field_BHW2.device)
    for dy in range(PATCH):
        for dx in range(PATCH):
            laid_BHWC = total_BHWC[:, dy : dy + height, dx : dx + width]
            laid_BHWC.add_(values_NC[first_BHW + (dy * row + dx)], alpha=float(weights[dy, dx]))
    return total_BHWC[:, RADIUS:-RADIUS, RADIUS:-RADIUS]


def _weight_sums(field_BHW2: Tensor, weights: F32) -> Tensor:
    """What the weights of the patches over each pixel sum to: less near borders; (H, W)."""
    height, width = field_BHW2.shape[1:3]
    kernel_1155 = torch.from_numpy(weights)[None, None]
    sums_11HW = F.conv2d(torch.ones(1, 1, height, width), kernel_1155.flip(2, 3), padding=RADIUS)
    return sums_11HW[0, 0].to(field_BHW2.device)


def _reflected_indices(size: int, device: torch.device) -> Tensor:
    positions = torch.arange(-RADIUS, size + RADIUS, device=device).abs()
    return torch.minimum(positions, 2 * (size - 1) - positions)
