"""Every colour transform alone, against a closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osmis_core.augment.colour import Colour, apply_colour, colour_matrix, draw_colour
from osmis_core.augment.draws import BatchDraws

IMAGE = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
GREY = IMAGE.mean(1, keepdim=True)


def _apply(**values: float) -> torch.Tensor:
    tensors = {name: torch.full((2,), value) for name, value in values.items()}
    return apply_colour(IMAGE, colour_matrix(replace(Colour.neutral(2), **tensors)))


def _close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_neutral_changes_nothing() -> None:
    _close(_apply(), IMAGE)


@settings(max_examples=20)
@given(st.floats(-1, 1))
def test_brightness_is_added(value: float) -> None:
    _close(_apply(brightness_B=value), IMAGE + value)


@settings(max_examples=20)
@given(st.floats(0.2, 4))
def test_contrast_is_a_factor_about_mid_grey(value: float) -> None:
    _close(_apply(contrast_B=value), IMAGE * value)


def test_luma_flip_negates_grey_and_keeps_what_is_not() -> None:
    _close(_apply(luma_flip_B=1.0), IMAGE - 2 * GREY)


def test_a_third_of_a_turn_of_hue_moves_each_channel_to_the_next() -> None:
    _close(_apply(hue_B=2 * math.pi / 3), IMAGE.roll(1, 1))


@settings(max_examples=20)
@given(st.floats(-math.pi, math.pi))
def test_hue_keeps_grey_and_chroma(value: float) -> None:
    turned = _apply(hue_B=value)
    _close(turned.mean(1, keepdim=True), GREY)
    _close((turned - GREY).norm(dim=1), (IMAGE - GREY).norm(dim=1))
    cosine = ((turned - GREY) * (IMAGE - GREY)).sum(1) / (IMAGE - GREY).square().sum(1)
    _close(cosine, torch.full_like(cosine, math.cos(value)))


@settings(max_examples=20)
@given(st.floats(0, 4))
def test_saturation_is_a_factor_about_grey(value: float) -> None:
    _close(_apply(saturation_B=value), GREY + value * (IMAGE - GREY))


def test_brightness_comes_before_contrast_and_the_luma_flip() -> None:
    changed = _apply(brightness_B=0.3, contrast_B=2.0, luma_flip_B=1.0)
    expected = 2 * (IMAGE + 0.3)
    _close(changed, expected - 2 * expected.mean(1, keepdim=True))


def test_strengths_and_probabilities_are_the_published_ones() -> None:
    drawn = draw_colour(BatchDraws(0.3, 20_000, torch.Generator().manual_seed(0)))
    assert float(drawn.luma_flip_B.mean()) == pytest.approx(0.15, abs=0.01)
    assert float((drawn.hue_B != 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(drawn.hue_B.abs().max()) <= math.pi
    for values, neutral, std in (
        (drawn.brightness_B, 0.0, 0.2),
        (drawn.contrast_B, 1.0, 0.5),
        (drawn.saturation_B, 1.0, 1.0),
    ):
        changed = values[values != neutral]
        assert len(changed) / len(values) == pytest.approx(0.3, abs=0.01)
        spread = changed if neutral == 0 else changed.log2()
        assert float(spread.std()) == pytest.approx(std, rel=0.05)
