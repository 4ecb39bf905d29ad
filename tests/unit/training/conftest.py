from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from osmis_core.data.pair import WITHOUT_MASK, Pair
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig, config_from_plan
from osmis_core.training.hooks import Progress, TrainingWarning


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scene() -> Pair:
    """Two bright squares on a dark gradient, 48×64 pixels."""
    rng = np.random.default_rng(0)
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 1] = np.linspace(30, 90, 64)[None]
    mask = np.zeros((48, 64), np.uint8)
    for top, left in ((8, 10), (26, 40)):
        mask[top : top + 12, left : left + 12] = 1
    image[mask == 1] = rng.integers(180, 255, (int(mask.sum()), 3))
    return Pair(
        image_HWC=image,
        mask_HW=mask,
        class_names=("background", "square"),
        is_grey=False,
        encoding="index",
        encoding_declared=False,
    )


@pytest.fixture(scope="session")
def image_alone(scene: Pair) -> Pair:
    """The scene without its mask."""
    return replace(
        scene,
        mask_HW=np.zeros_like(scene.mask_HW),
        class_names=WITHOUT_MASK,
        encoding="none",
        has_mask=False,
    )


@pytest.fixture(scope="session")
def make_config(scene: Pair, image_alone: Pair) -> Callable[..., TrainingConfig]:
    def make(
        method: str, iterations: int, *, supervision: str = "mca", **overrides: object
    ) -> TrainingConfig:
        options = TrainingOptions(
            method=method,
            iterations=iterations,
            max_size=48,
            seed=4,
            mask_supervision=supervision,
        )
        pair = image_alone if supervision == "none" else scene
        plan = plan_training(pair, options, has_gpu=False)
        return config_from_plan(pair, plan, **{"batch_size": 2, **overrides})

    return make


@dataclass
class Recorder:
    """Hooks that write down what they are told."""

    folder: Path
    stop_at: int | None = None
    progress: list[Progress] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)
    warnings: list[TrainingWarning] = field(default_factory=list)
    asked: int = 0

    def on_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def should_stop(self) -> bool:
        self.asked += 1
        return self.stop_at is not None and self.asked >= self.stop_at

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        path = self.folder / f"{len(self.checkpoints)}-{checkpoint.step}.safetensors"
        checkpoint.write(path)
        self.checkpoints.append(path)

    def on_warning(self, warning: TrainingWarning) -> None:
        self.warnings.append(warning)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)
