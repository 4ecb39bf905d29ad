from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from osmis_core.augment.differentiable import (
    AugmentationDraw,
    AugmentationOptions,
    augment_images,
    augment_mask,
    draw,
)
from osmis_core.training.real_pairs import image_pyramid

HEIGHT, WIDTH, BATCH = 48, 64, 6
FAMILIES = ("geometry", "colour", "filtering", "noise", "cutout")


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _only(*families: str, probability: float = 1.0) -> AugmentationOptions:
    return AugmentationOptions(probability=probability, **{f: f in families for f in FAMILIES})


def _square_mask() -> torch.Tensor:
    inside = torch.zeros(HEIGHT, WIDTH)
    inside[10:26, 20:40] = 1
    return torch.stack((1 - inside, inside))[None].expand(BATCH, -1, -1, -1)


def _smooth(height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(BATCH, 3, 4, 5, generator=_rng(9))
    return F.interpolate(coarse, (height, width), mode="bicubic")


def test_probability_zero_changes_nothing() -> None:
    drawn = draw(AugmentationOptions(probability=0.0), BATCH, HEIGHT, WIDTH, _rng())
    image = torch.rand(BATCH, 3, HEIGHT, WIDTH) * 2 - 1
    assert torch.equal(augment_images([image], drawn)[0], image)
    assert torch.equal(augment_mask(_square_mask(), drawn), _square_mask())


def test_samples_that_no_transform_acts_on_stay_as_they_are() -> None:
    drawn = draw(AugmentationOptions(probability=1e-9), BATCH, HEIGHT, WIDTH, _rng())
    image = torch.rand(BATCH, 3, HEIGHT, WIDTH) * 2 - 1
    torch.testing.assert_close(augment_images([image], drawn)[0], image, rtol=0, atol=1e-4)
    assert torch.equal(augment_mask(_square_mask(), drawn), _square_mask())


def test_draws_of_the_same_shapes_do_the_same() -> None:
    image = _smooth(HEIGHT, WIDTH)
    options = AugmentationOptions(probability=0.3)
    shapes = set()
    for seed in range(4):
        drawn, same = (
            draw(options, BATCH, HEIGHT, WIDTH, _rng(seed), same_shapes=s) for s in (False, True)
        )
        assert torch.equal(augment_images([image], drawn)[0], augment_images([image], same)[0])
        assert same.noise is not None
        shapes.add(same.noise.values_NCHW.shape)
    assert shapes == {image.shape}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_acts_on_every_sample_and_can_be_switched_off(family: str) -> None:
    image = _smooth(HEIGHT, WIDTH)
    drawn = draw(_only(family), BATCH, HEIGHT, WIDTH, _rng(1))
    changed = (augment_images([image], drawn)[0] != image).flatten(1).any(1)
    assert bool(changed.all())
    off = draw(_only(*(f for f in FAMILIES if f != family)), BATCH, HEIGHT, WIDTH, _rng(1))
    field = {
        "geometry": "sampling_B23",
        "colour": "colour_B34",
        "filtering": "band_gains_B4",
        "noise": "noise",
        "cutout": "cutout_px_B4",
    }[family]
    assert getattr(off, field) is None
    assert getattr(drawn, field) is not None


def test_the_mask_moves_with_the_image() -> None:
    """An image that is its own mask must still be so after geometry, up to interpolation."""
    drawn = draw(_only("geometry", probability=0.9), BATCH, HEIGHT, WIDTH, _rng(1))
    mask = _square_mask()
    image = mask[:, 1:].expand(-1, 3, -1, -1) * 2 - 1
    moved = augment_images([image], drawn)[0][:, 0] > 0
    moved_mask = augment_mask(mask, drawn)[:, 1] > 0.5
    assert not torch.equal(moved_mask, mask[:, 1] > 0.5)
    assert float((moved != moved_mask).float().mean()) < 0.01


def test_autocast_does_not_blur_positions_or_colours() -> None:
    drawn = draw(AugmentationOptions(probability=0.9), BATCH, 128, 256, _rng(1))
    image = _smooth(128, 256).bfloat16()
    mask = F.one_hot(image[:, 0].float().mul(4).long().clamp(0, 3), 4).permute(0, 3, 1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        seen, moved = augment_images([image], drawn)[0], augment_mask(mask.bfloat16(), drawn)
    exact = augment_images([image.double()], drawn)[0].float()
    torch.testing.assert_close(seen, exact, rtol=0, atol=2e-3)
    assert float((moved != augment_mask(mask.double(), drawn)).float().mean()) < 1e-4


def test_only_geometry_touches_the_mask() -> None:
    """A cutout too is of the image alone: what it hides stays labelled."""
    others = _only("colour", "filtering", "noise", "cutout")
    mask = _square_mask()
    assert augment_mask(mask, draw(others, BATCH, HEIGHT, WIDTH, _rng(2))) is mask


def test_a_hard_mask_stays_hard() -> None:
    drawn = draw(AugmentationOptions(probability=1.0), BATCH, HEIGHT, WIDTH, _rng(2))
    moved = augment_mask(_square_mask(), drawn)
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(moved.sum(1), torch.ones(BATCH, HEIGHT, WIDTH))


@pytest.mark.parametrize(("family", "limit"), [("colour", 1e-5), ("noise", 1e-5), ("cutout", 0.02)])
def test_scales_augmented_one_by_one_are_those_of_the_augmented_image(
    family: str, limit: float
) -> None:
    """Generated images are augmented scale by scale, real ones once and then made smaller.

    A pixel of a small scale that a cut covers in part is dimmed as a whole: equal but for texture
    along the cut's edge.
    """
    drawn = draw(_only(family, probability=0.6), BATCH, 64, 128, _rng(3))
    image = torch.rand(BATCH, 3, 64, 128) * 2 - 1
    separately = augment_images(image_pyramid(image, 6), drawn)
    together = image_pyramid(augment_images([image], drawn)[0], 6)
    for one, other in zip(separately, together, strict=True):
        assert float((one - other).abs().mean()) < limit


@pytest.mark.parametrize(("families", "limit"), [(("geometry",), 0.02), (("filtering",), 0.02)])
def test_every_scale_of_an_image_gets_the_same_draw(
    families: tuple[str, ...], limit: float
) -> None:
    drawn = draw(_only(*families, probability=0.8), BATCH, HEIGHT, WIDTH, _rng(3))
    fine, coarse = augment_images(
        [_smooth(HEIGHT, WIDTH), F.avg_pool2d(_smooth(HEIGHT, WIDTH), 2)], drawn
    )
    assert float((F.avg_pool2d(fine, 2) - coarse).abs().mean()) < limit
    other = draw(_only(*families, probability=0.8), BATCH, HEIGHT, WIDTH, _rng(4))
    (different,) = augment_images([F.avg_pool2d(_smooth(HEIGHT, WIDTH), 2)], other)
    assert float((different - coarse).abs().mean()) > 2 * limit


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([(32, 64), (32, 32), (96, 32), (40, 56)]))
def test_pyramids_of_any_shape_down_to_a_few_pixels(seed: int, size: tuple[int, int]) -> None:
    images = [torch.randn(2, 3, size[0] >> n, size[1] >> n) for n in (4, 3, 2, 1, 0)]
    drawn = draw(AugmentationOptions(probability=0.7), 2, *size, _rng(seed))
    for before, after in zip(images, augment_images(images, drawn), strict=True):
        assert after.shape == before.shape
        assert bool(torch.isfinite(after).all())


@pytest.mark.parametrize("families", [*((f,) for f in FAMILIES), FAMILIES])
def test_gradients_are_right_at_every_scale(families: tuple[str, ...]) -> None:
    drawn = draw(_only(*families, probability=0.8), 2, 8, 12, _rng(5))
    images = [
        torch.randn(2, 3, 8 // s, 12 // s, dtype=torch.float64, requires_grad=True) for s in (4, 1)
    ]
    assert torch.autograd.gradcheck(
        lambda *scales: augment_images(list(scales), drawn), images, fast_mode=True
    )


def test_gradients_reach_image_and_mask() -> None:
    drawn = draw(AugmentationOptions(probability=1.0), BATCH, HEIGHT, WIDTH, _rng(4))
    image = torch.rand(BATCH, 3, HEIGHT, WIDTH, requires_grad=True)
    mask = _square_mask().clone().requires_grad_()
    (augment_images([image], drawn)[0].square().sum() + augment_mask(mask, drawn).sum()).backward()
    for tensor in (image, mask):
        assert tensor.grad is not None
        assert float(tensor.grad.abs().sum()) > 0


def _tensors(drawn: AugmentationDraw) -> list[torch.Tensor]:
    assert drawn.sampling_B23 is not None
    assert drawn.colour_B34 is not None
    assert drawn.band_gains_B4 is not None
    assert drawn.noise is not None
    assert drawn.cutout_px_B4 is not None
    noise = [drawn.noise.samples_N, drawn.noise.values_NCHW]
    return [drawn.sampling_B23, drawn.colour_B34, drawn.band_gains_B4, *noise, drawn.cutout_px_B4]


def test_the_same_generator_state_gives_the_same_draw_and_the_draw_the_same_images() -> None:
    options = AugmentationOptions(probability=0.5)
    first, second = (draw(options, BATCH, HEIGHT, WIDTH, _rng(6)) for _ in range(2))
    for one, other in zip(_tensors(first), _tensors(second), strict=True):
        assert torch.equal(one, other)
    image = _smooth(HEIGHT, WIDTH)
    before = image.clone()
    assert torch.equal(augment_images([image], first)[0], augment_images([image], second)[0])
    assert torch.equal(image, before)
    third = draw(options, BATCH, HEIGHT, WIDTH, _rng(7))
    assert not torch.equal(augment_images([image], first)[0], augment_images([image], third)[0])
