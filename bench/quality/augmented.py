"""The reference: the source itself under random flips, scales, rotations and shifts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

from bench.quality.setup import U8
from osmis_core.data.pair import Pair


def augmented_samples(pair: Pair, seed: int, count: int) -> Iterator[tuple[U8, U8]]:
    """Views of the source: flips, scale σ 0.2 (log₂), rotation ±20°, shift ±12.5 %."""
    height, width = pair.height, pair.width
    image = torch.tensor(pair.image_HWC).permute(2, 0, 1)[None].float()
    mask = torch.tensor(pair.mask_HW)[None, None].float()
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scale = 2 ** float(np.clip(rng.normal(0, 0.2), -0.4, 0.4))
        angle, flip = math.radians(rng.uniform(-20, 20)), float(rng.choice((-1, 1)))
        cos, sin, aspect = math.cos(angle) / scale, math.sin(angle) / scale, height / width
        right, down = rng.uniform(-0.25, 0.25, size=2)
        theta = torch.tensor(
            [[[flip * cos, flip * sin * aspect, right], [-sin / aspect, cos, down]]]
        ).float()
        grid = affine_grid(theta, [1, 1, height, width], align_corners=False)
        view = grid_sample(
            image, grid, mode="bicubic", padding_mode="reflection", align_corners=False
        )
        label = grid_sample(
            mask, grid, mode="nearest", padding_mode="reflection", align_corners=False
        )
        yield (
            view[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy(),
            label[0, 0].byte().numpy(),
        )
