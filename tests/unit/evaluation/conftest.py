"""A small source pair, and a set of three good pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.evaluation.sets import SetOfFiles, Source, encoded, scene


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Class indices 0 and 1."""
    image, mask = scene(0)
    made = Source(tmp_path / "image.png", tmp_path / "mask.png", image, mask)
    made.image.write_bytes(encoded(image))
    made.mask.write_bytes(encoded(mask))
    return made


@pytest.fixture
def files(tmp_path: Path) -> SetOfFiles:
    """Three good pairs."""
    made = SetOfFiles(tmp_path)
    for seed in (1, 2, 3):
        made.add(f"{seed:06d}", *scene(seed))
    return made
