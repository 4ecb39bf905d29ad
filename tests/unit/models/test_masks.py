"""What the discriminator sees of a mask: straight-through draws and content vectors."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from osmis_core.masks import argmax_one_hot
from osmis_core.models.attention import masked_content_attention, resize_mask
from osmis_core.models.straight_through import (
    bernoulli_mask,
    categorical_one_hot,
    straight_through,
)

PROBABILITIES_K = torch.tensor([0.6, 0.3, 0.1])


def _many_pixels(count: int) -> torch.Tensor:
    return PROBABILITIES_K[None, :, None, None].expand(1, 3, 1, count).contiguous()


def _uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_a_categorical_draw_is_one_hot_and_unbiased() -> None:
    drawn = categorical_one_hot(_many_pixels(10_000), _uniform(1, 1, 1, 10_000))
    assert torch.equal(drawn.sum(1), torch.ones(1, 1, 10_000))
    share_K = drawn.mean((0, 2, 3))
    sigma_K = (PROBABILITIES_K * (1 - PROBABILITIES_K) / 10_000).sqrt()
    assert torch.all((share_K - PROBABILITIES_K).abs() < 3 * sigma_K)


def test_one_hot_masks_agree_with_argmax_and_with_the_cumulative_sum() -> None:
    mask = torch.randn(2, 4, 5, 6).softmax(1)
    expected = F.one_hot(mask.argmax(1), 4).permute(0, 3, 1, 2).float()
    assert torch.equal(argmax_one_hot(mask), expected)
    uniform = _uniform(2, 1, 5, 6)
    drawn = categorical_one_hot(mask, uniform)
    passed = (uniform > mask.cumsum(1)).sum(1).clamp_max(3)
    assert torch.equal(drawn, F.one_hot(passed, 4).permute(0, 3, 1, 2).float())


def test_the_first_of_equally_likely_classes_is_taken() -> None:
    even = torch.full((1, 3, 2, 2), 1 / 3)
    assert torch.equal(argmax_one_hot(even)[:, 0], torch.ones(1, 2, 2))


def test_a_bernoulli_draw_is_unbiased_but_not_one_hot() -> None:
    drawn = bernoulli_mask(_many_pixels(10_000), _uniform(1, 3, 1, 10_000))
    share_K = drawn.mean((0, 2, 3))
    sigma_K = (PROBABILITIES_K * (1 - PROBABILITIES_K) / 10_000).sqrt()
    assert torch.all((share_K - PROBABILITIES_K).abs() < 3 * sigma_K)
    assert not torch.equal(drawn.sum(1), torch.ones(1, 1, 10_000))


def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    soft = logits.softmax(1)
    weight = torch.randn_like(soft)
    (expected,) = torch.autograd.grad((soft * weight).sum(), logits, retain_graph=True)
    hard = argmax_one_hot(soft)
    seen = straight_through(soft, hard)
    torch.testing.assert_close(seen.detach(), hard)
    (gradient,) = torch.autograd.grad((seen * weight).sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_content_vectors_are_means_under_the_mask() -> None:
    features = torch.randn(2, 5, 4, 6)
    mask = F.one_hot(torch.randint(3, (2, 4, 6)), 3).permute(0, 3, 1, 2).float()
    vectors = masked_content_attention(features, mask)
    for b in range(2):
        for k in range(3):
            inside = mask[b, k].bool()
            torch.testing.assert_close(vectors[b, k], features[b][:, inside].mean(1))
    published = masked_content_attention(features, mask, masked_mean=False)
    area = mask.mean((2, 3))[..., None]
    torch.testing.assert_close(published, vectors * area)


def test_a_class_without_a_pixel_still_gets_a_gradient() -> None:
    soft = torch.tensor([0.9, 0.1])[None, :, None, None].repeat(1, 1, 4, 4).requires_grad_()
    seen = straight_through(soft, argmax_one_hot(soft))
    vectors = masked_content_attention(torch.rand(1, 3, 4, 4) + 0.5, seen)
    assert torch.equal(vectors[0, 1], torch.zeros(3))
    vectors[0, 1].sum().backward()
    assert soft.grad is not None
    assert bool((soft.grad[0, 1] != 0).all())


def test_a_mean_does_not_pull_the_mask_where_all_pixels_look_alike() -> None:
    """Growing a class by pixels like its own must not change its vector, nor its gradient."""
    mask = torch.full((1, 2, 4, 4), 0.5, requires_grad=True)
    masked_content_attention(torch.ones(1, 3, 4, 4), mask).sum().backward()
    torch.testing.assert_close(mask.grad, torch.zeros(1, 2, 4, 4))


def test_resizing_a_mask_keeps_thin_objects_as_shares() -> None:
    mask = torch.zeros(1, 2, 16, 16)
    mask[:, 0] = 1
    mask[:, :, :, 5] = torch.tensor([0.0, 1.0])[None, :, None]
    small = resize_mask(mask, 2, 2)
    torch.testing.assert_close(small.sum(1), torch.ones(1, 2, 2))
    torch.testing.assert_close(small[0, 1, :, 0], torch.full((2,), 1 / 8))
