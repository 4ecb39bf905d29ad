from __future__ import annotations

import torch

from osmis_core.augment.differentiable import (
    AugmentationOptions,
    augment_images,
    augment_mask,
    draw,
)

HEIGHT, WIDTH, BATCH = 48, 64, 6


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _square_mask() -> torch.Tensor:
    inside = torch.zeros(HEIGHT, WIDTH)
    inside[10:26, 20:40] = 1
    return torch.stack((1 - inside, inside))[None].expand(BATCH, -1, -1, -1)


def test_probability_zero_changes_nothing() -> None:
    options = AugmentationOptions(probability=0.0)
    drawn = draw(options, BATCH, HEIGHT, WIDTH, _rng())
    image = torch.rand(BATCH, 3, HEIGHT, WIDTH) * 2 - 1
    torch.testing.assert_close(augment_images([image], drawn)[0], image, rtol=0, atol=1e-4)
    assert torch.equal(augment_mask(_square_mask(), drawn), _square_mask())


def test_the_mask_moves_with_the_image() -> None:
    """An image that is its own mask must still be so after geometry, up to interpolation."""
    options = AugmentationOptions(probability=0.9, colour=False)
    drawn = draw(options, BATCH, HEIGHT, WIDTH, _rng(1))
    mask = _square_mask()
    image = mask[:, 1:].expand(-1, 3, -1, -1) * 2 - 1
    moved = augment_images([image], drawn)[0][:, 0] > 0
    moved_mask = augment_mask(mask, drawn)[:, 1] > 0.5
    assert not torch.equal(moved_mask, mask[:, 1] > 0.5)
    assert float((moved != moved_mask).float().mean()) < 0.01


def test_a_hard_mask_stays_hard() -> None:
    drawn = draw(AugmentationOptions(probability=1.0), BATCH, HEIGHT, WIDTH, _rng(2))
    moved = augment_mask(_square_mask(), drawn)
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(moved.sum(1), torch.ones(BATCH, HEIGHT, WIDTH))


def test_every_scale_of_an_image_gets_the_same_draw() -> None:
    options = AugmentationOptions(probability=0.8)
    drawn = draw(options, BATCH, HEIGHT, WIDTH, _rng(3))
    smooth = torch.nn.functional.interpolate(
        torch.rand(BATCH, 3, 4, 5), (HEIGHT, WIDTH), mode="bicubic"
    )
    half = torch.nn.functional.avg_pool2d(smooth, 2)
    fine, coarse = augment_images([smooth, half], drawn)
    error = (torch.nn.functional.avg_pool2d(fine, 2) - coarse).abs().mean()
    assert float(error) < 0.05


def test_gradients_reach_the_image() -> None:
    drawn = draw(AugmentationOptions(probability=1.0), BATCH, HEIGHT, WIDTH, _rng(4))
    image = torch.rand(BATCH, 3, HEIGHT, WIDTH, requires_grad=True)
    augment_images([image], drawn)[0].square().sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_colour_leaves_the_mask_alone_and_the_luma_axis_where_it_is_under_hue_rotation() -> None:
    options = AugmentationOptions(probability=0.7, geometry=False)
    drawn = draw(options, 200, 1, 1, _rng(5))
    assert drawn.sampling_B23 is None
    grey = torch.full((200, 3, 1, 1), 0.3)
    coloured = augment_images([grey], drawn)[0]
    # brightness, contrast and luma flip keep grey grey; so do hue and saturation
    spread = coloured.amax(1) - coloured.amin(1)
    assert float(spread.max()) < 1e-4


def test_the_same_generator_state_gives_the_same_draw() -> None:
    first, second = (draw(AugmentationOptions(), BATCH, HEIGHT, WIDTH, _rng(6)) for _ in range(2))
    assert first.sampling_B23 is not None
    assert second.sampling_B23 is not None
    assert torch.equal(first.sampling_B23, second.sampling_B23)
