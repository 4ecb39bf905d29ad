"""Four-band filtering: bands are where they should be, at every scale."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osmis_core.augment.draws import BatchDraws
from osmis_core.augment.filtering import (
    BAND_POWER,
    band_weights,
    dct_matrix,
    draw_band_gains,
    filter_bands,
)

FULL = (64, 128)
GAINS = torch.tensor([[0.5, 2.0, 3.0, 0.25]])
BAND_CENTRES = (1 / 16, 3 / 16, 3 / 8, 3 / 4)
"""Of the Nyquist frequency."""


def _wave(height: int, width: int, halves_y: float, halves_x: float) -> torch.Tensor:
    """A product of cosines with so many half periods to the frame, (1, 3, H, W)."""
    y = torch.cos((torch.arange(height) + 0.5) * halves_y * math.pi / height)
    x = torch.cos((torch.arange(width) + 0.5) * halves_x * math.pi / width)
    return (y[:, None] * x[None]).expand(1, 3, -1, -1)


@pytest.mark.parametrize("band", range(4))
@pytest.mark.parametrize("direction", ["vertical", "horizontal", "diagonal"])
def test_a_wave_in_a_band_is_scaled_by_the_band_s_gain(band: int, direction: str) -> None:
    share = {"vertical": (1, 0), "horizontal": (0, 1), "diagonal": (0.5**0.5,) * 2}[direction]
    halves = [round(BAND_CENTRES[band] * n * s) for n, s in zip(FULL, share, strict=True)]
    wave = _wave(*FULL, *halves)
    filtered = filter_bands(wave, GAINS, FULL)
    torch.testing.assert_close(filtered, GAINS[0, band] * wave, rtol=0, atol=1e-4)


def test_a_wave_that_fits_no_frame_is_scaled_away_from_the_borders() -> None:
    """A plain sine, not one of the transform's own cosines."""
    x = torch.arange(128.0)
    wave = torch.sin(x * math.pi * 0.367 + 0.4).expand(1, 3, 64, 128)
    filtered = filter_bands(wave, GAINS, FULL)
    assert float((filtered - GAINS[0, 2] * wave)[..., 32:96].abs().max()) < 0.1


def test_between_bands_the_gain_lies_between_theirs() -> None:
    wave = _wave(*FULL, 0, 64)
    filtered = filter_bands(wave, GAINS, FULL)
    gain = float((filtered * wave).sum() / wave.square().sum())
    assert gain == pytest.approx((3.0 + 0.25) / 2, rel=1e-3)


@settings(max_examples=20)
@given(st.floats(0.1, 4), st.sampled_from([(64, 128), (33, 7), (1, 1), (2, 4)]))
def test_equal_gains_are_a_factor(gain: float, size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size)
    filtered = filter_bands(image, torch.full((2, 4), gain), size)
    torch.testing.assert_close(filtered, gain * image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_smaller_scales_see_the_lower_bands_only(level: int) -> None:
    """The same content has the same gain at every scale; what is left below 1/8 is one band."""
    size = (FULL[0] >> level, FULL[1] >> level)
    halves = size[1] / 2 - 1
    wave = _wave(*size, 0, halves)
    filtered = filter_bands(wave, GAINS, FULL)
    fine_wave = _wave(*FULL, 0, halves)
    fine = filter_bands(fine_wave, GAINS, FULL)
    gain = float((filtered * wave).sum() / wave.square().sum())
    expected = float((fine * fine_wave).sum() / fine_wave.square().sum())
    assert gain == pytest.approx(expected, rel=1e-4)
    if level == 5:
        noise = torch.randn(1, 3, *size)
        torch.testing.assert_close(filter_bands(noise, GAINS, FULL), 0.5 * noise)


def test_samples_that_were_not_chosen_stay_as_they_are() -> None:
    image = torch.randn(3, 3, *FULL)
    gains = torch.cat((torch.ones(1, 4), GAINS, torch.ones(1, 4)))
    filtered = filter_bands(image, gains, FULL)
    assert torch.equal(filtered[::2], image[::2])
    assert not torch.allclose(filtered[1], image[1])
    torch.testing.assert_close(filtered[1:2], filter_bands(image[1:2], GAINS, FULL))
    assert filter_bands(image, torch.ones(3, 4), FULL) is image


def test_the_bands_add_up_to_the_whole() -> None:
    total = band_weights(*FULL, *FULL).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))
    matrix = dct_matrix(37, torch.float64, torch.device("cpu"))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(37, dtype=torch.float64))


def test_gains_keep_the_expected_power_and_are_drawn_per_band() -> None:
    rng = torch.Generator().manual_seed(0)
    gains = draw_band_gains(BatchDraws(0.3, 20_000, rng))
    untouched = (gains == 1).all(1)
    assert float(untouched.float().mean()) == pytest.approx(0.7**4, abs=0.01)
    power = torch.tensor(BAND_POWER)
    for band in range(4):
        others = gains[:, [b for b in range(4) if b != band]]
        alone = (others == others[:, :1]).all(1) & (gains[:, band] != others[:, 0])
        assert float(alone.float().mean()) == pytest.approx(0.3 * 0.7**3, abs=0.01)
        total = gains[alone].square() @ power
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-4, atol=0)
        ratio = (gains[alone, band] / others[alone, 0]).log2()
        assert float(ratio.std()) == pytest.approx(1.0, rel=0.05)


def test_gradient_is_right() -> None:
    image = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    gains = torch.cat((GAINS, torch.ones(1, 4)))
    assert torch.autograd.gradcheck(
        lambda x: filter_bands(x, gains, (12, 10)), image, fast_mode=True
    )
