"""Geometric augmentation: one affine map a sample, for the image at every scale and for the mask.

In the published order: mirroring, quarter turns, whole-pixel shift, isotropic scale, rotation,
anisotropic scale, rotation, shift. What leaves the frame is replaced by its reflection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.augment.draws import BatchDraws

MAX_INTEGER_TRANSLATION = 0.125
SCALE_STD_LOG2 = 0.2
TRANSLATION_STD = 0.125


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The geometric transforms of a batch, in the order of application.

    Attributes:
        mirror_B: −1 where left and right are exchanged, else 1.
        quarter_turns_B: turns by 90°, 0 … 3; other than 0 only in square frames.
        shift_px_B2: whole pixels to the right and down.
        zoom_B: isotropic scale, above 1 enlarges.
        turn_before_B: radians, before the anisotropic scale.
        stretch_B: scale of the width, the height's being its inverse.
        turn_after_B: radians, after the anisotropic scale.
        drift_px_B2: pixels to the right and down.
    """

    mirror_B: Tensor
    quarter_turns_B: Tensor
    shift_px_B2: Tensor
    zoom_B: Tensor
    turn_before_B: Tensor
    stretch_B: Tensor
    turn_after_B: Tensor
    drift_px_B2: Tensor

    @classmethod
    def neutral(cls, batch: int) -> Geometry:
        """Moves nothing."""
        zero, one = torch.zeros(batch), torch.ones(batch)
        return cls(
            mirror_B=one,
            quarter_turns_B=zero,
            shift_px_B2=torch.zeros(batch, 2),
            zoom_B=one,
            turn_before_B=zero,
            stretch_B=one,
            turn_after_B=zero,
            drift_px_B2=torch.zeros(batch, 2),
        )


def draw_geometry(draws: BatchDraws, height: int, width: int) -> Geometry:
    """Draws every transform for frames of this size.

    Mirroring and quarter turns are drawn uniformly from all their values, "as it is" included.
    The rotations before and after the anisotropic scale act together with the probability of one.
    """
    size_2 = torch.tensor([width, height])

    def both_axes(x_B: Tensor, y_B: Tensor) -> Tensor:
        return torch.stack((x_B, y_B), 1) * size_2

    square = height == width
    quarters = draws.integers(4) if square else torch.zeros(draws.batch)
    limit = MAX_INTEGER_TRANSLATION
    shift_px_B2 = both_axes(draws.uniform(-limit, limit), draws.uniform(-limit, limit))
    drift_px_B2 = both_axes(draws.normal(TRANSLATION_STD), draws.normal(TRANSLATION_STD))
    return Geometry(
        mirror_B=draws.gated(1 - 2 * draws.integers(2), 1.0),
        quarter_turns_B=draws.gated(quarters, 0.0),
        shift_px_B2=draws.gated(shift_px_B2.round(), 0.0),
        zoom_B=draws.gated(draws.log2_normal(SCALE_STD_LOG2), 1.0),
        turn_before_B=draws.gated(draws.uniform(-math.pi, math.pi), 0.0, halves=True),
        stretch_B=draws.gated(draws.log2_normal(SCALE_STD_LOG2), 1.0),
        turn_after_B=draws.gated(draws.uniform(-math.pi, math.pi), 0.0, halves=True),
        drift_px_B2=draws.gated(drift_px_B2, 0.0),
    )


def sampling_matrix(geometry: Geometry, height: int, width: int) -> Tensor:
    """The map from output positions to input positions, both in [−1, 1] coordinates: (B, 2, 3).

    Composed in pixels, so that rotations keep angles in frames that are not square; the same
    matrix serves every scale of the frame.
    """
    matrix_B33 = _axes(geometry.mirror_B, torch.ones_like(geometry.mirror_B))
    matrix_B33 = _rotation(geometry.quarter_turns_B * (math.pi / 2)) @ matrix_B33
    matrix_B33 = _translation(geometry.shift_px_B2) @ matrix_B33
    matrix_B33 = _axes(geometry.zoom_B, geometry.zoom_B) @ matrix_B33
    matrix_B33 = _rotation(geometry.turn_before_B) @ matrix_B33
    matrix_B33 = _axes(geometry.stretch_B, 1 / geometry.stretch_B) @ matrix_B33
    matrix_B33 = _rotation(geometry.turn_after_B) @ matrix_B33
    matrix_B33 = _translation(geometry.drift_px_B2) @ matrix_B33
    to_input_B33: Tensor = torch.linalg.inv(matrix_B33)
    to_unit_33 = torch.diag(torch.tensor([2 / width, 2 / height, 1.0]))
    to_px_33 = torch.diag(torch.tensor([width / 2, height / 2, 1.0]))
    return (to_unit_33 @ to_input_B33 @ to_px_33)[:, :2]


def resample(x_BCHW: Tensor, sampling_B23: Tensor, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """Reads the input where the map says; float32 or float64, whose precision positions need."""
    grid_BHW2 = F.affine_grid(sampling_B23.to(x_BCHW), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(
        x_BCHW, grid_BHW2, mode=mode, padding_mode="reflection", align_corners=False
    )


def _axes(x_B: Tensor, y_B: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack((x_B, y_B, torch.ones_like(x_B)), 1))


def _translation(px_B2: Tensor) -> Tensor:
    matrix_B33 = torch.eye(3).repeat(px_B2.shape[0], 1, 1)
    matrix_B33[:, :2, 2] = px_B2
    return matrix_B33


def _rotation(angle_B: Tensor) -> Tensor:
    matrix_B33 = torch.eye(3).repeat(angle_B.shape[0], 1, 1)
    cos, sin = angle_B.cos(), angle_B.sin()
    matrix_B33[:, 0, 0], matrix_B33[:, 0, 1] = cos, -sin
    matrix_B33[:, 1, 0], matrix_B33[:, 1, 1] = sin, cos
    return matrix_B33
