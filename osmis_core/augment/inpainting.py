"""Fills holes in the source with patches of what surrounds them, coarse to fine.

A patch-based completion in the manner of Wexler et al. (2007): every patch that touches the hole
looks for its nearest whole patch outside, and the hole becomes the average of what they say.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PATCH = 5
ITERATIONS = 4
LEVELS = 3
MAX_KEYS = 8192
QUERY_CHUNK = 2048
FEWEST_KEYS = 0.15
"""Share of the patches that must be whole for a level to be filled from them."""


def inpaint(image_CHW: Tensor, hole_HW: Tensor, rng: torch.Generator) -> Tensor:
    """The image with its hole filled.

    Args:
        image_CHW: float image; values in the hole are not read.
        hole_HW: boolean, True where to fill.
        rng: chooses the candidate patches where there are more than enough.

    Returns:
        The filled image, unchanged outside the hole. A hole without whole patches around it is
        filled smoothly.
    """
    result = _fill_smoothly(image_CHW, hole_HW)
    if not bool(hole_HW.any()):
        return image_CHW
    for level in reversed(range(LEVELS)):
        scale = 2**level
        size = (max(image_CHW.shape[1] // scale, 1), max(image_CHW.shape[2] // scale, 1))
        if min(size) < 3 * PATCH:
            continue
        hole = F.interpolate(hole_HW[None, None].float(), size=size, mode="area")[0, 0] > 0
        known = F.interpolate(image_CHW[None], size=size, mode="area")[0]
        guess = F.interpolate(result[None], size=size, mode="bilinear", antialias=True)[0]
        current = torch.where(hole, guess, known)
        for _ in range(ITERATIONS):
            current = _improve(current, hole, rng)
        grown = F.interpolate(current[None], size=image_CHW.shape[1:], mode="bilinear")[0]
        result = torch.where(hole_HW, grown, image_CHW)
    return result


def _improve(image_CHW: Tensor, hole_HW: Tensor, rng: torch.Generator) -> Tensor:
    radius = PATCH // 2
    padded = F.pad(image_CHW[None], (radius,) * 4, mode="reflect")
    patches_ND = F.unfold(padded, PATCH)[0].T
    hole_11HW = hole_HW[None, None].float()
    touched = F.max_pool2d(hole_11HW, PATCH, 1, radius)[0, 0].flatten() > 0
    keys = (~touched).nonzero()[:, 0]
    if len(keys) < FEWEST_KEYS * len(touched):
        return image_CHW  # what little is left would be copied everywhere: smooth is better
    if len(keys) > MAX_KEYS:
        keys = keys[torch.randperm(len(keys), generator=rng)[:MAX_KEYS]]
    queries = touched.nonzero()[:, 0]
    best = torch.cat(
        [
            torch.cdist(patches_ND[chunk], patches_ND[keys]).argmin(1)
            for chunk in torch.split(queries, QUERY_CHUNK)
        ]
    )
    voted_ND = torch.zeros_like(patches_ND)
    voted_ND[queries] = patches_ND[keys[best]]
    weight_ND = torch.zeros_like(patches_ND)
    weight_ND[queries] = 1.0
    size = (image_CHW.shape[1] + 2 * radius, image_CHW.shape[2] + 2 * radius)
    total = F.fold(voted_ND.T[None], size, PATCH)[0]
    weight = F.fold(weight_ND.T[None], size, PATCH)[0]
    inner = (slice(None), slice(radius, -radius), slice(radius, -radius))
    return torch.where(hole_HW, total[inner] / weight[inner].clamp_min(1e-6), image_CHW)


def _fill_smoothly(image_CHW: Tensor, hole_HW: Tensor) -> Tensor:
    """Averages over ever larger neighbourhoods until every pixel has a value."""
    known = (~hole_HW).float()[None, None]
    values = image_CHW[None] * known
    result, missing = image_CHW.clone(), hole_HW.clone()
    radius = 1
    while bool(missing.any()) and radius < 2 * max(hole_HW.shape):
        kernel = 2 * radius + 1
        weight = F.avg_pool2d(known, kernel, 1, radius)
        mean = F.avg_pool2d(values, kernel, 1, radius) / weight.clamp_min(1e-6)
        fill = missing & (weight[0, 0] > 0)
        result = torch.where(fill, mean[0], result)
        missing &= ~fill
        radius *= 2
    return torch.where(missing, torch.zeros_like(result), result)
