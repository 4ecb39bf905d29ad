"""An image alone, and which mask supervision and depth fit which pair and method."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingOptions, TrainingPlan, plan_training
from osmis_core.data.reader import ReadOptions, load_normalised, read_pair, save_normalised
from osmis_core.errors import OsmisError, PairError


@pytest.fixture
def pair(photo: bytes, mask: bytes) -> Pair:
    return read_pair(photo, mask)


@pytest.fixture
def image_alone(photo: bytes) -> Pair:
    return read_pair(photo, None)


def refused(pair: Pair, **options: object) -> OsmisError:
    with pytest.raises(OsmisError) as caught:
        plan_training(pair, TrainingOptions(**options), has_gpu=True)
    assert caught.value.hint.endswith(".")
    return caught.value


def test_an_image_alone_is_a_pair_of_one_class(image_alone: Pair, photo_HWC) -> None:
    np.testing.assert_array_equal(image_alone.image_HWC, photo_HWC)
    assert not image_alone.has_mask
    assert (image_alone.class_count, image_alone.area_fractions()) == (1, (1.0,))
    assert not image_alone.mask_HW.any()
    assert image_alone.mask_HW.shape == photo_HWC.shape[:2]
    assert image_alone.encoding == "none"


def test_an_image_alone_survives_storage(image_alone: Pair, tmp_path) -> None:
    save_normalised(image_alone, tmp_path)
    again = load_normalised(tmp_path)
    assert not again.has_mask
    assert (again.class_names, again.encoding) == (image_alone.class_names, "none")
    np.testing.assert_array_equal(again.mask_HW, image_alone.mask_HW)


def test_pairs_stored_before_there_were_images_alone_have_masks(pair: Pair, tmp_path) -> None:
    save_normalised(pair, tmp_path)
    described = json.loads((tmp_path / "pair.json").read_text())
    del described["has_mask"]
    (tmp_path / "pair.json").write_text(json.dumps(described))
    assert load_normalised(tmp_path).has_mask


@pytest.mark.parametrize(("size", "code"), [((20, 64), "too_small"), ((320, 40), "bad_aspect")])
def test_an_image_alone_is_checked_as_any(encode, size, code) -> None:
    with pytest.raises(PairError) as caught:
        read_pair(encode(Image.new("RGB", size)), None)
    assert caught.value.code == code
    with pytest.raises(PairError) as caught:
        read_pair(encode(Image.new("RGB", (64, 64))), None, ReadOptions(max_pixels=1_000))
    assert caught.value.code == "too_many_pixels"


def test_the_default_needs_a_mask(image_alone: Pair) -> None:
    error = refused(image_alone)
    assert error.code == "mask_missing"
    assert "mask_supervision=none" in error.hint


def test_a_mask_that_would_not_be_used_is_refused(pair: Pair) -> None:
    assert refused(pair, mask_supervision="none").code == "mask_not_used"


@pytest.mark.parametrize("name", ["projection", "input_concat", "mask_discriminator"])
def test_the_papers_alternatives_need_the_published_method(pair: Pair, name: str) -> None:
    error = refused(pair, mask_supervision=name)
    assert error.code == "needs_osmis"
    assert "method=osmis" in error.hint
    plan = plan_training(
        pair, TrainingOptions(mask_supervision=name, method="osmis"), has_gpu=False
    )
    assert plan.mask_supervision == name


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_images_alone_are_planned_by_both_methods(image_alone: Pair, method: str) -> None:
    options = TrainingOptions(mask_supervision="none", method=method)
    plan = plan_training(image_alone, options, has_gpu=False)
    assert (plan.mask_supervision, plan.method) == ("none", method)
    assert TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_plans_from_before_the_options_are_read(pair: Pair) -> None:
    plan = plan_training(pair, TrainingOptions(), has_gpu=False)
    old = plan.to_dict()
    del old["mask_supervision"], old["low_level_blocks"]
    assert TrainingPlan.from_dict(old) == plan


def test_low_level_blocks_must_leave_room_for_layout_and_content(pair: Pair) -> None:
    size = plan_training(pair, TrainingOptions(method="osmis"), has_gpu=False).size
    most = min(size.discriminator_blocks - 1, size.generator_blocks)
    assert most == 4
    for blocks in range(1, most + 1):
        options = TrainingOptions(method="osmis", low_level_blocks=blocks)
        assert plan_training(pair, options, has_gpu=False).low_level_blocks == blocks
    error = refused(pair, method="osmis", low_level_blocks=5)
    assert error.code == "too_many_low_level_blocks"
    assert "1 to 4" in error.hint


def test_low_level_blocks_need_the_published_method(pair: Pair) -> None:
    assert refused(pair, low_level_blocks=2).code == "needs_osmis"


@pytest.mark.parametrize(
    "wrong", [{"mask_supervision": "magic"}, {"low_level_blocks": 0}, {"low_level_blocks": 6}]
)
def test_values_out_of_range(pair: Pair, wrong: dict[str, object]) -> None:
    error = refused(pair, method="osmis", **wrong)
    assert error.code == "bad_option"
    assert next(iter(wrong)) in error.detail
