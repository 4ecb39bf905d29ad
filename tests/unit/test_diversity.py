"""The diversity regularisation, walked in three ways that agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest
import torch
from torch import Tensor

from osmis_core import diversity
from osmis_core.diversity import diversity_loss, pairwise_spread, walk_pairs, walk_pairs_compiled

SHAPES = [(4, 3, 5), (2, 40, 60)]


def double_loop(features_BCHW: Tensor) -> Tensor:
    f = torch.tanh(features_BCHW)
    pairs = combinations(range(len(f)), 2)
    return torch.stack([(f[i] - f[j]).abs().mean() for i, j in pairs]).mean()


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("batch", [2, 3, 5, 8])
def test_the_loss_is_the_mean_over_blocks_and_pairs(batch: int) -> None:
    features = [torch.randn(batch, *shape) for shape in SHAPES]
    expected = torch.stack([double_loop(f) for f in features]).mean()
    torch.testing.assert_close(-diversity_loss(features), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [2, 5])
def test_the_gradient_is_autograds(batch: int, layout: torch.memory_format) -> None:
    features = torch.randn(batch, 3, 20, 30).contiguous(memory_format=layout).requires_grad_()
    (expected,) = torch.autograd.grad(double_loop(features), features)
    (gradient,) = torch.autograd.grad(pairwise_spread(features), features)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_compiled_walk_agrees_with_the_plain_one(layout: torch.memory_format) -> None:
    x = torch.tanh(torch.randn(5, 16, 100, 120)).contiguous(memory_format=layout)
    assert x[0].numel() > diversity.BAND
    total, slope = walk_pairs(x.clone(memory_format=torch.preserve_format))
    compiled, compiled_slope = walk_pairs_compiled(x.clone(memory_format=torch.preserve_format))
    torch.testing.assert_close(compiled, total, rtol=1e-5, atol=0)
    torch.testing.assert_close(compiled_slope, slope, rtol=1e-5, atol=1e-6)


def test_equal_samples_pull_nowhere() -> None:
    features = torch.ones(3, 2, 4, 4, requires_grad=True)
    pairwise_spread(features).backward()
    assert pairwise_spread(features) == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_what_is_not_finite_stays_so() -> None:
    features = torch.randn(3, 2, 4, 4)
    features[1, 0, 0, 0] = torch.nan
    assert not torch.isfinite(pairwise_spread(features))


def test_bfloat16_features_get_bfloat16_gradients() -> None:
    features = torch.randn(3, 2, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    spread = pairwise_spread(features)
    spread.backward()
    assert spread.dtype == torch.float32
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16
