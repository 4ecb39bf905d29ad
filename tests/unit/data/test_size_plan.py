"""The size plan: every size from 32 to 1024 and every aspect up to 4:1 has one that works."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from osmis_core.data.pair import IGNORE, Pair
from osmis_core.data.size_plan import (
    ASPECT_TOLERANCE,
    GRID_SIDES,
    SizePlan,
    blocks_for,
    plan_size,
    resize_pair,
)
from osmis_core.errors import PairError

sides = st.integers(32, 1024)


def check(plan: SizePlan, height: int, width: int) -> None:
    step_px = 2 ** (plan.generator_blocks - 1)
    assert (plan.train_h, plan.train_w) == (plan.grid_h * step_px, plan.grid_w * step_px)
    assert plan.grid_h in GRID_SIDES
    assert plan.grid_w in GRID_SIDES
    assert min(plan.train_h, plan.train_w) >= 32
    assert max(plan.train_h, plan.train_w) <= 1024
    assert 0 <= plan.top <= plan.train_h - plan.content_h
    assert 0 <= plan.left <= plan.train_w - plan.content_w
    aspect_change = abs(math.log(plan.content_w * height / (plan.content_h * width)))
    assert aspect_change <= math.log(1 + ASPECT_TOLERANCE)
    # No branch of the discriminator pools to nothing.
    assert min(plan.train_h, plan.train_w) >> plan.discriminator_blocks >= 1
    assert 1 <= plan.low_level_blocks < plan.discriminator_blocks


@given(height=sides, width=sides)
@example(height=957, width=804)  # where the change of aspect depends on the direction
def test_native_size(height, width):
    assume(max(height, width) <= 4 * min(height, width))
    plan = plan_size(height, width)
    check(plan, height, width)
    assert plan.content_h * plan.content_w >= 0.6 * height * width
    assert plan.content_h * plan.content_w >= 0.6 * plan.train_h * plan.train_w


@given(height=sides, width=sides, longest_px=sides)
@example(height=348, width=673, longest_px=62)  # where rounding exceeds the bound
@example(height=32, width=53, longest_px=32)
def test_bounded_longest_side(height, width, longest_px):
    assume(max(height, width) <= 4 * min(height, width))
    plan = plan_size(height, width, longest_px=longest_px)
    check(plan, height, width)
    if longest_px >= 32 * max(height, width) / min(height, width):
        assert max(plan.train_h, plan.train_w) <= longest_px


@given(height=sides, width=sides)
def test_coarse_size(height, width):
    assume(max(height, width) <= 4 * min(height, width))
    plan = plan_size(height, width, shorter_px=64)
    check(plan, height, width)
    wanted = min(64, height, width)
    assert 0.75 * wanted <= min(plan.content_h, plan.content_w) <= 1.3 * wanted


@given(height=st.integers(1025, 12_000), aspect=st.floats(1, 4), is_portrait=st.booleans())
def test_photographs_are_scaled_down(height, aspect, is_portrait):
    size = (height, int(height * aspect))
    height, width = size if is_portrait else size[::-1]
    check(plan_size(height, width), height, width)


@given(height=sides, width=sides, shorter_px=st.sampled_from([None, 64, 128]))
def test_a_turned_source_gets_the_turned_plan(height, width, shorter_px):
    assume(max(height, width) <= 4 * min(height, width))
    plan = plan_size(height, width, shorter_px=shorter_px)
    turned = plan_size(width, height, shorter_px=shorter_px)
    assert (plan.train_h * plan.train_w, plan.generator_blocks) == (
        turned.train_h * turned.train_w,
        turned.generator_blocks,
    )


@pytest.mark.parametrize(
    ("height", "width", "bounds", "train", "grid", "blocks"),
    [
        (303, 384, {"shorter_px": 64}, (64, 80), (4, 5), (5, 6, 2)),
        (400, 600, {"shorter_px": 64}, (64, 96), (4, 6), (5, 6, 2)),
        (480, 854, {"shorter_px": 64}, (64, 112), (4, 7), (5, 6, 3)),
        (480, 854, {"longest_px": 640}, (384, 640), (3, 5), (8, 7, 4)),
        (384, 640, {"longest_px": 640}, (384, 640), (3, 5), (8, 7, 4)),
        (3000, 3000, {}, (1024, 1024), (4, 4), (9, 8, 4)),
        (32, 32, {}, (32, 32), (4, 4), (4, 5, 2)),
    ],
)
def test_known_plans(height, width, bounds, train, grid, blocks):
    plan = plan_size(height, width, **bounds)
    assert (plan.train_h, plan.train_w) == train
    assert (plan.grid_h, plan.grid_w) == grid
    assert (plan.generator_blocks, plan.discriminator_blocks, plan.low_level_blocks) == blocks


@pytest.mark.parametrize(
    ("longest_px", "blocks"),
    [(1024, (9, 8, 4)), (512, (8, 7, 4)), (640, (8, 7, 4)), (256, (7, 7, 3)), (128, (6, 7, 3))],
)
def test_the_papers_block_table(longest_px, blocks):
    assert blocks_for(longest_px) == blocks


@pytest.mark.parametrize(
    ("height", "width", "code"), [(31, 64, "too_small"), (32, 129, "bad_aspect")]
)
def test_sizes_without_a_plan_are_refused(height, width, code):
    with pytest.raises(PairError) as caught:
        plan_size(height, width)
    assert caught.value.code == code


def test_padding_reflects_and_is_cropped_back():
    plan = plan_size(480, 640, shorter_px=64)
    assert plan.is_padded
    content_HWC = np.random.default_rng(0).random((plan.content_h, plan.content_w, 3))
    content_HWC = content_HWC.astype(np.float32)
    frame_HWC = plan.pad(content_HWC)
    assert frame_HWC.shape == (plan.train_h, plan.train_w, 3)
    np.testing.assert_array_equal(plan.crop(frame_HWC), content_HWC)
    assert plan.left >= 1
    np.testing.assert_array_equal(
        frame_HWC[plan.top, plan.left - 1], content_HWC[0, 1], "reflected without the edge"
    )


def test_plan_survives_json():
    plan = plan_size(480, 854, longest_px=640)
    assert SizePlan.from_dict(plan.to_dict()) == plan


def make_pair(mask_HW: np.ndarray, class_count: int) -> Pair:
    image_HWC = np.dstack(
        [np.full(mask_HW.shape, value, dtype=np.uint8) for value in (0, 128, 255)]
    )
    names = tuple(f"class_{index}" for index in range(class_count))
    return Pair(
        image_HWC=image_HWC,
        mask_HW=mask_HW,
        class_names=names,
        is_grey=False,
        encoding="index",
        encoding_declared=False,
    )


def test_resized_image_spans_minus_one_to_one():
    image_HWC, _ = resize_pair(make_pair(np.zeros((60, 80), dtype=np.uint8), 2), 30, 40)
    assert image_HWC.shape == (30, 40, 3)
    assert image_HWC.dtype == np.float32
    np.testing.assert_allclose(image_HWC[5, 5], [-1, 128 / 127.5 - 1, 1], atol=1e-6)


def test_thin_objects_keep_their_share():
    mask_HW = np.zeros((300, 400), dtype=np.uint8)
    mask_HW[137] = 1  # one pixel high: nearest neighbour at a sixth would lose it
    _, mask_HWK = resize_pair(make_pair(mask_HW, 2), 50, 66)
    assert mask_HWK.dtype == np.float32
    np.testing.assert_allclose(mask_HWK.sum(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(mask_HWK[..., 1].mean(), 1 / 300, rtol=1e-4)
    assert mask_HWK[..., 1].max() > 0.15


@given(height=st.integers(20, 70), width=st.integers(20, 70), seed=st.integers(0, 100))
def test_class_areas_survive_any_resizing(height, width, seed):
    mask_HW = np.random.default_rng(seed).integers(0, 3, (61, 47), dtype=np.uint8)
    _, mask_HWK = resize_pair(make_pair(mask_HW, 3), height, width)
    shares = np.bincount(mask_HW.ravel(), minlength=3) / mask_HW.size
    np.testing.assert_allclose(mask_HWK.mean(axis=(0, 1)), shares, atol=1e-5)
    np.testing.assert_allclose(mask_HWK.sum(axis=-1), 1.0, atol=1e-5)


def test_ignored_pixels_are_all_zero_and_do_not_dilute():
    mask_HW = np.ones((64, 64), dtype=np.uint8)
    mask_HW[:32] = IGNORE
    mask_HW[32, :] = IGNORE  # a quarter of the first labelled row of cells
    _, mask_HWK = resize_pair(make_pair(mask_HW, 2), 16, 16)
    assert (mask_HWK[:8] == 0).all()
    np.testing.assert_allclose(mask_HWK[8:, :, 1], 1.0, atol=1e-6)
