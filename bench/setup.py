"""What the benches train on: the coffee example, brought to a size of theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.data.presets import Method, PresetName
from osmis_core.training.config import config_from_plan
from osmis_core.training.fast_paths import FastPaths
from osmis_core.training.step import Optimisation

ROOT = Path(__file__).resolve().parents[1]


def example_pair(name: str, height: int, width: int, *, classes: int | None = None) -> Pair:
    """An example resized without regard to its aspect ratio; classes above the last are merged."""
    folder = ROOT / "examples" / name
    with Image.open(folder / "image.png") as opened:
        image = opened.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    with Image.open(folder / "mask.png") as opened:
        mask_HW = np.asarray(opened.resize((width, height), Image.Resampling.NEAREST))
    if classes is not None:
        mask_HW = mask_HW.clip(0, classes - 1)
    return Pair(
        image_HWC=np.asarray(image),
        mask_HW=mask_HW,
        class_names=tuple(f"class_{k}" for k in range(int(mask_HW.max()) + 1)),
        is_grey=False,
        encoding="index",
        encoding_declared=True,
    )


def optimisation_of(
    method: Method,
    height: int,
    width: int,
    device: torch.device | None = None,
    fast: FastPaths | None = None,
) -> Optimisation:
    """A training of this size, ready for its first step; two classes for ``osmis``."""
    pair = example_pair("coffee", height, width, classes=2 if method == "osmis" else None)
    preset: PresetName = "paper" if method == "osmis" else "standard"
    options = TrainingOptions(
        method=method, preset=preset, max_size=max(height, width), iterations=1000
    )
    plan = plan_training(pair, options, has_gpu=False)
    trained = (plan.size.train_h, plan.size.train_w)
    if trained != (height, width):
        raise SystemExit(f"planned {trained} instead of {(height, width)}")
    return Optimisation(pair, config_from_plan(pair, plan), device or torch.device("cpu"), fast)
