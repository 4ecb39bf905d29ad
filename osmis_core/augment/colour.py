"""Colour augmentation: one affine map of RGB a sample, the same at every scale.

In the published order: brightness, contrast, luma flip, hue rotation, saturation. Luma is the
grey axis (1, 1, 1) / √3; image values are in [−1, 1] and are not clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from osmis_core.augment.draws import BatchDraws

BRIGHTNESS_STD = 0.2
CONTRAST_STD_LOG2 = 0.5
SATURATION_STD_LOG2 = 1.0
LUMA = (1 / math.sqrt(3),) * 3


@dataclass(frozen=True, kw_only=True)
class Colour:
    """The colour transforms of a batch, (B,) each, in the order of application.

    Attributes:
        brightness_B: added to every channel.
        contrast_B: factor of every channel, about mid-grey.
        luma_flip_B: 1 where luma is negated and hue kept, else 0.
        hue_B: rotation about the luma axis, radians.
        saturation_B: factor of what is not luma.
    """

    brightness_B: Tensor
    contrast_B: Tensor
    luma_flip_B: Tensor
    hue_B: Tensor
    saturation_B: Tensor

    @classmethod
    def neutral(cls, batch: int) -> Colour:
        """Changes no colour."""
        zero, one = torch.zeros(batch), torch.ones(batch)
        return cls(
            brightness_B=zero, contrast_B=one, luma_flip_B=zero, hue_B=zero, saturation_B=one
        )


def draw_colour(draws: BatchDraws) -> Colour:
    """Draws every transform; the luma flip uniformly from its two values, as it is included."""
    return Colour(
        brightness_B=draws.gated(draws.normal(BRIGHTNESS_STD), 0.0),
        contrast_B=draws.gated(draws.log2_normal(CONTRAST_STD_LOG2), 1.0),
        luma_flip_B=draws.gated(draws.integers(2), 0.0),
        hue_B=draws.gated(draws.uniform(-math.pi, math.pi), 0.0),
        saturation_B=draws.gated(draws.log2_normal(SATURATION_STD_LOG2), 1.0),
    )


def colour_matrix(colour: Colour) -> Tensor:
    """The composed affine map, (B, 3, 4): what multiplies (R, G, B, 1).

    Only brightness has an offset, and everything after it is linear, so the offset is the linear
    part applied to equal channels.
    """
    axis_3 = torch.tensor(LUMA)
    along_33 = torch.outer(axis_3, axis_3)
    eye_33 = torch.eye(3)
    contrast_B33 = colour.contrast_B[:, None, None] * eye_33
    flip_B33 = eye_33 - 2 * colour.luma_flip_B[:, None, None] * along_33
    saturation_B33 = along_33 + colour.saturation_B[:, None, None] * (eye_33 - along_33)
    linear_B33 = saturation_B33 @ _hue_rotation(colour.hue_B) @ flip_B33 @ contrast_B33
    offset_B31 = linear_B33.sum(2, keepdim=True) * colour.brightness_B[:, None, None]
    return torch.cat((linear_B33, offset_B31), 2)


def apply_colour(image_BCHW: Tensor, colour_B34: Tensor) -> Tensor:
    """The map applied to every pixel of (B, 3, H, W)."""
    colour = colour_B34.to(image_BCHW)
    flat_BCN = image_BCHW.flatten(2)
    mapped_BCN = torch.baddbmm(colour[:, :, 3:], colour[:, :, :3], flat_BCN)
    return mapped_BCN.view(image_BCHW.shape)


def _hue_rotation(angle_B: Tensor) -> Tensor:
    """Rotation about the luma axis (Rodrigues' formula), (B, 3, 3)."""
    x, y, z = LUMA
    cross_33 = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    axis_3 = torch.tensor(LUMA)
    cos, sin = angle_B.cos()[:, None, None], angle_B.sin()[:, None, None]
    return cos * torch.eye(3) + sin * cross_33 + (1 - cos) * torch.outer(axis_3, axis_3)
