"""Differentiable augmentation: geometry and colour, the same draw for every scale of one image.

The transforms and their strengths are the published list of adaptive discriminator augmentation;
geometric ones move the mask too. What leaves the frame is reflected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE_STD_LOG2 = 0.2
TRANSLATION_STD = 0.125
MAX_INTEGER_TRANSLATION = 0.125
BRIGHTNESS_STD = 0.2
CONTRAST_STD_LOG2 = 0.5
SATURATION_STD_LOG2 = 1.0
LUMA = (1 / math.sqrt(3),) * 3


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Which families act, each of its transforms with ``probability``."""

    probability: float = 0.3
    geometry: bool = True
    colour: bool = True


@dataclass(frozen=True)
class AugmentationDraw:
    """One batch's draw.

    Attributes:
        sampling_B23: maps output positions to input positions, both in [−1, 1] coordinates.
        colour_B34: affine map of RGB, the last column an offset.
    """

    sampling_B23: Tensor | None
    colour_B34: Tensor | None


def draw(
    options: AugmentationOptions, batch: int, height: int, width: int, rng: torch.Generator
) -> AugmentationDraw:
    """Draws the transforms of a batch of images of this size."""
    return AugmentationDraw(
        _draw_geometry(options.probability, batch, height, width, rng)
        if options.geometry
        else None,
        _draw_colour(options.probability, batch, rng) if options.colour else None,
    )


def augment_images(images_BCHW: list[Tensor], drawn: AugmentationDraw) -> list[Tensor]:
    """Applies one draw to every scale; (B, 3, h, w) in [−1, 1] each."""
    out = []
    for image_BCHW in images_BCHW:
        moved = _resample(image_BCHW, drawn.sampling_B23, "bilinear")
        if drawn.colour_B34 is not None:
            colour = drawn.colour_B34.to(moved)
            moved = torch.einsum("bij,bjhw->bihw", colour[:, :, :3], moved)
            moved = moved + colour[:, :, 3, None, None]
        out.append(moved)
    return out


def augment_mask(mask_BKHW: Tensor, drawn: AugmentationDraw) -> Tensor:
    """Applies the draw's geometry to the masks by nearest neighbour, so that hard stays hard."""
    return _resample(mask_BKHW, drawn.sampling_B23, "nearest")


def _resample(x_BCHW: Tensor, sampling_B23: Tensor | None, mode: str) -> Tensor:
    if sampling_B23 is None:
        return x_BCHW
    grid = F.affine_grid(sampling_B23.to(x_BCHW), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, mode=mode, padding_mode="reflection", align_corners=False)


def _draw_geometry(
    probability: float, batch: int, height: int, width: int, rng: torch.Generator
) -> Tensor:
    """Composes the geometric transforms in pixel units, then converts to [−1, 1] coordinates."""

    def gate(neutral: float, value: Tensor) -> Tensor:
        on = torch.rand(batch, generator=rng) < probability
        return torch.where(on, value, torch.full_like(value, neutral))

    def normal(std: float) -> Tensor:
        return torch.randn(batch, generator=rng) * std

    def uniform(low: float, high: float) -> Tensor:
        return low + torch.rand(batch, generator=rng) * (high - low)

    flip = torch.where(torch.rand(batch, generator=rng) < probability / 2, -1.0, 1.0)
    matrix = _affine(batch, xx=flip)
    if height == width:
        quarter_turns = gate(0.0, torch.randint(0, 4, (batch,), generator=rng).float())
        matrix = _rotation(quarter_turns * (math.pi / 2)) @ matrix
    limit = MAX_INTEGER_TRANSLATION
    shift_x = gate(0.0, torch.round(uniform(-limit, limit) * width))
    shift_y = gate(0.0, torch.round(uniform(-limit, limit) * height))
    matrix = _affine(batch, dx=shift_x, dy=shift_y) @ matrix
    scale = gate(1.0, torch.exp2(normal(SCALE_STD_LOG2)))
    matrix = _affine(batch, xx=scale, yy=scale) @ matrix
    # a rotation before and one after the anisotropic scale, together with probability p
    each = 1 - math.sqrt(1 - probability)
    turned = [torch.rand(batch, generator=rng) < each for _ in range(2)]
    angles = [torch.where(t, uniform(-math.pi, math.pi), torch.zeros(batch)) for t in turned]
    matrix = _rotation(angles[0]) @ matrix
    stretch = gate(1.0, torch.exp2(normal(SCALE_STD_LOG2)))
    matrix = _affine(batch, xx=stretch, yy=1 / stretch) @ matrix
    matrix = _rotation(angles[1]) @ matrix
    drift_x = gate(0.0, normal(TRANSLATION_STD) * width)
    drift_y = gate(0.0, normal(TRANSLATION_STD) * height)
    matrix = _affine(batch, dx=drift_x, dy=drift_y) @ matrix
    inverse: Tensor = torch.linalg.inv(matrix)
    to_unit = torch.diag(torch.tensor([2 / width, 2 / height, 1.0]))
    to_px = torch.diag(torch.tensor([width / 2, height / 2, 1.0]))
    return (to_unit @ inverse @ to_px)[:, :2]


def _affine(
    batch: int,
    *,
    xx: Tensor | float = 1.0,
    yy: Tensor | float = 1.0,
    dx: Tensor | float = 0.0,
    dy: Tensor | float = 0.0,
) -> Tensor:
    matrix = torch.eye(3).repeat(batch, 1, 1)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2] = (
        torch.as_tensor(v, dtype=torch.float32).expand(batch) for v in (xx, yy, dx, dy)
    )
    return matrix


def _rotation(angle_B: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(angle_B.shape[0], 1, 1)
    cos, sin = angle_B.cos(), angle_B.sin()
    matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = cos, -sin, sin, cos
    return matrix


def _draw_colour(probability: float, batch: int, rng: torch.Generator) -> Tensor:
    """Brightness, contrast, luma flip, hue rotation and saturation as one affine map of RGB."""

    def chosen() -> Tensor:
        return torch.rand(batch, generator=rng) < probability

    matrix = torch.eye(4).repeat(batch, 1, 1)
    brightness = torch.where(chosen(), torch.randn(batch, generator=rng) * BRIGHTNESS_STD, 0.0)
    shift = torch.eye(4).repeat(batch, 1, 1)
    shift[:, :3, 3] = brightness[:, None]
    matrix = shift @ matrix
    contrast = torch.exp2(torch.randn(batch, generator=rng) * CONTRAST_STD_LOG2)
    contrast = torch.where(chosen(), contrast, torch.ones(batch))
    stretch = torch.eye(4).repeat(batch, 1, 1) * contrast[:, None, None]
    stretch[:, 3, 3] = 1.0
    matrix = stretch @ matrix
    axis = torch.tensor(LUMA)
    along = torch.zeros(4, 4)
    along[:3, :3] = torch.outer(axis, axis)
    flip = (chosen() & (torch.rand(batch, generator=rng) < 0.5)).float()
    matrix = (torch.eye(4) - 2 * flip[:, None, None] * along) @ matrix
    angle = torch.where(chosen(), (torch.rand(batch, generator=rng) * 2 - 1) * math.pi, 0.0)
    matrix = _hue_rotation(angle) @ matrix
    saturation = torch.exp2(torch.randn(batch, generator=rng) * SATURATION_STD_LOG2)
    saturation = torch.where(chosen(), saturation, torch.ones(batch))[:, None, None]
    matrix = (along + (torch.eye(4) - along) * _keep_last(saturation)) @ matrix
    return matrix[:, :3]


def _keep_last(factor_B11: Tensor) -> Tensor:
    """The factor for the RGB rows, 1 for the homogeneous row."""
    factor = factor_B11.repeat(1, 4, 1)
    factor[:, 3] = 1.0
    return factor


def _hue_rotation(angle_B: Tensor) -> Tensor:
    """Rotation about the luma axis (Rodrigues' formula)."""
    x, y, z = LUMA
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    axis = torch.tensor(LUMA)
    outer = torch.outer(axis, axis)
    cos, sin = angle_B.cos()[:, None, None], angle_B.sin()[:, None, None]
    rotation = torch.eye(4).repeat(angle_B.shape[0], 1, 1)
    rotation[:, :3, :3] = cos * torch.eye(3) + sin * cross + (1 - cos) * outer
    return rotation
