"""The training plan: presets, refusals, estimates, and that it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from osmis_core.data.pair import IGNORE, Pair
from osmis_core.data.plan import TrainingOptions, TrainingPlan, plan_training
from osmis_core.errors import OsmisError, PairError


def make_pair(height: int = 303, width: int = 384) -> Pair:
    mask_HW = np.zeros((height, width), dtype=np.uint8)
    mask_HW[: height // 2] = 1
    return Pair(
        image_HWC=np.zeros((height, width, 3), dtype=np.uint8),
        mask_HW=mask_HW,
        class_names=("background", "object"),
        is_grey=False,
        encoding="index",
        encoding_declared=False,
    )


def codes(plan):
    return {notice.code for notice in plan.notices}


@pytest.mark.parametrize(("preset", "seconds"), [("draft", 180.0), ("standard", 600.0)])
def test_fast_presets(preset, seconds):
    plan = plan_training(make_pair(), TrainingOptions(preset=preset), has_gpu=False)
    assert plan.method == "projected"
    assert plan.training_seconds == seconds
    assert plan.iterations is None
    assert (plan.size.train_h, plan.size.train_w) == (64, 80)
    assert (plan.output_h, plan.output_w) == (303, 384)
    assert seconds < plan.estimated_seconds < seconds + 300
    assert not plan.notices


def with_object(height: int, width: int, share: float, *, ignored: bool = False) -> Pair:
    """A pair whose object's rows cover this share of it; the rest may be ignored."""
    mask_HW = np.full((height, width), IGNORE if ignored else 0, dtype=np.uint8)
    mask_HW[: round(share * height)] = 1
    return replace(make_pair(height, width), mask_HW=mask_HW)


@pytest.mark.parametrize(
    ("share", "content_h"), [(0.0, 64), (0.02, 96), (0.06, 82), (0.12, 64), (0.5, 64), (1.0, 64)]
)
def test_small_objects_train_larger(share, content_h):
    plan = plan_training(with_object(500, 750, share), TrainingOptions(), has_gpu=False)
    assert plan.size.content_h == pytest.approx(content_h, abs=4)


@pytest.mark.parametrize(
    ("options", "has_gpu", "content_h"),
    [
        ({"preset": "draft"}, False, 64),
        ({"preset": "draft"}, True, 96),
        ({"max_runtime_seconds": 180}, False, 64),
        ({"iterations": 1999}, False, 64),
        ({"iterations": 2000}, False, 96),
        ({"method": "osmis"}, False, 64),
    ],
)
def test_but_only_where_there_are_steps_enough(options, has_gpu, content_h):
    pair = with_object(500, 750, 0.02)
    plan = plan_training(pair, TrainingOptions(**options), has_gpu=has_gpu)
    assert plan.size.content_h == pytest.approx(content_h, abs=4)


@pytest.mark.parametrize(
    ("options", "share", "content_h"),
    [({}, 0.02, 64), ({}, 0.5, None), ({"iterations": 2000}, 0.02, None)],
)
def test_a_raised_size_can_be_taken_back_where_steps_are_estimated(options, share, content_h):
    pair = with_object(500, 750, share)
    plan = plan_training(pair, TrainingOptions(**options), has_gpu=False)
    assert (plan.coarser and plan.coarser.content_h) == content_h
    assert TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_ignored_pixels_are_no_objects():
    options = TrainingOptions()
    few = plan_training(with_object(500, 750, 0.02), options, has_gpu=False)
    same = plan_training(with_object(500, 750, 0.02, ignored=True), options, has_gpu=False)
    assert same.size == few.size


def test_max_size_bounds_the_frame_of_small_objects_too():
    options = TrainingOptions(max_size=96)
    plan = plan_training(with_object(500, 750, 0.02), options, has_gpu=False)
    assert max(plan.size.train_h, plan.size.train_w) <= 96


def test_paper_preset_on_a_gpu():
    plan = plan_training(make_pair(480, 854), TrainingOptions(preset="paper"), has_gpu=True)
    assert plan.method == "osmis"
    assert plan.iterations == 100_000
    assert plan.training_seconds is None
    assert (plan.size.train_h, plan.size.train_w) == (384, 640)


def test_paper_preset_without_a_gpu_is_refused_with_days():
    with pytest.raises(PairError) as caught:
        plan_training(make_pair(480, 854), TrainingOptions(preset="paper"), has_gpu=False)
    assert caught.value.code == "needs_gpu"
    assert "days" in caught.value.detail
    assert "iterations" in caught.value.hint


@pytest.mark.parametrize("ways_out", [{"iterations": 30}, {"allow_slow": True}])
def test_paper_preset_without_a_gpu_on_request(ways_out):
    options = TrainingOptions(preset="paper", max_size=64, **ways_out)
    plan = plan_training(make_pair(), options, has_gpu=False)
    assert plan.iterations == ways_out.get("iterations", 100_000)
    assert max(plan.size.train_h, plan.size.train_w) <= 64


def test_method_overrides_the_preset():
    options = TrainingOptions(preset="standard", method="osmis")
    assert plan_training(make_pair(), options, has_gpu=False).method == "osmis"


def test_budget_and_iterations():
    budget = plan_training(make_pair(), TrainingOptions(max_runtime_seconds=360), has_gpu=False)
    assert (budget.training_seconds, budget.iterations) == (360.0, None)
    both = TrainingOptions(max_runtime_seconds=360, iterations=50)
    plan = plan_training(make_pair(), both, has_gpu=False)
    assert (plan.training_seconds, plan.iterations) == (None, 50)
    assert "max_runtime_ignored" in codes(plan)


def test_output_size_train_is_the_content_without_padding():
    options = TrainingOptions(output_size="train")
    plan = plan_training(make_pair(480, 640), options, has_gpu=False)
    assert plan.size.is_padded
    assert (plan.output_h, plan.output_w) == (plan.size.content_h, plan.size.content_w)


def test_output_size_in_pixels():
    options = TrainingOptions(output_size="192x152")
    plan = plan_training(make_pair(), options, has_gpu=False)
    assert (plan.output_h, plan.output_w) == (152, 192)


@pytest.mark.parametrize("wrong", ["", "huge", "0x10", "512x512", "30x24", "1e3x10", "384x303x3"])
def test_wrong_output_sizes(wrong):
    with pytest.raises(OsmisError) as caught:
        plan_training(make_pair(), TrainingOptions(output_size=wrong), has_gpu=False)
    assert caught.value.code == "bad_output_size"
    assert caught.value.hint


def test_phone_photograph_is_scaled_and_said():
    plan = plan_training(make_pair(3000, 4000), TrainingOptions(), has_gpu=False)
    assert (plan.output_h, plan.output_w) == (768, 1024)
    assert "downscaled" in codes(plan)
    larger = plan_training(
        make_pair(3000, 4000), TrainingOptions(), has_gpu=True, max_output_px=2048
    )
    assert (larger.output_h, larger.output_w) == (1536, 2048)


def test_max_size_that_leaves_too_little_is_raised_and_said():
    options = TrainingOptions(max_size=64, iterations=10)
    plan = plan_training(make_pair(100, 400), options, has_gpu=False)
    assert plan.size.train_w == 128
    assert "max_size_raised" in codes(plan)


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "best"},
        {"method": "diffusion"},
        {"max_size": 16},
        {"max_size": 4096},
        {"iterations": 0},
        {"max_runtime_seconds": 0},
        {"seed": -1},
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(OsmisError) as caught:
        plan_training(make_pair(), TrainingOptions(**wrong), has_gpu=True)
    assert caught.value.code == "bad_option"
    assert next(iter(wrong)) in caught.value.detail


def test_plan_survives_json():
    plan = plan_training(make_pair(3000, 4000), TrainingOptions(seed=7), has_gpu=False)
    assert TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_reading_and_planning_load_neither_torch_nor_scipy():
    code = (
        "import sys, osmis_core.data.reader, osmis_core.data.plan\n"
        "heavy = {'torch', 'torchvision', 'numba', 'scipy', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
