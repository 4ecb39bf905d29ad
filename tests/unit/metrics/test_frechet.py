"""The nuclear-norm form against the textbook one, and the paths against each other."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from osmis_core.metrics.frechet import FrechetReference, single_image_frechet


def textbook(x_CN: np.ndarray, y_CN: np.ndarray) -> float:
    cov_x, cov_y = np.cov(x_CN), np.cov(y_CN)
    gap = float(((x_CN.mean(1) - y_CN.mean(1)) ** 2).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = sqrtm(cov_x @ cov_y).real
    return gap + float(np.trace(cov_x + cov_y - 2 * root))


def cloud(seed: int, channels: int, positions: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(channels, channels)) / channels**0.5 + np.eye(channels)
    return mix @ rng.normal(size=(channels, positions)) + rng.normal(size=(channels, 1))


@pytest.mark.parametrize(("channels", "x_n", "y_n"), [(8, 400, 500), (32, 2000, 300), (16, 40, 90)])
def test_agrees_with_scipy(channels: int, x_n: int, y_n: int) -> None:
    x, y = cloud(1, channels, x_n), cloud(2, channels, y_n)
    ours = single_image_frechet(torch.tensor(x), torch.tensor(y))
    assert ours == pytest.approx(textbook(x, y), rel=1e-4)


@pytest.mark.parametrize(("x_n", "y_n"), [(20, 25), (20, 300), (300, 20), (300, 310)])
def test_few_and_many_positions_agree(x_n: int, y_n: int) -> None:
    """Every mix of the covariance path and the position path against an explicit nuclear norm."""
    x, y = torch.tensor(cloud(3, 48, x_n)), torch.tensor(cloud(4, 48, y_n))
    xc, yc = (v - v.mean(1, keepdim=True) for v in (x, y))
    xc, yc = xc / (x_n - 1) ** 0.5, yc / (y_n - 1) ** 0.5
    nuclear = torch.linalg.svdvals(xc.T @ yc).sum()
    gap = (x.mean(1) - y.mean(1)).square().sum()
    expected = float(gap + xc.square().sum() + yc.square().sum() - 2 * nuclear)
    assert single_image_frechet(x, y) == pytest.approx(expected, rel=1e-4)


def test_zero_for_equal_clouds_and_gap_for_shifted_ones() -> None:
    x = torch.tensor(cloud(5, 12, 200))
    assert single_image_frechet(x, x) == pytest.approx(0.0, abs=1e-4)
    assert single_image_frechet(x, x + 2.0) == pytest.approx(48.0, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 24), st.integers(17, 80), st.integers(17, 80))
def test_never_negative_and_symmetric(seed: int, channels: int, x_n: int, y_n: int) -> None:
    x = torch.tensor(cloud(seed, channels, x_n))
    y = torch.tensor(cloud(seed + 1, channels, y_n))
    forward, backward = single_image_frechet(x, y), single_image_frechet(y, x)
    assert forward >= 0
    assert forward == pytest.approx(backward, rel=1e-3, abs=1e-4)


def test_reference_is_reusable() -> None:
    x, y = torch.tensor(cloud(6, 8, 100)), torch.tensor(cloud(7, 8, 100))
    reference = FrechetReference.of(x)
    assert reference.distance(y) == reference.distance(y) == single_image_frechet(x, y)


def test_refuses_mismatched_clouds() -> None:
    with pytest.raises(ValueError, match="Channels differ"):
        single_image_frechet(torch.zeros(3, 20), torch.zeros(4, 20))
    with pytest.raises(ValueError, match="at least 2"):
        single_image_frechet(torch.zeros(3, 1), torch.zeros(3, 20))


@pytest.mark.parametrize("positions", [4096, 9001])
def test_slices_whose_means_differ_give_one_covariance(positions: int) -> None:
    """Features drift over an image, and the first slice's mean is not everybody's."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, positions)) + np.linspace(0, 50, positions) + 100
    y = rng.normal(size=(12, positions)) + np.linspace(50, 0, positions) + 101
    ours = single_image_frechet(torch.tensor(x).float(), torch.tensor(y).float())
    assert ours == pytest.approx(textbook(x, y), rel=1e-4)
