from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from osmis_core.augment.components import connected_components
from osmis_core.augment.cut_out import affine_grid
from osmis_core.augment.inpainting import inpaint
from osmis_core.augment.views import SUPERSAMPLING, LayoutViews, ViewOptions

HEIGHT, WIDTH = 96, 128


def _scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Two red squares on a blue-to-green background; the image says what its mask must be."""
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[1] = torch.linspace(-1, 0, WIDTH)
    image[0] = -1
    inside = torch.zeros(HEIGHT, WIDTH)
    inside[20:40, 20:40] = 1
    inside[60:72, 80:110] = 1
    image = torch.where(inside.bool(), torch.tensor([1.0, -1, -1])[:, None, None], image)
    return image, torch.stack((1 - inside, inside))


def test_a_grid_of_sums_is_torchs_affine_grid() -> None:
    sampling = torch.tensor([[0.8, -0.3, 0.1], [0.2, 1.1, -0.4]])
    expected = F.affine_grid(sampling[None], [1, 1, 7, 5], align_corners=False)[0]
    torch.testing.assert_close(affine_grid(sampling, 7, 5), expected)


def test_components_are_8_connected_and_in_reading_order() -> None:
    picture = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    labels, count = connected_components(picture)
    assert count == 3
    assert labels.tolist() == [[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 0, 3]]


def test_inpainting_continues_a_texture_into_the_hole() -> None:
    stripes = (torch.arange(64) // 4 % 2).float()[None, None].expand(3, 48, 64) * 2 - 1
    hole = torch.zeros(48, 64, dtype=torch.bool)
    hole[16:32, 20:36] = True
    damaged = torch.where(hole, torch.full_like(stripes, 9.0), stripes)
    filled = inpaint(damaged, hole, torch.Generator().manual_seed(0))
    assert torch.equal(filled[:, ~hole], stripes[:, ~hole])
    assert float((filled - stripes)[:, hole].abs().mean()) < 0.35
    assert float(filled.max()) <= 1.01


def test_inpainting_without_a_hole_or_without_surroundings() -> None:
    image = torch.rand(3, 32, 32)
    empty = torch.zeros(32, 32, dtype=torch.bool)
    assert torch.equal(inpaint(image, empty, torch.Generator()), image)
    assert bool(torch.isfinite(inpaint(image, ~empty, torch.Generator())).all())


def test_a_view_is_a_function_of_seed_and_index() -> None:
    first, second = (LayoutViews(*_scene(), ViewOptions(), seed=3) for _ in range(2))
    for index in (0, 5, 1):
        for a, b in zip(first.draw(index), second.draw(index), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(first.draw(0)[0], first.draw(1)[0])


def test_fragments_belong_to_the_object_beside_them() -> None:
    image, mask = _scene()
    for pixel in ((43, 25), (77, 100), (5, 120)):
        mask[1][pixel] = 1
        mask[0][pixel] = 0
    views = LayoutViews(image, mask, ViewOptions(), seed=0)
    assert [int(thing.alpha_1HW.sum()) for thing in views.objects] == [401, 361]


def test_masks_follow_the_objects_wherever_they_go() -> None:
    views = LayoutViews(*_scene(), ViewOptions(rearranged=1.0), seed=0)
    assert len(views.objects) == 2
    places = set()
    for index in range(20):
        image, mask = views.draw(index)
        assert image.shape == (3, HEIGHT // SUPERSAMPLING, WIDTH // SUPERSAMPLING)
        assert torch.equal(mask.sum(0), torch.ones_like(mask[0]))
        is_red = image[0] > 0
        assert float((is_red != (mask[1] > 0.5)).float().mean()) < 0.03
        assert bool(mask[1].any())
        where = mask[1].nonzero().float().mean(0)
        places.add(tuple(int(v) for v in where / 6))
    assert len(places) > 5


def test_what_moves_keeps_a_gap_to_the_others() -> None:
    """Touching objects in views are learned as one."""
    image, mask = _scene()
    options = ViewOptions(rearranged=1.0, removed=0.0, doubled=0.6, zoom_log2=0.0)
    views = LayoutViews(image, mask, options, seed=0)
    counts = []
    for index in range(60):
        _, seen = views.draw(index)
        _, apart = connected_components(seen[1].numpy() > 0)
        grown = F.max_pool2d(seen[1][None, None], 2, 1, 1)[0, 0]
        _, still_apart = connected_components(grown.numpy() > 0)
        assert still_apart == apart
        counts.append(apart)
    assert max(counts) >= 3
    assert min(counts) >= 2


def test_objects_cut_by_the_border_stay_at_it() -> None:
    image, mask = _scene()
    cut = torch.zeros(HEIGHT, WIDTH)
    cut[40:60, :25] = 1
    mask = torch.stack((1 - cut, cut))
    views = LayoutViews(image, mask, ViewOptions(rearranged=1.0, zoom_log2=0.0), seed=0)
    for index in range(8):
        _, seen = views.draw(index)
        touches = seen[1][:, 0].any() or seen[1][:, -1].any()
        assert bool(touches)


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_masks_without_objects_or_without_background_still_give_views(foreground: float) -> None:
    image, _ = _scene()
    inside = torch.full((HEIGHT, WIDTH), foreground)
    views = LayoutViews(image, torch.stack((1 - inside, inside)), ViewOptions(), seed=0)
    seen, mask = views.draw(0)
    assert bool(torch.isfinite(seen).all())
    assert float(mask[1].mean()) == foreground


def test_ignored_pixels_stay_without_a_class() -> None:
    image, mask = _scene()
    mask[:, 80:, :] = 0
    views = LayoutViews(image, mask, ViewOptions(rearranged=0.0, zoom_log2=0.0), seed=0)
    _, seen = views.draw(0)
    expected = F.avg_pool2d(mask.sum(0)[None, None], SUPERSAMPLING)[0, 0]
    assert torch.equal(seen.sum(0), expected)
