"""Noise and cutout, at full size and at smaller scales."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from osmis_core.augment.corruption import add_noise, cut_out, draw_cutout, draw_noise
from osmis_core.augment.draws import BatchDraws

FULL = (64, 128)


def _draws(probability: float, batch: int, seed: int = 0) -> BatchDraws:
    return BatchDraws(probability, batch, torch.Generator().manual_seed(seed))


def test_the_noise_s_deviation_is_drawn_per_image() -> None:
    noise = draw_noise(_draws(1.0, 3000), 16, 16)
    assert len(noise.samples_N) == 3000
    std = noise.values_NCHW.flatten(1).std(1)
    assert float(std.square().mean().sqrt()) == pytest.approx(0.1, rel=0.05)
    assert float(std.mean()) == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.05)
    assert float(noise.values_NCHW.mean()) == pytest.approx(0, abs=1e-3)


def test_noise_is_added_to_the_samples_it_was_drawn_for() -> None:
    noise = draw_noise(_draws(0.3, 200), 4, 6)
    assert 0.2 < len(noise.samples_N) / 200 < 0.4
    image = torch.randn(200, 3, 4, 6)
    noisy = add_noise(image, noise)
    torch.testing.assert_close(noisy[noise.samples_N], image[noise.samples_N] + noise.values_NCHW)
    clean = torch.ones(200, dtype=torch.bool)
    clean[noise.samples_N] = False
    assert torch.equal(noisy[clean], image[clean])


@pytest.mark.parametrize("level", [1, 2, 5])
def test_smaller_scales_show_the_same_noise_averaged_over_areas(level: int) -> None:
    noise = draw_noise(_draws(1.0, 40), *FULL)
    fine = add_noise(torch.zeros(40, 3, *FULL), noise)
    coarse = add_noise(torch.zeros(40, 3, FULL[0] >> level, FULL[1] >> level), noise)
    torch.testing.assert_close(coarse, F.avg_pool2d(fine, 2**level), rtol=1e-4, atol=1e-6)
    assert float(coarse.std() / fine.std()) == pytest.approx(2**-level, rel=0.1)


def test_noise_spelled_out_for_all_samples_is_the_same() -> None:
    noise = draw_noise(_draws(0.3, 20), 4, 6)
    assert 0 < len(noise.samples_N) < 20
    image = torch.randn(20, 3, 4, 6)
    of_all = noise.of_all(20)
    assert of_all.values_NCHW.shape == image.shape
    assert torch.equal(add_noise(image, of_all), add_noise(image, noise))


def test_no_noise_where_none_was_drawn() -> None:
    image = torch.randn(2, 3, *FULL)
    assert add_noise(image, draw_noise(_draws(0.0, 2), *FULL)) is image


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([(64, 128), (32, 32), (20, 12)]))
def test_a_cutout_is_a_quarter_of_the_frame_less_what_hangs_over(
    seed: int, size: tuple[int, int]
) -> None:
    cuts = draw_cutout(_draws(1.0, 8, seed), *size)
    image = torch.rand(8, 3, *size) + 1
    cut = cut_out(image, cuts, size)
    hidden = (cut == 0).all(1)
    assert torch.equal(cut, image * ~hidden[:, None])  # grey inside, as it was outside
    for sample, (top, bottom, left, right) in enumerate(cuts.int().tolist()):
        expected = torch.zeros(size, dtype=torch.bool)
        expected[top:bottom, left:right] = True
        assert torch.equal(hidden[sample], expected)
        rows = size[0] // 2 if top > 0 and bottom < size[0] else bottom - top
        columns = size[1] // 2 if left > 0 and right < size[1] else right - left
        assert int(hidden[sample].sum()) == rows * columns
        assert size[0] // 4 <= rows <= size[0] // 2
        assert size[1] // 4 <= columns <= size[1] // 2


def test_cutouts_lie_anywhere_and_act_with_their_probability() -> None:
    cuts = draw_cutout(_draws(0.3, 20_000), *FULL)
    acting = cuts[(cuts[:, 1] > cuts[:, 0])]
    assert len(acting) / len(cuts) == pytest.approx(0.3, abs=0.01)
    whole = (acting[:, 1] - acting[:, 0] == 32) & (acting[:, 3] - acting[:, 2] == 64)
    assert float(whole.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(acting[:, :2].mean()) == pytest.approx(32, abs=1)
    assert float(acting[:, 2:].mean()) == pytest.approx(64, abs=2)


@pytest.mark.parametrize("level", [1, 3, 5])
def test_every_scale_has_the_same_cut(level: int) -> None:
    cuts = draw_cutout(_draws(0.7, 30), *FULL)
    fine = cut_out(torch.ones(30, 3, *FULL), cuts, FULL)
    coarse = cut_out(torch.ones(30, 3, FULL[0] >> level, FULL[1] >> level), cuts, FULL)
    torch.testing.assert_close(coarse, F.avg_pool2d(fine, 2**level), rtol=0, atol=1e-6)


def test_gradients_are_right() -> None:
    image = torch.randn(3, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    cuts, noise = draw_cutout(_draws(1.0, 3), 8, 16), draw_noise(_draws(0.6, 3), 8, 16)
    assert torch.autograd.gradcheck(lambda x: cut_out(x, cuts, (8, 16)), image, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: add_noise(x, noise), image, fast_mode=True)
