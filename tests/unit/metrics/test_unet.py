"""The U-Net tells a useful set from a useless one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from osmis_core.metrics.unet import UNet, UnetOptions, mean_iou, train_unet

SHORT = UnetOptions(steps=40, batch=4, short_px=32, width=8, views=8)


def disc(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:40, 0:56]
    cy, cx, radius = rng.uniform(12, 28), rng.uniform(14, 42), rng.uniform(7, 11)
    mask = ((y - cy) ** 2 + (x - cx) ** 2 < radius**2).astype(np.uint8)
    image = np.where(mask[..., None] > 0, (220, 60, 40), (40, 80, 160)).astype(np.float64)
    noisy = image + rng.normal(0, 8, image.shape)
    return noisy.clip(0, 255).astype(np.uint8), mask


def test_learns_from_good_pairs_and_not_from_wrong_masks() -> None:
    torch.set_num_threads(1)
    image, mask = disc(99)
    pairs = [disc(seed) for seed in range(12)]
    images, masks = [i for i, _ in pairs], [m for _, m in pairs]
    good = mean_iou(train_unet(images, masks, 2, SHORT), image, mask, 2, SHORT)
    shifted = [np.roll(m, 20, axis=1) for m in masks]
    bad = mean_iou(train_unet(images, shifted, 2, SHORT), image, mask, 2, SHORT)
    assert good > 0.85
    assert bad < good - 0.2


def test_any_size_in_same_size_out() -> None:
    net = UNet(3, 4).eval()
    assert net(torch.zeros(1, 3, 37, 51)).shape == (1, 3, 37, 51)


def test_training_leaves_the_global_generator_alone_and_is_seeded() -> None:
    torch.set_num_threads(1)
    options = UnetOptions(steps=3, batch=2, short_px=32, width=4)
    image, mask = disc(0)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = train_unet([image], [mask], 2, options)
    assert torch.equal(torch.rand(1), expected)
    second = train_unet([image], [mask], 2, options)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_refuses_unequal_counts() -> None:
    with pytest.raises(ValueError, match="as many images as masks"):
        train_unet([], [], 2)
