"""What patches are compared on: colour and class of a pixel as one short vector.

A class is a corner of a regular simplex in K - 1 dimensions: all corners are equally far apart,
so squared distances are those of β · one-hot vectors, with fewer channels, and averages of
vectors are the vectors of averaged masks. Unlabelled pixels sit in the simplex's centre.

Feature arrays are float32 of shape (G, H + 4, (W + 4) · 8): G groups of eight channels (three
colours and K - 1 class coordinates, zero-filled), with two reflected pixels on every side, so
that the 5×5 patch around (y, x) is five runs of 40 values from row y, column 8 · x.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

RADIUS = 2
PATCH = 2 * RADIUS + 1
LANES = 8
"""Channels in a group: one 256-bit vector of float32."""


def class_corners(class_count: int, mask_weight: float) -> F32:
    """The vectors of the classes.

    Args:
        class_count: K >= 1.
        mask_weight: β.

    Returns:
        Shape (K, max(1, K - 1)): centred on 0, any two corners β·√2 apart as are β · one-hot
        vectors.
    """
    if class_count == 1:
        return np.zeros((1, 1), dtype=np.float32)
    centred = np.eye(class_count) - 1.0 / class_count
    # the centred corners span K - 1 dimensions: express them in an orthonormal basis of that span
    _, _, basis = np.linalg.svd(centred)
    corners = centred @ basis[: class_count - 1].T
    return np.ascontiguousarray(mask_weight * corners, dtype=np.float32)


def pack(image_HWC: F32, mask_HWK: F32, corners_KD: F32) -> F32:
    """Interleaves colours and class coordinates and pads by reflection.

    Args:
        image_HWC: [-1, 1], shape (H, W, 3), H and W >= 3.
        mask_HWK: class shares, summing to 1, or to 0 where unlabelled; shape (H, W, K).
        corners_KD: from :func:`class_corners`.

    Returns:
        Features of shape (G, H + 4, (W + 4) · 8).
    """
    height, width, _ = image_HWC.shape
    coordinates_HWD = mask_HWK @ corners_KD
    used = 3 + coordinates_HWD.shape[2]
    groups = -(-used // LANES)
    features_HWC = np.zeros((height, width, groups * LANES), dtype=np.float32)
    features_HWC[:, :, :3] = image_HWC
    features_HWC[:, :, 3:used] = coordinates_HWD
    padded_HWC = np.pad(features_HWC, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="reflect")
    padded_HWGL = padded_HWC.reshape(*padded_HWC.shape[:2], groups, LANES)
    packed = np.ascontiguousarray(padded_HWGL.transpose(2, 0, 1, 3))
    return packed.reshape(groups, height + 2 * RADIUS, (width + 2 * RADIUS) * LANES)


def reflect_borders(features: F32) -> None:
    """Writes the two reflected pixels on every side anew, in place, from the pixels inside."""
    groups, padded_h, row = features.shape
    pixels = features.reshape(groups, padded_h, row // LANES, LANES)
    for axis in (1, 2):
        last = pixels.shape[axis] - 1
        lined = np.moveaxis(pixels, axis, 0)
        for step in range(1, RADIUS + 1):
            lined[RADIUS - step] = lined[RADIUS + step]
            lined[last - RADIUS + step] = lined[last - RADIUS - step]


def resampling_matrix(size_in: int, size_out: int) -> F32:
    """One axis of a resize: area averages when shrinking, linear interpolation when enlarging.

    Returns:
        Shape (size_out, size_in), rows summing to 1.
    """
    centres = (np.arange(size_out) + 0.5) * size_in / size_out
    inputs = np.arange(size_in)
    if size_out < size_in:
        half = 0.5 * size_in / size_out
        low, high = centres[:, None] - half, centres[:, None] + half
        weights = np.minimum(high, inputs + 1) - np.maximum(low, inputs)
    else:
        clamped = np.clip(centres - 0.5, 0, size_in - 1)
        weights = 1 - np.abs(clamped[:, None] - inputs)
    weights = np.maximum(weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix: F32 = weights.astype(np.float32)
    return matrix


def resize(array_HWC: F32, height: int, width: int) -> F32:
    """Resizes an image or a mask of class shares; shape (height, width, C)."""
    if array_HWC.shape[:2] == (height, width):
        return array_HWC
    rows = resampling_matrix(array_HWC.shape[0], height)
    columns = resampling_matrix(array_HWC.shape[1], width)
    tall = np.tensordot(rows, array_HWC, axes=(1, 0))
    wide: F32 = np.tensordot(columns, tall, axes=(1, 1)).transpose(1, 0, 2)
    return np.ascontiguousarray(wide, dtype=np.float32)
