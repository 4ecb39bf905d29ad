"""Features and fields without meaning, to compare ways of computing on."""

from __future__ import annotations

import numpy as np

from osmis_core.refinement.features import LANES, class_corners, pack


def random_features(rng, height, width, class_count, beta=1.0):
    image = rng.uniform(-1, 1, (height, width, 3)).astype(np.float32)
    mask = rng.dirichlet(np.full(class_count, 0.3), (height, width)).astype(np.float32)
    return pack(image, mask, class_corners(class_count, beta)), image, mask


def random_field(rng, height, width, source_h, source_w):
    rows = rng.integers(0, source_h, (height, width))
    return np.stack([rows, rng.integers(0, source_w, (height, width))], axis=-1).astype(np.int32)


def inside(features):
    groups, padded_h, row = features.shape
    pixels = features.reshape(groups, padded_h, row // LANES, LANES)
    return pixels[:, 2:-2, 2:-2].transpose(1, 2, 0, 3).reshape(padded_h - 4, row // LANES - 4, -1)
