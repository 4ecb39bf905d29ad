"""Every geometric transform alone, against a closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from osmis_core.augment.draws import BatchDraws
from osmis_core.augment.geometry import (
    MAX_INTEGER_TRANSLATION,
    Geometry,
    draw_geometry,
    resample,
    sampling_matrix,
)

SIZES = [(48, 64), (7, 12), (16, 16), (2, 4), (1, 3)]


def _apply(
    image: torch.Tensor,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    **values: float | list[float],
) -> torch.Tensor:
    """The image after transforms that all samples share."""
    batch, _, height, width = image.shape
    shared = {name: torch.tensor([value] * batch).float() for name, value in values.items()}
    matrix = sampling_matrix(replace(Geometry.neutral(batch), **shared), height, width)
    return resample(image, matrix, mode)


def _positions(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels' x and y about the centre of the frame."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    return x[None].expand(height, -1), y[:, None].expand(-1, width)


def _reads(
    height: int, width: int, **values: float | list[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a transform reads: an image of its own positions tells, as interpolation is exact."""
    x, y = _positions(height, width)
    moved = _apply(torch.stack((x, y))[None], **values)[0]
    return moved[0], moved[1]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_neutral_moves_nothing(height: int, width: int) -> None:
    image = torch.randn(2, 3, height, width)
    torch.testing.assert_close(_apply(image), image, rtol=0, atol=1e-4)
    assert torch.equal(_apply(image, "nearest"), image)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_mirroring_exchanges_left_and_right(height: int, width: int) -> None:
    image = torch.randn(2, 3, height, width)
    torch.testing.assert_close(_apply(image, mirror_B=-1.0), image.flip(3), rtol=0, atol=1e-4)
    assert torch.equal(_apply(image, "nearest", mirror_B=-1.0), image.flip(3))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 9, 32])
def test_quarter_turns_of_squares(turns: int, size: int) -> None:
    image = torch.randn(2, 3, size, size)
    expected = torch.rot90(image, -turns, (2, 3))
    assert torch.equal(_apply(image, "nearest", quarter_turns_B=float(turns)), expected)
    turned = _apply(image, quarter_turns_B=float(turns))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-4)


@settings(max_examples=25)
@given(st.integers(-6, 6), st.integers(-4, 4))
def test_a_whole_pixel_shift_moves_exactly_and_reflects_what_it_uncovers(dx: int, dy: int) -> None:
    image = torch.randn(1, 2, 9, 12)
    padded = np.pad(image[0].numpy(), ((0, 0), (6, 6), (6, 6)), mode="symmetric")
    expected = padded[:, 6 - dy : 15 - dy, 6 - dx : 18 - dx]
    shifted = _apply(image, "nearest", shift_px_B2=[dx, dy])[0].numpy()
    assert np.array_equal(shifted, expected)


@settings(max_examples=30)
@given(
    st.sampled_from(["zoom_B", "turn_before_B", "turn_after_B", "stretch_B", "drift_px_B2"]),
    st.floats(0.4, 2.5),
    st.sampled_from([(40, 64), (33, 20), (64, 64)]),
)
def test_each_map_reads_where_its_inverse_says(
    name: str, value: float, size: tuple[int, int]
) -> None:
    x, y = _positions(*size)
    cos, sin = math.cos(value), math.sin(value)
    expected = {
        "zoom_B": (x / value, y / value),
        "turn_before_B": (cos * x + sin * y, cos * y - sin * x),
        "turn_after_B": (cos * x + sin * y, cos * y - sin * x),
        "stretch_B": (x / value, y * value),
        "drift_px_B2": (x - value, y + 2 * value),
    }[name]
    given_value = [value, -2 * value] if name == "drift_px_B2" else value
    reads = _reads(*size, **{name: given_value})
    inside = (expected[0].abs() < size[1] / 2 - 1) & (expected[1].abs() < size[0] / 2 - 1)
    assert bool(inside.any())
    for found, wanted in zip(reads, expected, strict=True):
        assert float((found - wanted)[inside].abs().max()) < 1e-3


def test_transforms_are_applied_in_the_published_order() -> None:
    """Mirror, shift, zoom, drift: x → zoom · (shift − x) + drift."""
    found, _ = _reads(
        8, 64, mirror_B=-1.0, shift_px_B2=[3.0, 0.0], zoom_B=2.0, drift_px_B2=[5.0, 0.0]
    )
    x, _ = _positions(8, 64)
    expected = 3.0 - (x - 5.0) / 2.0
    inside = expected.abs() < 31
    assert float((found - expected)[inside].abs().max()) < 1e-3


def test_a_stretch_between_rotations_is_not_one_along_the_axes() -> None:
    turned = _reads(64, 64, turn_before_B=math.pi / 2, stretch_B=1.5, turn_after_B=-math.pi / 2)
    expected = _reads(64, 64, stretch_B=1 / 1.5)
    for found, wanted in zip(turned, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("square", [True, False])
def test_strengths_and_probabilities_are_the_published_ones(square: bool) -> None:
    height, width = (64, 64) if square else (64, 128)
    batch = 20_000
    draws = BatchDraws(0.3, batch, torch.Generator().manual_seed(0))
    drawn = draw_geometry(draws, height, width)

    def share(changed: torch.Tensor) -> float:
        return float(changed.float().mean())

    assert share(drawn.mirror_B == -1) == pytest.approx(0.15, abs=0.01)
    assert share(drawn.quarter_turns_B != 0) == pytest.approx(0.225 if square else 0.0, abs=0.01)
    turned = (drawn.turn_before_B != 0) | (drawn.turn_after_B != 0)
    assert share(turned) == pytest.approx(0.3, abs=0.01)
    for values, std in ((drawn.zoom_B, 0.2), (drawn.stretch_B, 0.2)):
        assert share(values != 1) == pytest.approx(0.3, abs=0.01)
        assert float(values[values != 1].log2().std()) == pytest.approx(std, rel=0.05)
    shift = drawn.shift_px_B2 / torch.tensor([width, height])
    assert torch.equal(drawn.shift_px_B2, drawn.shift_px_B2.round())
    assert float(shift.abs().max()) <= MAX_INTEGER_TRANSLATION
    drift = drawn.drift_px_B2 / torch.tensor([width, height])
    moved = drift[(drift != 0).all(1)]
    assert len(moved) / batch == pytest.approx(0.3, abs=0.01)
    assert moved.std(0).tolist() == pytest.approx([0.125, 0.125], rel=0.05)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([(32, 64), (24, 24), (48, 20), (2, 4)]))
def test_a_hard_mask_stays_hard_and_its_values_are_the_source_s(
    seed: int, size: tuple[int, int]
) -> None:
    rng = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 3, (4, *size), generator=rng)
    mask = F.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    mask[:, :, 0, 0] = 0  # ignored
    matrix = sampling_matrix(draw_geometry(BatchDraws(1.0, 4, rng), *size), *size)
    moved = resample(mask, matrix, "nearest")
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert bool((moved.sum(1) <= 1).all())
