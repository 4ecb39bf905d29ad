from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.quality import keys, setup
from osmis_core.data.pair import Pair
from osmis_core.data.reader import read_pair

RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scene_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A red and a blue square, classes 1 and 2, on dark noise; 48×64 pixels."""
    rng = np.random.default_rng(0)
    image_HWC = rng.integers(60, 90, (48, 64, 3), dtype=np.uint8)
    mask_HW = np.zeros((48, 64), np.uint8)
    for index, colour, top, left in ((1, RED, 8, 10), (2, BLUE, 26, 40)):
        box = (slice(top, top + 12), slice(left, left + 12))
        image_HWC[box], mask_HW[box] = colour, index
    folder = tmp_path_factory.mktemp("scene")
    Image.fromarray(image_HWC).save(folder / "image.png")
    Image.fromarray(mask_HW).save(folder / "mask.png")
    return folder / "image.png", folder / "mask.png"


@pytest.fixture(scope="session")
def scene(scene_files: tuple[Path, Path]) -> Pair:
    return read_pair(*scene_files)


@pytest.fixture
def bench_folder(
    tmp_path: Path, scene_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where sets and results go; the scene is there as ``coins``."""
    monkeypatch.setattr(keys, "WORK", tmp_path / "work")
    monkeypatch.setitem(setup.PAIRS, "coins", scene_files)
    return tmp_path
